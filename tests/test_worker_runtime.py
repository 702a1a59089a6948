"""The app under Microsoft's own worker code: loaded, indexed and invoked as in Azure, without Azure."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sandbox import stamp
from sandbox.azurite import Azurite
from sandbox.ports import free_ports
from sandbox.world import Ports
from tests.guards import test_routes
from tests.guards.declared import Declared, declared_functions

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 13), reason="azure-functions-runtime needs Python 3.13; older workers are no package"
)


@pytest.fixture(scope="module")
def environment(
    tmp_path_factory: pytest.TempPathFactory, count_storage: Callable[[int], None]
) -> Any:
    """Settings of a stamp with empty storage of its own: no tenant of another test is in its directory."""
    folder = tmp_path_factory.mktemp("worker")
    ports = Ports(*free_ports(len(Ports.__dataclass_fields__)))
    with Azurite(folder / "azurite") as storage:
        yield stamp.environment(ports, folder, storage)
        count_storage(storage.operations)


@pytest.fixture(scope="module")
def answers(environment: Mapping[str, str]) -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, "-P", str(ROOT / "tests" / "worker_program.py"), str(ROOT)],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        timeout=280,
        check=False,
    )
    assert run.returncode == 0, run.stderr.decode()[-4000:]
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@pytest.fixture(scope="module")
def declared(environment: Mapping[str, str]) -> dict[str, Declared]:
    return declared_functions(environment)


def test_the_worker_indexes_what_is_declared(answers: dict[str, Any], declared: dict[str, Declared]) -> None:
    def trigger(bindings: list[dict[str, Any]]) -> dict[str, Any]:
        return next(binding for binding in bindings if binding["type"].endswith("Trigger"))

    indexed = {name: trigger(bindings) for name, bindings in answers["bindings"].items()}
    assert indexed == {name: one.trigger for name, one in declared.items()}
    assert len(indexed) > 25


def test_an_http_function_answers(answers: dict[str, Any]) -> None:
    assert answers["health"]["status"] == 200
    assert json.loads(answers["health"]["body"])["storage"] == {"americas": True, "emea": True, "apac": True}
    assert answers["home"]["status"] == 200
    assert answers["home"]["headers"]["content-type"].startswith("text/html")
    assert "frame-ancestors 'none'" in answers["home"]["headers"]["content-security-policy"]
    assert answers["lost"]["status"] == 404


REFUSALS = {
    test_routes.ENTRA_BEARER: {401},
    test_routes.PORTAL_COOKIE: {303, 401},  # to sign in; what was posted is not repeated by itself
    test_routes.PAGE_BEARER: {401, 403, 404},
    test_routes.JOIN_TOKEN: {400, 404},  # 400: a body that says nothing is refused before anybody looks at the token
    test_routes.STAFF_TOKEN: {404},
    test_routes.ONE_TIME_STATE: {400, 403, 404},
}


@pytest.mark.parametrize("name", [n for n, how in test_routes.AUTHENTICATION.items() if how in REFUSALS])
def test_a_route_refuses_who_has_nothing_to_show(name: str, answers: dict[str, Any]) -> None:
    statuses = set(answers["unauthenticated"][name].values())
    assert statuses
    assert statuses <= REFUSALS[test_routes.AUTHENTICATION[name]]


def test_cookies_pass_the_worker(answers: dict[str, Any]) -> None:
    assert answers["signout"]["status"] == 303
    assert answers["signout"]["cookies"] == {"__Host-portal": "/"}


def test_a_timer_runs_on_an_empty_directory(answers: dict[str, Any]) -> None:
    assert answers["timer"] == "success"


def test_a_queue_hint_of_a_tenant_that_is_gone_is_harmless(answers: dict[str, Any]) -> None:
    assert answers["queue"] == "success"


def test_a_malformed_hint_fails_alone(answers: dict[str, Any]) -> None:
    """It goes to the poison queue, and the app serves on."""
    assert answers["malformed"] == "failure"
