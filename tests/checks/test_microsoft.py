"""Is the hospital's Microsoft 365 ready? Every finding, against simulated Entra and Graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import flask
import pytest

from connector.adapters.entra import Entra
from connector.adapters.graph_directory import GraphDirectory
from connector.adapters.graph_http import GraphHttp
from connector.bootstrap import Services
from connector.checks import Check, microsoft
from connector.errors import PermanentError, TransientError
from connector.tenants import Connection, TenantScope
from sandbox.cast import HARBOR, NORDLYS
from sandbox.world import World
from tests.adapters import simulated
from tests.adapters.serving import listening
from tests.tenants import stamp

OIDS = [user.oid for user in HARBOR.organizers]
GONE = "11111111-2222-4333-8444-555555555555"
CONNECTION = Connection(id="a1", **stamp.wanted(organizers=OIDS).model_dump())


@pytest.fixture
def ask(ready: tuple[Services, TenantScope]) -> Callable[..., dict[str, Check]]:
    def asked(connection: Connection = CONNECTION) -> dict[str, Check]:
        made = microsoft.check_microsoft(*ready, connection)
        for check in made:
            check.formatted()
        return {check.id.removeprefix("microsoft."): check for check in made}

    return asked


Ask = Callable[..., dict[str, Check]]


def test_a_ready_tenant_passes(ask: Ask) -> None:
    checks = ask()
    assert list(checks) == ["consent", "roles", "licence", "organizers", "access_policy"]
    assert {check.state for check in checks.values()} == {"pass"}


def test_without_consent_nothing_else_is_asked(ask: Ask, world: World) -> None:
    world.consented.clear()
    checks = ask()
    assert (checks["consent"].finding, checks["consent"].who) == ("not_given", "microsoft_admin")
    assert {check.finding for name, check in checks.items() if name != "consent"} == {"not_asked"}
    assert not [count for (vendor, _), count in world.requests.items() if vendor == "graph"]


def test_our_own_wrong_secret_is_the_operators_matter(ready: tuple[Services, TenantScope], world: World) -> None:
    services, scope = ready
    wrong = Entra(simulated.settings(world, ENTRA_CLIENT_SECRET="wrong"))
    check = microsoft.check_microsoft(replace(services, entra=wrong), scope, CONNECTION)[0]
    assert (check.finding, check.who, check.values) == ("own_credential", "operator", {"code": "AADSTS7000215"})


def test_a_silent_entra_is_no_missing_consent(ask: Ask, world: World) -> None:
    world.add_fault("entra", "500", 99)
    assert (ask()["consent"].finding, ask()["consent"].state) == ("unanswered", "warn")


@pytest.mark.parametrize(("withheld", "finding", "state"), [
    ("OnlineMeetings.ReadWrite.All", "missing", "fail"), ("VirtualAppointment.Read.All", "partial", "warn"),
])  # fmt: skip
def test_roles_are_those_really_in_the_token(ask: Ask, world: World, withheld: str, finding: str, state: str) -> None:
    assert ask()["roles"].finding == "granted"
    world.withheld_roles.add(withheld)
    check = ask()["roles"]
    assert (check.finding, check.state, check.values) == (finding, state, {"missing": withheld})


def test_the_licence_of_the_tenant(ask: Ask, world: World) -> None:
    world.without_teams.add(HARBOR.tid)
    assert (ask()["licence"].finding, ask()["organizers"].finding) == ("none", "unlicensed")
    world.withheld_roles |= {"LicenseAssignment.Read.All", "Organization.Read.All"}
    check = ask()["licence"]
    assert (check.finding, check.state) == ("not_permitted", "warn")
    assert check.values == {"role": "LicenseAssignment.Read.All"}


def test_accounts_that_are_gone_blocked_or_unlicensed(ask: Ask, world: World) -> None:
    world.without_teams.add(OIDS[0])
    assert (ask()["organizers"].finding, ask()["organizers"].values) == ("unlicensed", {"accounts": OIDS[0]})
    world.disabled_accounts.add(OIDS[1])
    assert (ask()["organizers"].finding, ask()["organizers"].values) == ("disabled", {"accounts": OIDS[1]})
    strangers = CONNECTION.model_copy(update={"organizers": [*OIDS, GONE, NORDLYS.organizers[0].oid]})
    checks = ask(strangers)
    assert checks["organizers"].values == {"accounts": f"{GONE}, {NORDLYS.organizers[0].oid}"}
    assert checks["access_policy"].finding == "granted", "asked only for accounts that exist"
    assert ask(CONNECTION.model_copy(update={"organizers": []}))["organizers"].finding == "none"
    world.withheld_roles.add("User.Read.All")
    assert ask()["organizers"].finding == "not_permitted"


def test_a_missing_policy_comes_with_what_to_paste(ask: Ask, world: World) -> None:
    world.access_policy.discard(OIDS[1])
    check = ask()["access_policy"]
    assert (check.finding, check.who, check.values) == ("missing", "microsoft_admin", {"accounts": OIDS[1]})
    assert check.command.splitlines() == [
        'New-CsApplicationAccessPolicy -Identity VirtualVisits -AppIds "e1b5c8d4-07f2-4a69-8d3b-f6027c9e41a8"'
        ' -Description "Virtual visits"',
        f'Grant-CsApplicationAccessPolicy -PolicyName VirtualVisits -Identity "{OIDS[1]}"',
    ]


def test_a_silent_graph_proves_nothing(ask: Ask, world: World) -> None:
    world.add_fault("graph", "500", 99)
    assert {check.finding for name, check in ask().items() if name not in ("consent", "roles")} == {"unanswered"}


@pytest.mark.parametrize(("count", "finding"), [(0, "within"), (1599, "within"), (1600, "high"), (2000, "full")])
def test_the_monthly_count_of_the_busiest_organizer(count: int, finding: str) -> None:
    check = microsoft.load({OIDS[1]: count, GONE: 9999}, CONNECTION)
    assert (check.finding, check.values) == (finding, {"count": count})


def directory(answer: Any, status: int = 200) -> Any:
    app = flask.Flask("scripted")
    app.add_url_rule("/<path:path>", "any", lambda path: (flask.jsonify(answer), status))
    return listening(app)


@pytest.mark.parametrize("answer", [[], {"value": 1}, {"value": [None, {"servicePlans": "x"}]}])
def test_odd_answers_about_licences(answer: Any) -> None:
    with directory(answer) as port:
        asked = GraphDirectory(GraphHttp(f"http://127.0.0.1:{port}", lambda _: "t"))
        if isinstance(answer, dict) and isinstance(answer["value"], list):
            assert not asked.has_teams_licence("t")
        else:
            with pytest.raises(PermanentError, match=r"graph.unreadable_answer"):
                asked.has_teams_licence("t")


def test_another_refusal_is_no_missing_policy() -> None:
    for status, kind in ((400, PermanentError), (503, TransientError)):
        with directory({"error": {"code": "BadRequest"}}, status) as port, pytest.raises(kind):
            http = GraphHttp(f"http://127.0.0.1:{port}", lambda _: "t")
            http._http._pause = lambda _: None
            GraphDirectory(http).may_act_for("t", GONE)
