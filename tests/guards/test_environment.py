"""Only connector/settings.py reads the environment, and it reads exactly the names it publishes, and uses them."""

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields

import pytest

from connector import settings
from tests.guards.source import ROOT, Source, app_sources, imports, planted

HOST_SETTINGS = frozenset(
    {
        "FUNCTIONS_WORKER_RUNTIME",
        "AzureWebJobsStorage",
        "AzureWebJobsDisableHomepage",
        "PYTHON_THREADPOOL_THREAD_COUNT",
    }
)
"""Read by the Functions host alone."""
_READERS = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}


def reads_of_environment(source: Source) -> list[str]:
    found = [
        source.at(node, name)
        for node, name in imports(source)
        if name in {f"os.{reader}" for reader in _READERS} or "dotenv" in name
    ]
    for node in source.walk():
        if isinstance(node, ast.Attribute) and node.attr in _READERS:
            found.append(source.at(node, node.attr))
    return found


def test_only_settings_read_the_environment() -> None:
    sources = {source.module: source for source in app_sources()}
    assert reads_of_environment(sources.pop("connector.settings")), "this guard sees nothing"
    assert [line for source in sources.values() for line in reads_of_environment(source)] == []


@pytest.mark.parametrize(
    "text",
    ["import os\nos.environ['A']", "import os as o\no.getenv('A')", "from os import environ", "from dotenv import x"],
)
def test_a_planted_read_is_found(text: str) -> None:
    assert reads_of_environment(planted(text))


def sample() -> dict[str, str]:
    values: dict[str, str] = json.loads((ROOT / "local.settings.sample.json").read_text("utf-8"))["Values"]
    return values


def documented(text: str) -> list[str]:
    """The settings that the tables' first cells name."""
    first_cells = re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
    return [name for cell in first_cells for name in re.findall(r"`([^`]+)`", cell)]


def test_settings_sample_and_docs_agree() -> None:
    docs = documented((ROOT / "docs" / "configuration.md").read_text("utf-8"))
    assert len(docs) == len(set(docs)), "described twice"
    assert set(docs) == set(sample()) == set(settings.NAMES) | HOST_SETTINGS


def test_a_planted_name_is_found() -> None:
    assert documented("| Setting |\n|---|\n| `A_B`, `C__d` | text `no` | `no` |\n") == ["A_B", "C__d"]


def test_the_sample_loads() -> None:
    assert settings.load(sample()).sandbox


class Recording(Mapping[str, str]):
    """An environment that notes which names are asked for."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values_, self.asked = dict(values), set[str]()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self.values_[name]

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("the whole environment is never listed")

    def __len__(self) -> int:
        return len(self.values_)


def test_every_published_setting_is_read_and_no_other() -> None:
    every_region = sample() | {"CONNECTOR_REGIONS": "americas,emea,apac"}
    every_region |= {f"{region}_STORAGE": sample()["AMERICAS_STORAGE"] for region in ("EMEA", "APAC")}
    environment = Recording(every_region)
    settings.load(environment)
    azure_says = {"WEBSITE_INSTANCE_ID", "IDENTITY_ENDPOINT"}
    assert environment.asked - azure_says == set(settings.NAMES)


def unused_fields(names: set[str], sources: list[Source]) -> set[str]:
    used = {node.attr for source in sources for node in source.walk() if isinstance(node, ast.Attribute)}
    return {name for name in names if name not in used}


def test_every_setting_has_an_effect() -> None:
    names = {field.name for kind in (settings.Settings, settings.RegionSettings) for field in fields(kind)}
    names -= {"smart_provider", "smart_patient", "smart_system"}  # asked for by the persona's name
    rest = [source for source in app_sources() if source.module != "connector.settings"]
    names -= {"environment"}  # through Settings.sandbox
    assert unused_fields(names, rest) == set()


def test_a_planted_setting_without_effect_is_found() -> None:
    assert unused_fields({"used", "idle"}, [planted("settings.used")]) == {"idle"}
