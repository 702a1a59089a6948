from collections.abc import Mapping

import pytest

from tests.guards.declared import Declared, declared_functions, every_region


@pytest.fixture(scope="session")
def declared() -> Mapping[str, Declared]:
    """Every function of a stamp that serves all regions."""
    return declared_functions(every_region())
