"""The settings of a deployed stamp, read with the Azure CLI as the person who is signed in to it."""

from __future__ import annotations

import json
import re
import subprocess
from shutil import which
from typing import Any

from connector.settings import NAMES, SettingsError

_REFERENCE = re.compile(r"@Microsoft\.KeyVault\(SecretUri=(https://[A-Za-z0-9.-]+/secrets/[A-Za-z0-9/-]+)\)")
TIMEOUT_S = 120


def environment(group: str) -> dict[str, str]:
    """The app's settings with the vault's secrets in place of references; storage is opened as the operator.

    A reference to a secret that cannot be read stays as it is: `settings.load` names the setting. Raises
    SettingsError when there is no one app in the resource group, or the CLI fails.
    """
    apps = _az("functionapp", "list", "--resource-group", group, "--query", "[].name")
    if len(apps) != 1:
        raise SettingsError(f"the resource group holds {len(apps)} Functions apps, not one")
    listed = _az("functionapp", "config", "appsettings", "list", "--resource-group", group, "--name", apps[0])
    values = {one["name"]: str(one["value"] or "") for one in listed if one["name"] in NAMES}
    for name, value in values.items():
        if found := _REFERENCE.fullmatch(value):
            values[name] = _secret(found[1]) or value
        if name.endswith("STORAGE__credential"):
            values[name] = "azurecli"
    return values


def _secret(address: str) -> str | None:
    try:
        return str(_az("keyvault", "secret", "show", "--id", address, "--query", "value"))
    except SettingsError:
        return None


def _az(*arguments: str) -> Any:
    """What the CLI prints, as JSON; its own words are not shown, for they may quote values."""
    program = which("az")
    if program is None:
        raise SettingsError("the Azure CLI (az) is not installed")
    command = [program, *arguments, "--output", "json"]
    run = subprocess.run(command, capture_output=True, check=False, timeout=TIMEOUT_S)  # noqa: S603 - our own words
    if run.returncode != 0:
        raise SettingsError(f"az {' '.join(arguments[:2])} failed: are you signed in (az login), and may you read it?")
    return json.loads(run.stdout)
