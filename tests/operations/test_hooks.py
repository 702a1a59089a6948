"""The shell scripts of a deployment, run against a stand-in of the Azure CLI that notes what it is asked."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from connector import settings
from tests.guards.source import ROOT
from tests.test_settings import PRODUCTION

INFRA = ROOT / "infra"
AZ = """#!{python} -IS
import json, re, sys
from pathlib import Path
place = Path({place!r})
given = sys.argv[1:]
kept = json.loads((place / "vault.json").read_text())
with (place / "calls").open("a") as calls:
    calls.write(json.dumps(given) + "\\n")
after = lambda option: given[given.index(option) + 1]
words = " ".join(given)
if kept.get("refusals"):
    kept["refusals"] -= 1
    (place / "vault.json").write_text(json.dumps(kept))
    sys.exit("Forbidden")
if "keyvault secret list-deleted" in words or "keyvault secret list" in words:
    which = "deleted" if "list-deleted" in words else "present"
    asked = re.search("name=='([^']+)'", words)
    print(asked[1] if asked and asked[1] in kept[which] else "", end="")
elif "keyvault secret set" in words:
    kept["present"][after("--name")] = Path(after("--file")).read_text()
    (place / "vault.json").write_text(json.dumps(kept))
elif "resource show" in words:
    print("/subscriptions/s/app")
elif "ad app list" in words:
    print("")
elif "ad app create" in words:
    print("0b9e0000-0000-4000-8000-000000000001")
elif "ad app show" in words:
    print("object-id")
elif "ad sp show" in words and "appRoles" in words:
    print("role-of-" + re.search("value=='([^']+)'", words)[1])
elif "ad app federated-credential create" in words:
    (place / "credential.json").write_text(Path(after("--parameters")[1:]).read_text())
elif "account show" in words:
    print("7c1e2a54-93b8-4f0d-8a6e-51d2b7f0c394")
elif given[0] == "rest" and "--body" in given:
    (place / "app.json").write_text(Path(after("--body")[1:]).read_text())
"""


class Cloud:
    """What the stand-in keeps, and what it was asked."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.write(present={}, deleted=[])
        program = place / "az"
        program.write_text(AZ.format(python=sys.executable, place=str(place)))
        program.chmod(0o700)

    def write(self, **kept: Any) -> None:
        (self.place / "vault.json").write_text(json.dumps(kept))

    @property
    def vault(self) -> dict[str, str]:
        present: dict[str, str] = json.loads((self.place / "vault.json").read_text())["present"]
        return present

    @property
    def calls(self) -> list[list[str]]:
        path = self.place / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        given = {"PATH": f"{self.place}:{os.environ['PATH']}", "RETRY_S": "0", **environment}
        return subprocess.run([INFRA / script, *arguments], env=given, capture_output=True, text=True, timeout=240,
                              check=False)  # fmt: skip

    def keys(self, **changes: str) -> subprocess.CompletedProcess[str]:
        names = {"CONNECTOR_VAULT": "kv", "AZURE_RESOURCE_GROUP": "rg-x", "CONNECTOR_APP": "app"}
        return self.run("hooks/keys.sh", **names | changes)


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    return Cloud(tmp_path)


def test_a_new_stamp_gets_keys_that_its_settings_accept(cloud: Cloud) -> None:
    run = cloud.keys()
    assert run.returncode == 0, run.stderr
    made = cloud.vault
    values = {name.upper().replace("-", "_"): value for name, value in made.items()}
    loaded = settings.load(PRODUCTION | values)
    assert len(loaded.sealing_keys) == len(loaded.wrapping_keys) == 1
    assert len(loaded.graph_notification_certificates) == 1
    assert loaded.smart_private_keys == (), "it is made in the vault, and stays there"
    assert loaded.sealing_keys[0].value != loaded.wrapping_keys[0].value
    shown = run.stdout + run.stderr + json.dumps(cloud.calls)
    assert not [value for value in made.values() if value[-30:-2] in shown]
    assert all("--expires" in call for call in cloud.calls if call[:3] == ["keyvault", "secret", "set"])
    assert cloud.calls[-1][:3] == ["rest", "--method", "post"]

    assert cloud.keys().returncode == 0
    assert cloud.vault == made, "a key that was there is another"


def test_a_role_that_is_not_yet_known_is_waited_for(cloud: Cloud) -> None:
    cloud.write(present={}, deleted=[], refusals=3)
    assert cloud.keys().returncode == 0
    assert set(cloud.vault) == {"connector-sealing-keys", "connector-wrapping-keys", "graph-notification-certificates"}


def test_a_vault_that_stays_closed_ends_it_and_makes_nothing(cloud: Cloud) -> None:
    cloud.write(present={}, deleted=[], refusals=99)
    run = cloud.keys()
    assert run.returncode == 1
    assert "Forbidden" in run.stderr
    assert cloud.vault == {}


def test_a_deleted_key_is_recovered_not_replaced(cloud: Cloud) -> None:
    cloud.write(present={}, deleted=["connector-wrapping-keys"])
    run = cloud.keys()
    assert run.returncode == 1
    assert "recover it" in run.stderr
    assert "connector-wrapping-keys" not in cloud.vault


def test_events_are_wanted_in_the_americas_alone(cloud: Cloud) -> None:
    names = {"AZURE_RESOURCE_GROUP": "rg-x", "CONNECTOR_APP": "app", "CONNECTOR_COMMUNICATION": "acs"}
    assert cloud.run("hooks/events.sh", CONNECTOR_REGION="emea", **names).returncode == 0
    assert cloud.calls == []
    cloud.write(present={}, deleted=[], refusals=2)  # the functions are not listed yet
    assert cloud.run("hooks/events.sh", CONNECTOR_REGION="americas", **names).returncode == 0
    asked = cloud.calls[-1]
    assert Path(asked[asked.index("--template-file") + 1]).resolve() == INFRA / "events.bicep"
    parameters = set(re.findall(r"^param (\w+) string$", (INFRA / "events.bicep").read_text(), re.MULTILINE))
    assert {part.split("=")[0] for part in asked[asked.index("--parameters") + 1 :]} == parameters


def test_the_app_is_registered_without_a_secret(cloud: Cloud) -> None:
    first = cloud.run("entra-app.sh", "Video visits")
    assert first.stdout.strip() == "0b9e0000-0000-4000-8000-000000000001", first.stderr
    app = json.loads((cloud.place / "app.json").read_text())
    assert "web" not in app
    assert {role["value"] for role in app["appRoles"]} == {"Connector.Configure", "Connector.Read"}
    assert app["groupMembershipClaims"] == "DirectoryRole"
    assert len(app["requiredResourceAccess"][0]["resourceAccess"]) >= 6
    assert not (cloud.place / "credential.json").exists()

    second = cloud.run("entra-app.sh", "Video visits", "https://visits.example.org", "principal-of-the-identity")
    assert second.returncode == 0, second.stderr
    app = json.loads((cloud.place / "app.json").read_text())
    assert app["web"]["redirectUris"] == [f"https://visits.example.org/{path}" for path in
                                          ("signin/callback", "portal/callback")]  # fmt: skip
    credential = json.loads((cloud.place / "credential.json").read_text())
    assert credential["subject"] == "principal-of-the-identity"
    assert credential["issuer"] == "https://login.microsoftonline.com/7c1e2a54-93b8-4f0d-8a6e-51d2b7f0c394/v2.0"
    assert not [call for call in cloud.calls if "credential" in call and "reset" in call]
