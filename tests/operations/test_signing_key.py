"""What `make doctor` says of the key in the vault that signs for the EHR applications, asked as the operator."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import flask
import pytest

from connector import bootstrap
from connector.adapters.http import OutgoingHttp, OutgoingPolicy
from connector.operations import doctor
from sandbox import entra_tokens
from sandbox import vault as simulated_vault
from sandbox.cast import HOSPITALS
from sandbox.vault import Vault
from sandbox.world import Ports, World
from tests.adapters.cerner_world import RSA_PEM
from tests.adapters.serving import listening
from tests.adapters.simulated import settings

AZ = """#!{python} -IS
import sys
print({token!r}) if sys.argv[1:3] == ["account", "get-access-token"] and {resource!r} in sys.argv else sys.exit(1)
"""


class Stamp:
    """A vault, a stand-in of the deployed app and of `az`, and what doctor says of them."""

    def __init__(self, kept: Vault, address: str) -> None:
        self.kept, self.address = kept, address
        self.answers: tuple[object, int] = ({"keys": []}, 200)

    def services(self, **changes: str) -> bootstrap.Services:
        named = {"SMART_VAULT_KEY": self.address, "AMERICAS_STORAGE__credential": "azurecli"}
        return bootstrap.build(settings(self.kept.world, **named | changes))

    def told(self, **changes: str) -> str:
        services = self.services(**changes)
        http = OutgoingHttp(OutgoingPolicy(loopback_http=True), pause=lambda _: None)
        found = [*doctor._signing_key(services), *doctor._app(services, http)]
        return "\n".join(one.line() for one in found)


@pytest.fixture
def stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stamp]:
    kept = Vault(World(HOSPITALS, Ports(**dict.fromkeys((port.name for port in fields(Ports)), 9)), tmp_path / "clock"))
    kept.add(age_s=400 * 24 * 3600)
    app = flask.Flask("app")
    with listening(simulated_vault.create_app(kept)) as port, listening(app) as app_port:
        kept.world.ports = replace(kept.world.ports, app=app_port)
        made = Stamp(kept, f"http://127.0.0.1:{port}/keys/smart")
        app.add_url_rule("/<path:path>", "any", lambda path: made.answers)
        token = entra_tokens.managed_identity_token(kept.world, entra_tokens.VAULT)
        answer = json.dumps({"accessToken": token, "expires_on": int(time.time()) + 3600, "tokenType": "Bearer"})
        program = tmp_path / "az"
        program.write_text(AZ.format(python=sys.executable, token=answer, resource=entra_tokens.VAULT))
        program.chmod(0o700)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        yield made


def test_a_key_that_serves(stamp: Stamp) -> None:
    stamp.answers = stamp.services().ehr.public_jwks(), 200
    assert stamp.told().splitlines()[:2] == [
        f"ok    SMART_VAULT_KEY: version of {time.strftime('%Y-%m-%d', time.gmtime(stamp.kept.versions[0].created))} "
        "signs, 1 published",
        "ok    the key cannot leave the vault",
    ]
    assert stamp.told().endswith("ok    the app publishes the keys that are in the vault")


def test_keys_that_can_be_copied_are_named_loudly(stamp: Stamp) -> None:
    stamp.kept.versions[0].created = int(time.time())
    shown = stamp.told(SMART_PRIVATE_KEYS=RSA_PEM.decode())
    assert "ok    SMART_PRIVATE_KEYS: 1 private keys THAT CAN BE COPIED; SMART_VAULT_KEY needs none" in shown
    assert "ok    SMART_VAULT_KEY: a key of SMART_PRIVATE_KEYS signs until it is a day old, 1 published" in shown
    stamp.kept.versions[0].exportable = True
    assert "WRONG the key cannot leave the vault" in stamp.told()


def test_an_application_with_neither_secret_nor_key_is_named(stamp: Stamp) -> None:
    none = {"SMART_VAULT_KEY": "", "SMART_SYSTEM_CLIENT_SECRET": "s"}
    assert stamp.told(**none).startswith("WRONG EHR applications without secret and without key: provider, patient\n")
    secrets = {f"SMART_{who}_CLIENT_SECRET": "s" for who in ("PROVIDER", "PATIENT", "SYSTEM")}
    assert stamp.told(**none | secrets).startswith("ok    EHR applications without secret and without key: none\n")


def deny(kept: Vault) -> None:
    kept.actions = {"read"}


def lose(kept: Vault) -> None:
    kept.versions.clear()


def close(kept: Vault) -> None:
    kept.firewall = True


@pytest.mark.parametrize(("harm", "why"), [
    (deny, "vault.not_allowed ForbiddenByRbac"), (close, "vault.not_allowed ForbiddenByFirewall"),
    (lose, "vault.key_missing KeyNotFound"),
])  # fmt: skip
def test_a_key_that_does_not_serve_says_why_and_who_can_mend_it(
    stamp: Stamp, harm: Callable[[Vault], None], why: str
) -> None:
    harm(stamp.kept)
    wrong, fix = stamp.told().splitlines()[:2]
    assert wrong == f"WRONG SMART_VAULT_KEY does not sign for you ({why})"
    assert fix.strip().startswith("Operator: ") and "Key Vault Crypto Officer" in fix
    assert "127.0.0.1" not in wrong + fix


@pytest.mark.parametrize(("status", "fix"), [
    (502, "the app's identity has no role on the key"), (503, "does not answer the app"),
    (200, "azd hooks run postprovision"),
])  # fmt: skip
def test_what_the_app_itself_may_do_is_seen_from_outside(stamp: Stamp, status: int, fix: str) -> None:
    stamp.answers = {"keys": []}, status
    *_, wrong, then = stamp.told().splitlines()
    assert wrong == "WRONG the app publishes the keys that are in the vault"
    assert fix in then
