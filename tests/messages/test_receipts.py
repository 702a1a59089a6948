"""What became of messages after they were accepted: whoever tells it, whenever, and however often."""

import copy
import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from connector import logs, messages
from connector.adapters import acs_events
from connector.errors import TransientError
from connector.messages import ledger, optouts, receipts, send
from connector.messages.reference import Reference, reference
from connector.messages.status import watch
from connector.messages.sweep import sweep
from connector.regions import Region
from tests.messages.asking import bring, functions
from tests.messages.conftest import Stage
from tests.messages.test_email_channel import telecom
from tests.messages.test_one_off import send as send_link

BOTH = {"channels": ["sms", "email"]}


@pytest.fixture
def stage(staged: Callable[..., Stage]) -> Stage:
    return staged(**BOTH)


def told(stage: Stage, *patients: int) -> None:
    for index in patients:
        stage.book(index)
    stage.discover()
    stage.deliver()


def reported(stage: Stage) -> dict[str, tuple[Any, ...]]:
    """State, delivery and code by the message's patient's place in the hospital."""
    return {row["key"]: (row["state"], row.get("delivery"), row.get("delivery_code")) for row in stage.rows("m")}


def status(stage: Stage) -> messages.MessageStatus:
    return messages.connection_status(stage.scope, stage.connection, stage.world.now())


def test_reports_by_event_grid_are_kept_and_counted(stage: Stage) -> None:
    telecom(stage, 2, "email")
    stage.world.undeliverable = {stage.hospital.patients[1].mobile: "4006: Unreachable"}
    told(stage, 0, 1, 2)
    assert status(stage).unreported == 3
    for event in stage.world.events:
        bring(stage, event)
    assert sorted(reported(stage).values()) == [
        ("sent", "delivered", ""), ("sent", "delivered", ""), ("sent", "undelivered", "4006"),
    ]  # fmt: skip
    seen = status(stage)
    assert (seen.sent, seen.delivered, seen.unreported, seen.handed_over) == (3, 2, 0, 0)
    assert [(one.code, one.meaning, one.count) for one in seen.undelivered] == [
        ("4006", "the phone cannot be reached", 1)
    ]
    assert not re.search("5552348|771406|patientmail", str([stage.rows("m"), stage.rows("r")]))


def test_reports_twice_and_out_of_order_leave_the_latest(stage: Stage) -> None:
    telecom(stage, 0, "email")
    told(stage, 0)
    (delivered,) = stage.world.events
    bounced = copy.deepcopy(delivered)
    bounced["data"]["status"] = "Bounced"
    later = stage.world.now() + timedelta(minutes=5)
    bounced["data"]["deliveryAttemptTimeStamp"] = later.isoformat()
    for event in (bounced, delivered, bounced, delivered):
        bring(stage, event)
    assert set(reported(stage).values()) == {("sent", "undelivered", "bounced")}


@pytest.mark.parametrize("change", [
    {"messageId": "Outgoing_somebody_elses"}, {"Tag": "x"}, {"Tag": ""}, {"Tag": None}, {"messageId": 7},
    {"Tag": str(uuid.uuid4())}, {"Tag": "9999999999998888888899999999aaaa"},
])  # fmt: skip
def test_a_made_up_report_changes_nothing(stage: Stage, change: dict[str, Any]) -> None:
    told(stage, 0)
    (event,) = stage.world.events
    event["data"] |= change
    bring(stage, event)
    assert set(reported(stage).values()) == {("sent", None, None)}


def test_a_made_up_stop_stops_nobody(stage: Stage) -> None:
    """Somebody who can call the trigger knows neither our reference nor the vendor's id of a message."""
    told(stage, 0)
    (event,) = stage.world.events
    mira = stage.hospital.patients[0].mobile
    blocked = {"deliveryStatus": "Failed", "deliveryStatusDetails": "4007: Sender blocked"}
    guess = reference(stage.connection_id, uuid.uuid4().hex, stage.rows("m")[0]["key"])
    for forged in ({"Tag": guess}, {"messageId": "Outgoing_guess"}):
        bring(stage, {**event, "data": {**event["data"], **blocked, **forged}})
    assert optouts.opted_out(stage.scope, stage.connection.sender_id or "", [mira]) == frozenset()


def test_a_report_before_the_message_is_recorded_is_brought_again(stage: Stage, monkeypatch: Any) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(send, "_record", lambda *_: False)  # the worker dies after it sent
        told(stage, 0)
    (event,) = stage.world.events
    with pytest.raises(TransientError):
        bring(stage, event)
    later = ledger.real_now() + ledger.LEASE + timedelta(seconds=1)
    sweep(stage.scope, stage.connection_id, stage.desk, real=lambda: later)
    bring(stage, event)
    assert set(reported(stage).values()) == {("sent", "delivered", "")}


def test_a_report_settles_an_uncertain_sms(stage: Stage, monkeypatch: Any) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(send, "_record", lambda *_: False)
        told(stage, 0)
    too_late = ledger.real_now() + ledger.REPLAY_WINDOW + timedelta(seconds=1)
    sweep(stage.scope, stage.connection_id, stage.desk, real=lambda: too_late)
    assert set(reported(stage).values()) == {("uncertain", None, None)}
    (event,) = stage.world.events
    bring(stage, event)
    (row,) = stage.rows("m")
    assert (row["state"], row["delivery"], row["message_id"]) == ("sent", "delivered", stage.outbox[0].id)
    assert len(stage.outbox) == 1 and stage.status() == {"sent": 1}


def test_a_carriers_stop_is_recorded_as_an_opt_out(stage: Stage) -> None:
    mira, sender = stage.hospital.patients[0].mobile, stage.connection.sender_id or ""
    stage.world.opt_outs.add((stage.hospital.sender_value, mira))
    told(stage, 0)
    (event,) = stage.world.events
    assert not event["data"]["to"].startswith("+")
    bring(stage, event)
    assert optouts.opted_out(stage.scope, sender, [mira]) == {mira}
    assert set(reported(stage).values()) == {("sent", "undelivered", "4007")}


def test_an_unverified_number_shows_as_a_fault_of_the_sender_and_an_alarm(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.world.unverified_senders.add(stage.hospital.sender_value)
    told(stage, 0, 1)
    for event in stage.world.events:
        bring(stage, event)
    (fault,) = status(stage).sender_faults
    assert (fault.code, fault.count) == ("4010", 2) and "not verified" in fault.meaning
    found: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(logs, "event", lambda name, **fields: found.append(name))
        watch(stage.scope, stage.connection, stage.world.now())
        stage.forward(61)
        watch(stage.scope, stage.connection, stage.world.now())
    assert found.count("messages.alarm_sender") == 1
    stage.forward(60 * 24)
    assert status(stage).sender_faults == []


def test_a_one_off_gets_its_report_too(stage: Stage) -> None:
    appointment = stage.book(0)
    for channel in ("sms", "email"):
        send_link(stage, appointment, channel)
    for event in stage.world.events:
        bring(stage, event)
    assert [row["delivery"] for row in stage.rows("l")] == ["delivered", "delivered"]


def look(stage: Stage, minutes: float) -> None:
    stage.forward(minutes)
    functions(stage)["messages_receipts"](None)


def test_elsewhere_the_resource_is_asked(staged: Callable[..., Stage]) -> None:
    stage = staged("nordlys", **BOTH)
    telecom(stage, 0, "email")
    stage.world.undeliverable = {stage.hospital.patients[2].mobile: "4004: No such number"}
    told(stage, 0, 2, 3)
    assert stage.world.events == [], "the topic is global: nothing of Europe goes there"
    asked = "acs", "delivery_report"
    look(stage, 1)
    assert stage.world.requests[asked] == 0, "not at once"
    look(stage, 3)
    assert stage.world.requests[asked] == 2
    assert sorted(reported(stage).values(), key=str) == [
        ("sent", "delivered", ""), ("sent", "undelivered", "4004"), ("sent", None, None),
    ]  # fmt: skip
    look(stage, 15)
    look(stage, 60 * 2)
    seen = status(stage)
    assert (seen.delivered, seen.handed_over, seen.unreported) == (1, 1, 0)
    assert stage.world.requests[asked] == 2 and stage.rows("r") == []
    assert "messages_reports" not in functions(stage)


def test_elsewhere_asking_survives_faults_and_carriers_that_never_report(staged: Callable[..., Stage]) -> None:
    stage = staged("nordlys")
    told(stage, 0)
    (report,) = stage.world.delivery_reports.items()
    del stage.world.delivery_reports[report[0]]
    stage.world.add_fault("acs", "500", 1)
    look(stage, 4)
    look(stage, 1)
    assert set(reported(stage).values()) == {("sent", None, None)}
    stage.world.delivery_reports[report[0]] = report[1]
    look(stage, 15)
    assert set(reported(stage).values()) == {("sent", "delivered", "")}
    told(stage, 2)
    stage.world.delivery_reports.clear()
    before = stage.world.requests["acs", "delivery_report"]
    for _ in range(10):
        look(stage, 60 * 3)
    assert stage.world.requests["acs", "delivery_report"] - before == len(receipts.LOOKS)
    assert stage.rows("r") == []


@pytest.mark.parametrize(("arrived", "state"), [(True, "sent"), (False, "failed")])
@pytest.mark.parametrize("hospital", ["harbor", "nordlys"])
def test_an_uncertain_email_is_settled_by_its_operation(
    staged: Callable[..., Stage], hospital: str, arrived: bool, state: str, monkeypatch: Any
) -> None:
    stage = staged(hospital, **BOTH)
    telecom(stage, 0, "email")
    stage.book(0)
    stage.discover()
    fault: Any = "timeout_after_accept" if arrived else "timeout"
    stage.world.add_fault("acs", fault, 2)
    stage.deliver()
    assert stage.status() == {"claimed": 1}
    too_late = ledger.real_now() + ledger.REPLAY_WINDOW + timedelta(seconds=1)
    sweep(stage.scope, stage.connection_id, stage.desk, real=lambda: too_late)
    assert stage.status() == {"uncertain": 1}
    look(stage, 4)
    look(stage, 12)
    look(stage, 120)
    (row,) = stage.rows("m")
    assert (row["state"], len(stage.world.mail)) == (state, int(arrived))
    assert (row.get("delivery"), row["rule"]) == (
        ("handed_over", "window_over") if arrived else (None, "email.never_accepted")
    )


def test_a_reference_names_its_connection_and_nothing_of_a_patient(stage: Stage) -> None:
    claim, key = uuid.uuid4().hex, "m." + "a" * 32 + ".b.confirmation.1"
    made = reference(stage.connection_id, claim, key)
    assert uuid.UUID(made).version == 8 and uuid.UUID(made).variant == uuid.RFC_4122
    found = Reference.parse(made.upper(), Region.AMERICAS)
    assert found is not None and (found.connection_id, claim.startswith(found.claim)) == (stage.connection_id, True)
    assert reference(stage.connection_id, claim, key) == made != reference(stage.connection_id, claim, key + "1")
    assert Reference.parse(str(uuid.uuid4()), Region.AMERICAS) is None
    assert Reference.parse("alde532sm", Region.AMERICAS) is None


@pytest.mark.parametrize(("details", "code"), [
    ("4010: Toll-free number not verified", "4010"), ("4005", "4005"), ("Sender blocked for given recipient.", "4007"),
    ("Mirabelka Testonby", "failed"), ("", "failed"), (None, "failed"), ("40101 x", "failed"),
])  # fmt: skip
def test_only_codes_are_taken_from_a_report(details: Any, code: str) -> None:
    data = {"messageId": "m", "deliveryStatus": "Failed", "deliveryStatusDetails": details}
    found = acs_events.report(acs_events.SMS_REPORT, data)
    assert found is not None and found.code == code and not found.delivered
    for nothing in (None, [], "x", {}, {"messageId": 1}):
        assert acs_events.report(acs_events.SMS_REPORT, nothing) is None
    word = acs_events.report(acs_events.EMAIL_REPORT, {"messageId": "m", "status": "Mira@x.example"})
    assert word is not None and word.code == "failed"
