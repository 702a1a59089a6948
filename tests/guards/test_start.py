"""Heavy libraries are imported on first use: a worker that starts does not pay for them."""

import json
import os
import subprocess
import sys

import pytest

from tests.guards.source import ROOT

HEAVY = (
    "azure.core",
    "azure.communication",
    "azure.data.tables",
    "azure.identity",
    "azure.storage",
    "babel",
    "fhir",
    "jinja2",
    "msal",
    "phonenumbers",
)
_PROGRAM = "import sys, json; __import__(sys.argv[1]); print(json.dumps(sorted(sys.modules)))"


def heavy_imported_by(module: str) -> list[str]:
    values = json.loads((ROOT / "local.settings.sample.json").read_text("utf-8"))["Values"]
    command, environment = [sys.executable, "-c", _PROGRAM, module], {**os.environ, **values}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
    return [name for name in HEAVY if name in json.loads(run.stdout)]


def test_the_app_imports_nothing_heavy() -> None:
    assert heavy_imported_by("function_app") == []


@pytest.mark.parametrize("module", ["jinja2", "azure.data.tables"])
def test_a_planted_import_is_found(module: str) -> None:
    assert module in heavy_imported_by(module)
