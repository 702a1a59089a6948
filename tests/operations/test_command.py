"""The command as an operator runs it: a process of its own, settings from a stand-in of the Azure CLI."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from connector.settings import NAMES
from sandbox.stamp import TEST_DOMAIN, fresh_key
from tests.guards.source import ROOT
from tests.running import Live

VAULT = "https://kv-visits.vault.azure.net/secrets"
IN_VAULT = ("CONNECTOR_SEALING_KEYS", "CONNECTOR_WRAPPING_KEYS", "SMART_PRIVATE_KEYS")
AZ = """#!{python} -IS
import json, sys
known = json.load(open({answers!r}))
asked = " ".join(argument for argument in sys.argv[1:] if not argument.startswith("-"))
answer = next((value for key, value in known.items() if key in asked), None)
sys.exit(1) if answer is None else print(json.dumps(answer))
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def operate(live: Live, tmp_path: Path) -> Run:
    """Runs a command on the sandbox as on a deployed stamp, with some of its settings changed."""

    def run(*arguments: str, typed: str = "", lost: str = "", **changes: str) -> subprocess.CompletedProcess[str]:
        environment = {**live.sandbox.environment, **changes}
        settings = {name: environment[name] for name in NAMES if name in environment} | {"OTHER": "1"}
        secrets = {}
        for name in IN_VAULT:
            address = f"{VAULT}/{name.lower().replace('_', '-')}"
            secrets[f"secret show {address}"] = settings[name]
            settings[name] = f"@Microsoft.KeyVault(SecretUri={address})"
        if lost:
            del secrets[f"secret show {VAULT}/{lost}"]
        listed = [{"name": name, "value": value, "slotSetting": False} for name, value in settings.items()]
        answers = {"functionapp list": ["connector-x"], "appsettings list": listed, **secrets}
        (tmp_path / "answers.json").write_text(json.dumps(answers))
        program = tmp_path / "az"
        program.write_text(AZ.format(python=sys.executable, answers=str(tmp_path / "answers.json")))
        program.chmod(0o700)
        given = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "REQUESTS_CA_BUNDLE": live.ca}
        return subprocess.run(
            [sys.executable, "-m", "connector.operations", "--group", "rg-visits", *arguments],
            cwd=ROOT, env=given, input=typed, capture_output=True, text=True, timeout=240, check=False,
        )

    return run


def test_a_stamp_that_is_well(live: Live, operate: Run) -> None:
    listed = json.loads(live.sandbox.environment["CONNECTOR_TENANTS"])
    open_ones = {tid: [base for base in bases if TEST_DOMAIN not in base] for tid, bases in listed.items()}
    run = operate("doctor", "--ca-bundle", live.ca, CONNECTOR_TENANTS=json.dumps(open_ones))
    assert run.returncode == 0, run.stdout + run.stderr
    assert "WRONG" not in run.stdout
    for expected in ("storage of emea answers", "/health answers", "GRAPH_URL answers", "certificate ends"):
        assert expected in run.stdout
    assert "OTHER" not in run.stdout


def test_what_is_wrong_is_named_and_no_value_shown(live: Live, operate: Run) -> None:
    other, nowhere = fresh_key("sandbox-other"), "http://127.0.0.1:9"
    run = operate("doctor", "--ca-bundle", live.ca, CONNECTOR_WRAPPING_KEYS=other, GRAPH_URL=nowhere)
    assert run.returncode == 1
    assert "that no wrapping key opens" in run.stdout
    assert "GRAPH_URL does not answer" in run.stdout
    assert f"{TEST_DOMAIN} answers 403" in run.stdout  # Cerner knows no application there
    shown = run.stdout + run.stderr
    secrets = [value for name, value in live.sandbox.environment.items() if "KEY" in name or "SECRET" in name]
    assert not [one for value in (other, *secrets) for one in value.split(":")[-1:] if len(one) > 15 and one in shown]


def test_a_secret_that_cannot_be_read_is_named(operate: Run) -> None:
    run = operate("doctor", lost="connector-sealing-keys")
    assert run.returncode == 1
    assert run.stdout.startswith("WRONG settings: CONNECTOR_SEALING_KEYS points to a secret that is not in the vault")


def test_connections_are_listed_and_a_visit_is_erased_by_what_is_typed(live: Live, operate: Run) -> None:
    listed = operate("connections")
    assert f"  {live.connection_id()} production, " in listed.stdout
    run = operate("erase", live.connection_id(), "--although-live", typed="99887766\n")
    assert run.returncode == 0, run.stderr
    assert run.stdout == "Nothing is stored of this visit: is the connection the right one?\n"
    assert "99887766" not in run.stdout + run.stderr


def test_a_tenant_that_is_listed_or_mistyped_is_not_deleted(live: Live, operate: Run) -> None:
    tid = live.scope().tenant_id
    refused = operate("delete-tenant", tid, typed=f"{tid}\n")
    assert refused.returncode == 1
    assert "still in CONNECTOR_TENANTS" in refused.stdout
    mistyped = operate("delete-tenant", tid, typed="another\n")
    assert "Nothing was deleted" in mistyped.stdout
    assert operate("connections").stdout.count("tenant ") >= 2
