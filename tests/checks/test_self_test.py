"""The whole chain with no patient, and each link broken on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from connector import tenants
from connector.adapters.tables import Row
from connector.checks import Check, self_test
from connector.errors import TransientError
from connector.messages import optouts
from connector.tenants import Connection, Department, MessageSettings, SenderInput, SenderPatch, Verification
from sandbox import graph as simulated_graph
from sandbox.acs import ACS_KEYS
from sandbox.cast import HARBOR
from sandbox.world import Meeting, World
from tests.adapters.cerner_world import Simulated
from tests.checks.conftest import Tenant, at_harbor
from tests.tenants import stamp

MINE = "+13125552348"
CLINIC = Department(name="Family Medicine", location_ids=["21570461"], time_zone="America/Chicago")


@dataclass
class Chain:
    tenant: Tenant
    world: World
    connection: Connection

    def run(self, number: str = MINE, **changes: Any) -> dict[str, Check]:
        made = self_test(self.tenant.services, self.tenant.scope, self.connection.model_copy(update=changes), number,
                         stamp.ACTOR)  # fmt: skip
        for check in made:
            check.formatted()
        return {check.id: check for check in made}

    def text(self, number: str = MINE, **changes: Any) -> str:
        return self.run(number, **changes)["test.sms"].finding


@pytest.fixture
def chain(new_tenant: Callable[..., Tenant], world: World, simulated: Simulated) -> Iterator[Chain]:
    tenant = new_tenant(AMERICAS_COMMUNICATION_ENDPOINT=world.ports.url("acs_americas"),
                        AMERICAS_COMMUNICATION_KEY=ACS_KEYS["americas"])  # fmt: skip
    tenant = replace(tenant, services=at_harbor(world, tenant.services))
    versions = {kind: text.version for kind, text in tenants.CONSENTS.items()}
    tenants.give_consents(tenant.scope, versions, stamp.ACTOR)
    wanted = SenderInput(kind="phone_number", value=HARBOR.sender_value, label="Main")
    sender = tenants.add_sender(tenant.scope, wanted, stamp.ACTOR)
    found = tenants.versioned_sender(tenant.scope, sender.id)
    verified = SenderPatch(verification=Verification(state="verified"))
    tenants.change_sender(tenant.scope, sender.id, found.etag, verified, stamp.ACTOR)
    made = stamp.wanted(fhir_base_url=simulated.base(HARBOR), organizers=[HARBOR.organizers[0].oid])
    connection = Connection(id="a1", **made.model_dump(), departments=[CLINIC], sender_id=sender.id)
    yield Chain(tenant, world, connection)
    optouts.record(tenant.scope, sender.id, MINE, out=False, via="staff")


def test_every_link_holds(chain: Chain) -> None:
    checks = chain.run(" (312) 555-2348 ")
    assert {name: check.finding for name, check in checks.items()} == {
        "system.token": "granted", "system.scopes": "granted", "fhir.locations": "known", "fhir.schedule": "read",
        "test.meeting": "made", "test.lobby": "proven", "test.deleted": "deleted", "test.sms": "sent",
    }  # fmt: skip
    assert chain.world.meetings == {}
    sent = chain.world.outbox[0]
    assert (sent.to, sent.sender, sent.text) == (
        MINE, HARBOR.sender_value,
        "Clinic: this is a test of text messages about video visits. No patient was involved.",
    )  # fmt: skip


def test_the_number_is_not_kept(chain: Chain) -> None:
    chain.run()
    scope = chain.tenant.scope
    stored: list[Row] = []
    for table, partition in (("Configuration", scope.tenant_id), ("Visits", chain.connection.id), ("Limits", None)):
        if partition:
            stored += scope.tables.query(table, partition)
    assert stored and not any("5552348" in str(row) for row in stored)


def test_a_broken_link_does_not_hide_the_others(chain: Chain) -> None:
    chain.world.access_policy.clear()
    checks = chain.run("")
    assert {name: checks[name].finding for name in checks if name.startswith("test")} == {
        "test.meeting": "not_allowed", "test.lobby": "not_asked", "test.deleted": "not_asked", "test.sms": "skipped",
    }  # fmt: skip
    assert checks["fhir.schedule"].finding == "read"
    checks = chain.run(fhir_base_url="http://127.0.0.1:1/r4/T")
    assert (checks["system.token"].finding, checks["fhir.schedule"].finding) == ("unreachable", "not_asked")
    assert checks["test.sms"].finding == "sent"


def test_meetings_that_fail(chain: Chain) -> None:
    assert chain.run("", organizers=[])["test.meeting"].finding == "no_organizer"
    assert chain.run("", organizers=["11111111-2222-4333-8444-555555555555"])["test.meeting"].finding == "refused"
    chain.world.add_fault("graph", "500", 3)
    assert chain.run("")["test.meeting"].finding == "unanswered"


def test_a_lobby_that_does_not_hold_is_told_and_its_meeting_deleted(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deaf(world: World, meeting: Meeting, changes: dict[str, Any]) -> None:
        """Says yes and changes nothing."""

    monkeypatch.setattr(simulated_graph, "apply_update", deaf)
    checks = chain.run("")
    assert (checks["test.lobby"].finding, checks["test.lobby"].state) == ("not_proven", "fail")
    assert checks["test.deleted"].finding == "deleted" and chain.world.meetings == {}


def test_a_meeting_that_cannot_be_deleted_is_told(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: Any) -> None:
        raise TransientError("graph.unavailable")

    monkeypatch.setattr(chain.tenant.services.graph, "delete", busy)
    assert chain.run("")["test.deleted"].finding == "left"


def test_who_is_not_texted(chain: Chain) -> None:
    assert chain.text("nonsense") == chain.text("+13122") == "not_a_number"
    assert chain.text("+4520481357") == "country"
    assert chain.text(environment="test") == "not_listed"
    assert chain.text(environment="test", messages=MessageSettings(allowed_numbers=[MINE])) == "sent"
    assert chain.text(sender_id=None) == "no_sender"
    optouts.record(chain.tenant.scope, chain.connection.sender_id or "", MINE, out=True, via="reply")
    assert chain.text() == "opted_out"
    assert len(chain.world.outbox) == 1


def test_a_number_that_is_not_verified_is_not_tried(chain: Chain) -> None:
    sender = chain.connection.sender_id or ""
    for state in ("unverified", "submitted", "rejected"):
        found = tenants.versioned_sender(chain.tenant.scope, sender)
        patch = SenderPatch(verification=Verification(state=state))
        tenants.change_sender(chain.tenant.scope, sender, found.etag, patch, stamp.ACTOR)
        assert chain.text() == "blocked", state
    assert not chain.world.outbox


def test_without_consents(chain: Chain, new_tenant: Callable[..., Tenant]) -> None:
    chain.tenant = replace(chain.tenant, scope=new_tenant().scope)
    assert chain.text() == "no_consent"


def test_the_limits_hold(chain: Chain) -> None:
    assert [chain.text() for _ in range(7)] == ["sent"] * 6 + ["limit"]
    assert len(chain.world.outbox) == 6


@pytest.mark.parametrize(("kind", "finding", "arrived"), [
    ("429", "unanswered", 0), ("500", "uncertain", 0), ("timeout_after_accept", "uncertain", 1),
])  # fmt: skip
def test_it_is_sent_at_most_once(chain: Chain, kind: Any, finding: str, arrived: int) -> None:
    chain.world.patience_s = 0.2
    chain.world.add_fault("acs", kind, 1)
    assert chain.text() == finding
    assert len(chain.world.outbox) == arrived


def test_a_sender_that_azure_does_not_know(chain: Chain) -> None:
    stranger = SenderInput(kind="phone_number", value="+14252040128", label="x")
    tenants.forget_number(chain.tenant.scope, stranger.value)
    added = tenants.add_sender(chain.tenant.scope, stranger, stamp.ACTOR)
    assert chain.text(sender_id=added.id) == "refused"
