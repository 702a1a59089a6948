import json
from collections.abc import Mapping

import pytest

from connector.regions import Region
from tests.guards.declared import Declared, declared_functions
from tests.guards.source import ROOT


@pytest.fixture(scope="session")
def declared() -> Mapping[str, Declared]:
    """Every function of a stamp that serves all regions."""
    sample = json.loads((ROOT / "local.settings.sample.json").read_text("utf-8"))["Values"]
    storage = {f"{region.upper()}_STORAGE": sample["AMERICAS_STORAGE"] for region in Region}
    return declared_functions({**sample, **storage, "CONNECTOR_REGIONS": ",".join(Region)})
