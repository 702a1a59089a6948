"""Who may import what: the app never the sandbox, no feature another's internals, vendors only in their adapters."""

from fnmatch import fnmatch

import pytest

from tests.guards.source import CONNECTOR, Source, app_sources, imports, planted

FEATURES = ("tenants", "portal", "launch", "visits", "messages", "reports", "checks", "numbers", "operations")
ONLY_IN = {
    "azure.data.tables": "connector.adapters.tables",
    "azure.storage.queue": "connector.adapters.queues",
    "azure.communication.sms": "connector.adapters.acs_sms",
    "azure.communication": "connector.adapters.acs*",
    "azure.core": "connector.adapters.*",
    "azure.identity": "connector.adapters.*",
    "msal": "connector.adapters.entra*",
    "requests": "connector.adapters.*",
    "urllib3": "connector.adapters.*",
    "urllib.request": "nowhere",
    "http.client": "nowhere",
    "httpx": "nowhere",
    "importlib": "connector.adapters.cerner.clean",  # takes the model of a resource by its name
    "dotenv": "nowhere",
    "sandbox": "nowhere",
    "tests": "nowhere",
}


def violations(source: Source, submodules: frozenset[str]) -> list[str]:
    feature = next((f for f in FEATURES if f"{source.module}.".startswith(f"connector.{f}.")), None)
    adapter = source.module.startswith("connector.adapters")
    found = []
    for node, name in imports(source):
        if name.startswith("."):
            found.append(source.at(node, f"{name}: name imports in full"))
        for library, where in ONLY_IN.items():
            if f"{name}.".startswith(f"{library}.") and not fnmatch(source.module, where):
                found.append(source.at(node, f"{name}: {library} belongs to {where}"))
        other = next((f for f in FEATURES if f"{name}.".startswith(f"connector.{f}.")), None)
        if other and adapter:
            found.append(source.at(node, f"{name}: an adapter imports a feature"))
        elif other and other != feature and any(f"{name}.".startswith(f"{sub}.") for sub in submodules):
            found.append(source.at(node, f"{name}: internals of {other}"))
    return found


@pytest.fixture(scope="module")
def submodules() -> frozenset[str]:
    """Modules inside features: `connector.launch.state` and so on."""
    files = (path for feature in FEATURES for path in (CONNECTOR / feature).rglob("*.py"))
    return frozenset(f"connector.{f.parent.name}.{f.stem}" for f in files if f.stem != "__init__")


def test_imports_keep_the_layers(submodules: frozenset[str]) -> None:
    assert [line for source in app_sources() for line in violations(source, submodules)] == []


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("connector.web", "from sandbox import world"),
        ("connector.web", "import tests.conftest"),
        ("connector.visits.find", "from connector.launch.state import SESSIONS"),
        ("connector.visits.find", "from connector.launch import state"),
        ("connector.visits.find", "if TYPE_CHECKING:\n    import connector.launch.state"),
        ("connector.bootstrap", "from connector.launch.state import SESSIONS"),
        ("connector.adapters.graph", "from connector.tenants import Connection"),
        ("connector.adapters.graph", "def f():\n    from azure.data.tables import TableClient"),
        ("connector.visits.find", "import requests"),
        ("connector.adapters.graph", "import msal.application"),
        ("connector.messages.send", "from azure.communication.sms import SmsClient"),
        ("connector.visits.find", "from . import times"),
    ],
)
def test_a_planted_import_is_found(module: str, text: str, submodules: frozenset[str]) -> None:
    assert violations(planted(text, module), submodules)


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("connector.launch.session", "from connector.launch.state import SESSIONS"),
        ("connector.visits.find", "from connector.launch import VisitSession"),
        ("connector.adapters.entra_proof", "import msal"),
        ("connector.bootstrap", "from connector import launch"),
    ],
)
def test_what_is_allowed_passes(module: str, text: str, submodules: frozenset[str]) -> None:
    assert violations(planted(text, module), submodules) == []
