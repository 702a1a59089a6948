"""Administrators see who is linked with whom, and can take a link away; both stay within their tenant."""

from typing import Any

import pytest

from connector import launch, tenants
from connector.ehr import EhrUser
from connector.errors import RefusedError
from sandbox.azurite import Azurite
from tests.tenants.stamp import ACTOR, audit, connected, pinned, race

USERS = [EhrUser("https://ehr.example", f"Practitioner/{number}") for number in range(5)]


def linked(azurite: Azurite) -> tuple[tenants.TenantScope, str]:
    services, scope = pinned(azurite)
    made: Any = connected(services, scope).value
    for number, user in enumerate(USERS):
        launch.add_link(scope, made.id, user, f"oid-{number}")
    return scope, made.id


def test_the_links_come_in_pages(azurite: Azurite) -> None:
    scope, identity = linked(azurite)
    seen, after = list[tuple[str, str]](), ""
    while True:
        page = launch.user_links(scope, identity, limit=2, after=after)
        seen += [(link.ehr_user, link.object_id) for link in page.items]
        if page.after is None:
            break
        after = page.after
    assert sorted(seen) == [(user.fhir_user, f"oid-{number}") for number, user in enumerate(USERS)]


def test_a_removed_link_is_audited_and_the_user_may_link_another_account(azurite: Azurite) -> None:
    scope, identity = linked(azurite)
    gone = next(link for link in launch.user_links(scope, identity).items if link.object_id == "oid-3")
    outcomes = race([lambda: str(launch.remove_link(scope, identity, gone.id, ACTOR))] * 3)
    assert all(one == "None" or isinstance(one, RefusedError) for one in outcomes)
    assert launch.find_link(scope, identity, USERS[3]) is None
    newest = tenants.history(scope, gone.id).items[0]
    assert (newest.action, newest.actor) == ("link.removed", ACTOR.object_id)
    assert {"oid-3", "Practitioner/3"} <= {field.before for field in newest.fields}
    assert launch.add_link(scope, identity, USERS[3], "another").object_id == "another"


def test_a_link_that_is_not_there_or_another_connections_is_unknown(azurite: Azurite) -> None:
    scope, identity = linked(azurite)
    other_scope, other = linked(azurite)
    one = launch.user_links(scope, identity).items[0].id
    for where, connection, link in ((scope, identity, "0" * 32), (scope, identity, "x"), (scope, identity, ""),
                                    (other_scope, other, one)):
        with pytest.raises(RefusedError) as refused:
            launch.remove_link(where, connection, link, ACTOR)
        assert refused.value.status == 404
    assert audit(other_scope)["link.removed"] == audit(scope)["link.removed"] == 0
