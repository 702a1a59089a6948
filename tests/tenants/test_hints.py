"""A queue message may be older than what it names."""

import pytest

from connector.errors import PermanentError
from connector.regions import Region
from connector.tenants import of_hint
from sandbox.azurite import Azurite
from tests.tenants.stamp import connected, pinned


def test_a_hint_finds_what_is_there_and_nothing_that_is_gone(azurite: Azurite) -> None:
    services, scope = pinned(azurite)
    made = connected(services, scope).value
    hint = {"tenant": scope.tenant_id, "connection": made.id}
    assert of_hint(services.directory, scope.region, hint) == (scope, made)
    assert of_hint(services.directory, scope.region, hint | {"connection": "a22222222"}) is None
    assert of_hint(services.directory, scope.region, hint | {"tenant": "0" * 8}) is None
    other = next(region for region in Region if region is not scope.region)
    with pytest.raises(PermanentError):
        of_hint(services.directory, other, hint)
