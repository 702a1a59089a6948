"""The functions that function_app registers, read in a process of its own: importing it sets up logging."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from connector.regions import Region
from tests.guards.source import ROOT

_PROGRAM = """
import json, function_app
found = function_app.app.get_functions()
print(json.dumps([[one.get_function_name(), json.loads(one.get_function_json())] for one in found]))
"""


class Declared(NamedTuple):
    name: str
    bindings: list[dict[str, Any]]

    @property
    def trigger(self) -> dict[str, Any]:
        return next(binding for binding in self.bindings if str(binding["type"]).endswith("Trigger"))

    @property
    def route(self) -> str | None:
        """Of an HTTP function; the function's name when none is given, as the host does."""
        return self.trigger.get("route", self.name) if self.trigger["type"] == "httpTrigger" else None

    @property
    def methods(self) -> set[str]:
        return {str(method).upper() for method in self.trigger.get("methods") or ()}


def every_region() -> dict[str, str]:
    """The sample's settings, for a stamp that serves all regions."""
    sample: dict[str, str] = json.loads((ROOT / "local.settings.sample.json").read_text("utf-8"))["Values"]
    storage = {f"{region.upper()}_STORAGE": sample["AMERICAS_STORAGE"] for region in Region}
    return {**sample, **storage, "CONNECTOR_REGIONS": ",".join(Region)}


def declared_functions(environment: Mapping[str, str]) -> dict[str, Declared]:
    """By name; fails when two functions share one."""
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, check=False
    )
    assert run.returncode == 0, run.stderr.decode()
    listed = [Declared(name, parsed["bindings"]) for name, parsed in json.loads(run.stdout)]
    assert len({one.name.lower() for one in listed}) == len(listed), "two functions of one name"
    return {one.name: one for one in listed}
