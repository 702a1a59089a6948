"""Can this connection text its patients? What carriers, Azure and the operator's settings say."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest

from connector import tenants
from connector.adapters.tables import Row
from connector.checks import Check, sending
from connector.tenants import Connection, Sender, SenderInput, Verification
from sandbox.acs import ACS_KEYS
from sandbox.certificates import notification_certificate
from sandbox.world import World
from tests.checks.conftest import Tenant
from tests.tenants import stamp

TOLL_FREE, GEOGRAPHIC = "+18332040117", "+14252040117"


def resource(world: World) -> dict[str, str]:
    return {
        "AMERICAS_COMMUNICATION_ENDPOINT": world.ports.url("acs_americas"),
        "AMERICAS_COMMUNICATION_KEY": ACS_KEYS["americas"],
    }


def ask(tenant: Tenant, sender: str | None = None, **changes: object) -> dict[str, Check]:
    connection = Connection(id="a1", **stamp.wanted().model_dump(), sender_id=sender).model_copy(update=changes)
    made = sending.check_sending(tenant.services, tenant.scope, connection)
    for check in made:
        check.formatted()
    return {check.id: check for check in made}


def add(tenant: Tenant, value: str) -> str:
    kind = "phone_number" if value.startswith("+") else "alphanumeric"
    tenants.forget_number(tenant.scope, value)  # of another test
    return tenants.add_sender(tenant.scope, SenderInput(kind=kind, value=value, label="x"), stamp.ACTOR).id


def agree(tenant: Tenant) -> None:
    versions = {kind: text.version for kind, text in tenants.CONSENTS.items()}
    tenants.give_consents(tenant.scope, versions, stamp.ACTOR)


def test_nothing_is_set_up(tenant: Tenant) -> None:
    checks = ask(tenant)
    assert {name: check.finding for name, check in checks.items()} == {
        "sender.consents": "missing", "sender.service": "missing", "sender.state": "none", "email.sender": "unused",
        "live.status": "no_certificate",
    }  # fmt: skip
    assert checks["sender.service"].who == checks["live.status"].who == "operator"


def test_a_number_that_is_there(new_tenant: Callable[..., Tenant], world: World) -> None:
    tenant = new_tenant(**resource(world))
    agree(tenant)
    world.owned_numbers["americas"] = {GEOGRAPHIC[1:]: {"phoneNumber": GEOGRAPHIC}}
    sender = add(tenant, GEOGRAPHIC)
    checks = ask(tenant, sender)
    assert [checks[name].finding for name in ("sender.consents", "sender.service", "sender.state")] == [
        "given", "ready", "number"]  # fmt: skip
    assert checks["sender.state"].formatted().seen == f"Texts come from the number {GEOGRAPHIC}."
    assert checks["sender.owned"].finding == "owned"
    world.add_fault("acs", "500", 1)
    assert ask(tenant, sender)["sender.owned"].finding == "unanswered"
    world.owned_numbers.clear()
    assert (ask(tenant, sender)["sender.owned"].finding, ask(tenant, sender)["sender.owned"].who) == (
        "strange", "operator")  # fmt: skip




def test_a_name_needs_no_number_and_a_sender_can_be_gone(new_tenant: Callable[..., Tenant], world: World) -> None:
    tenant = new_tenant(**resource(world))
    checks = ask(tenant, add(tenant, "Clinic"))
    assert checks["sender.state"].finding == "name" and "sender.owned" not in checks
    assert ask(tenant, "0badf00d")["sender.state"].finding == "gone"


@pytest.mark.parametrize(("verification", "finding", "state", "who"), [
    (None, "number", "pass", ""), (Verification(state="unverified"), "unverified", "fail", "operator"),
    (Verification(state="submitted", submitted_on=date(2031, 2, 3)), "submitted", "fail", "operator"),
    (Verification(state="rejected"), "rejected", "fail", "operator"),
    (Verification(state="verified", decided_on=date(2031, 3, 4)), "verified", "pass", ""),
])  # fmt: skip
def test_pending_is_blocked_and_told_so(
    verification: Verification | None, finding: str, state: str, who: str
) -> None:
    sender = Sender(id="1", kind="phone_number", value=TOLL_FREE, label="x", verification=verification)
    check = sending.sender_state(sender)
    assert (check.finding, check.state, check.who) == (finding, state, who)
    assert ("block" in check.formatted().seen) is (state == "fail")
    assert finding != "submitted" or "(2031-02-03)" in check.formatted().seen


def test_visits_that_teams_gives_no_live_status_for_are_counted(new_tenant: Callable[..., Tenant]) -> None:
    tenant = new_tenant(GRAPH_NOTIFICATION_CERTIFICATES=notification_certificate())
    identity = f"a{secrets.token_hex(4)}"
    assert ask(tenant, id=identity)["live.status"].finding == "ready"
    long_ago, soon = datetime(2026, 1, 2, tzinfo=UTC), datetime(2999, 1, 2, tzinfo=UTC)
    for visit, subscription, claimed in ("one", "s", long_ago), ("two", "", long_ago), ("three", "", soon):
        values = {"subscription": subscription, "claimed": claimed.isoformat()}
        tenant.scope.tables.insert("Visits", Row(identity, f"g.{visit}", values))
    check = ask(tenant, id=identity)["live.status"]
    assert (check.finding, check.values, check.who) == ("refused", {"refused": 1, "count": 2}, "operator")


def test_e_mail_and_live_status(new_tenant: Callable[..., Tenant], world: World) -> None:
    both = Connection(id="a1", **stamp.wanted().model_dump()).messages.model_copy(update={"channels": ["sms", "email"]})
    assert ask(new_tenant(**resource(world)), messages=both)["email.sender"].finding == "missing"
    ready = new_tenant(**resource(world), AMERICAS_EMAIL_SENDER="visits@americas.mail.example")
    assert ask(ready, messages=both)["email.sender"].values == {"address": "visits@americas.mail.example"}
    world.add_fault("acs", "500", 1)
    assert ask(ready, messages=both)["email.sender"].finding == "unanswered"
    lent = new_tenant(**resource(world), AMERICAS_EMAIL_SENDER="DoNotReply@0c3e5a7b.azurecomm.net")
    assert ask(lent, messages=both)["email.sender"].state == "warn"
    stranger = resource(world) | {"AMERICAS_COMMUNICATION_KEY": ACS_KEYS["emea"]}
    refused = ask(new_tenant(**stranger, AMERICAS_EMAIL_SENDER="visits@americas.mail.example"), messages=both)
    assert (refused["email.sender"].finding, refused["email.sender"].who) == ("refused", "operator")
