"""Planned messages by e-mail: for whom, how fast, once, and stopped when told."""

import random
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from connector.adapters.acs_email import Email
from connector.ehr import ContactPoint, Patient
from connector.messages import contacts, ledger, optouts, pace, send, sweep
from connector.messages.contacts import Contact
from sandbox.cerner import appointments
from tests.messages.asking import ask
from tests.messages.conftest import Stage

BOTH = {"channels": ["sms", "email"]}
MIRA, RAFAEL = "mirabelka.t84@patientmail.example", "rquintaval57@patientmail.example"


@pytest.fixture
def stage(staged: Callable[..., Stage]) -> Stage:
    return staged(**BOTH)


def telecom(stage: Stage, index: int, *systems: str) -> None:
    record = stage.world.resources[stage.hospital.ehr_tenant][
        "Patient", stage.hospital.patients[index].patient_id
    ]
    record["telecom"] = [t for t in record["telecom"] if t["system"] in systems]


def prefers(stage: Stage, index: int, *methods: str) -> None:
    """The record says by what the patient wants to be reminded."""
    record = stage.world.resources[stage.hospital.ehr_tenant][
        "Patient", stage.hospital.patients[index].patient_id
    ]
    base = "https://fhir-ehr.cerner.com/r4/StructureDefinition/communication-preference"
    topic = {"system": "http://terminology.hl7.org/CodeSystem/communication-topic", "code": "appointment-reminder"}
    record["extension"] = [
        {"url": base, "extension": [
            {"url": "communication-type", "valueCodeableConcept": {"coding": [topic]}},
            {"url": "contact-method", "valueCodeableConcept": {"coding": [
                {"system": "http://hl7.org/fhir/contact-point-system", "code": method}]}},
        ]}
        for method in methods
    ]  # fmt: skip


def told(stage: Stage) -> None:
    stage.discover()
    stage.deliver()


def test_who_has_no_mobile_or_prefers_it_is_told_by_email_and_the_others_by_sms(stage: Stage) -> None:
    telecom(stage, 0, "email")
    prefers(stage, 2, "email")
    prefers(stage, 3, "email", "phone")
    telecom(stage, 4)
    for index in range(5):
        stage.book(index)
    told(stage)
    odette, hollis = stage.hospital.patients[2], stage.hospital.patients[3]
    assert {m.to for m in stage.world.mail} == {MIRA, odette.email}
    assert {m.to for m in stage.outbox} == {stage.hospital.patients[1].mobile, hollis.mobile}
    assert stage.status() == {"sent": 4, "skipped": 1} and "no_contact" in stage.rules()


def test_a_connection_by_email_alone_needs_no_sender(staged: Callable[..., Stage]) -> None:
    stage = staged(channels=["email"], linked=False)
    stage.book(0)
    told(stage)
    assert [m.to for m in stage.world.mail] == [MIRA] and stage.outbox == []
    assert stage.connection.sender_id is None


@pytest.mark.parametrize(("channels", "systems", "rule"), [
    (["sms"], ["email"], "no_mobile"), (["email"], ["phone"], "no_address"), (["sms", "email"], [], "no_contact"),
])  # fmt: skip
def test_nobody_is_reached_by_what_is_not_there(
    staged: Callable[..., Stage], channels: list[str], systems: list[str], rule: str
) -> None:
    stage = staged(channels=channels)
    telecom(stage, 0, *systems)
    stage.book(0)
    told(stage)
    assert stage.rules() == {rule} and stage.world.mail == [] and stage.outbox == []


def test_a_preference_is_kept_to_even_where_another_way_is_known(stage: Stage) -> None:
    patient = Patient("1", True, False, None, None, None, None, None, None, (
        ContactPoint("phone", "+13125552348", "mobile", 1, None, None),
        ContactPoint("email", MIRA, "home", 1, None, None),
    ))  # fmt: skip
    appointment = stage.services.ehr.reader(stage.scope, stage.connection).appointment(stage.book(0))
    found = contacts.of_record(stage.connection, appointment, patient, datetime.now(UTC))
    sms, email = Contact("sms", "+13125552348"), Contact("email", MIRA)
    assert found == {"sms": sms, "email": email}
    for preferred, offered, chosen in (
        (None, ("sms", "email"), sms), ({"sms", "email"}, ("sms", "email"), sms), ({"email"}, ("sms", "email"), email),
        (None, ("email",), email), ({"email"}, ("sms",), "prefers_other_channel"),
        (set(), ("sms",), "prefers_other_channel"),
    ):  # fmt: skip
        assert contacts.choose(found, offered, None if preferred is None else frozenset(preferred)) == chosen  # type: ignore[arg-type]
    assert contacts.choose({"sms": sms}, ("sms", "email"), frozenset({"email"})) == "no_address"


def test_a_change_and_a_cancellation_follow_by_email(stage: Stage) -> None:
    telecom(stage, 0, "email")
    appointment = stage.book(0, in_minutes=200)
    told(stage)
    appointments.move(stage.world, "harbor", appointment, stage.start_of(appointment) + timedelta(minutes=30))
    stage.forward(6)
    told(stage)
    appointments.cancel(stage.world, "harbor", appointment)
    for _ in range(2):
        stage.forward(6)
        told(stage)
    subjects = [re.sub(r" (on|to) .*", "", m.subject.split(": ")[1]) for m in stage.world.mail]
    assert subjects == ["video visit", "your video visit has moved", "your video visit"]
    assert "cancelled" in stage.world.mail[2].subject
    assert stage.status() == {"sent": 3}


def test_stop_ends_planned_email_and_leaves_sms(stage: Stage) -> None:
    prefers(stage, 0, "email")
    stage.book(0)
    told(stage)
    token, reader = re.findall(r"/j/([\w-]+)/stop\?e=([\w-]+)", stage.world.mail[0].text)[0]
    ask(stage, "patient_stop", "POST", raw=b"List-Unsubscribe=One-Click", query=f"e={reader}", token=token)
    stage.book(0, in_minutes=120)
    stage.book(1)
    stage.forward(6)
    told(stage)
    assert len(stage.world.mail) == 1 and len(stage.outbox) == 1
    assert stage.status() == {"sent": 2, "skipped": 1} and "opted_out" in stage.rules()
    sender = stage.connection.sender_id or ""
    assert optouts.opted_out(stage.scope, sender, [stage.hospital.patients[0].mobile]) == frozenset()


def test_a_test_connection_e_mails_only_its_list(staged: Callable[..., Stage]) -> None:
    stage = staged(environment="test", allowed_addresses=[MIRA], **BOTH)
    for index in (0, 3):
        telecom(stage, index, "email")
        stage.book(index)
    stage.book(2)
    told(stage)
    assert [m.to for m in stage.world.mail] == [MIRA] and stage.outbox == []
    assert stage.rules() == {"confirmation.new", "not_allowed_number", "not_allowed_address"}


@pytest.mark.parametrize("fault", ["500", "timeout", "timeout_after_accept"])
def test_a_lost_answer_is_repeated_and_arrives_once(stage: Stage, fault: Any) -> None:
    telecom(stage, 0, "email")
    stage.book(0)
    stage.discover()
    stage.world.add_fault("acs", fault, 1)
    stage.deliver()
    assert len(stage.world.mail) == 1 and stage.status() == {"sent": 1}


def test_a_dead_workers_email_is_repeated_by_the_sweep_and_arrives_once(stage: Stage, monkeypatch: Any) -> None:
    telecom(stage, 0, "email")
    stage.book(0)
    stage.discover()
    monkeypatch.setattr(send, "_record", lambda *_: False)  # dies after it sent
    stage.deliver()
    assert len(stage.world.mail) == 1 and stage.status() == {"claimed": 1}
    later = ledger.real_now() + ledger.LEASE + timedelta(seconds=1)
    assert sweep.sweep(stage.scope, stage.connection_id, stage.desk, real=lambda: later) == 1
    assert len(stage.world.mail) == 1 and stage.status() == {"sent": 1}


def test_while_the_service_fails_and_workers_die_each_email_arrives_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As tests/chaos does with texts: one attempt in four meets a fault, one record in three is lost."""
    for index in (0, 2, 3, 4):
        telecom(stage, index, "email")
    booked = [stage.book(index, in_minutes=600 + 45 * turn) for turn in range(5) for index in (0, 2, 3, 4)]
    stage.discover()
    monkeypatch.setattr(ledger, "CHUNK", 6)
    dice, record = random.Random(7), send._record  # noqa: S311 - repeatable, no secret
    monkeypatch.setattr(send, "_record", lambda *given: dice.random() > 0.33 and record(*given))
    stage.world.fault_rates["acs"], stage.world.dice = 0.25, random.Random(1)  # noqa: S311 - as above
    for _ in range(12):
        stage.deliver()
        grown_old = ledger.real_now() + ledger.LEASE * 1.1  # the claims, and ACS still remembers
        sweep.sweep(stage.scope, stage.connection_id, stage.desk, real=lambda at=grown_old: at)  # type: ignore[misc]
        stage.forward(1.5)
    assert stage.status() == {"sent": len(booked)}
    links = [re.findall(r"/j/([\w-]+)\n", mail.text)[0] for mail in stage.world.mail]
    assert len(links) == len(set(links)) == len(booked)
    assert len(stage.world.suffered) > 3


def test_a_throttled_domain_waits_as_long_as_it_is_told_and_holds_up_no_sms(stage: Stage) -> None:
    telecom(stage, 0, "email")
    for index in range(3):
        stage.book(index)
    stage.discover()
    mailer, before = stage.services.email(stage.scope.region), stage.world.now()
    assert mailer is not None  # something else sends by the same domain
    mailer.send(to=MIRA, email=Email("s", "t", "h", {}), operation_id=str(uuid4()), first_sent=ledger.real_now())
    stage.world.email_limits = (1, 1000)
    stage.deliver()
    assert len(stage.outbox) == 2 and len(stage.world.mail) == 1
    (waiting,) = [row for row in stage.rows("m") if row["state"] == "planned"]
    assert waiting["rule"] == "email.throttled"
    assert datetime.fromisoformat(waiting["due"]) >= before + timedelta(seconds=59)


def test_email_over_the_domains_rate_waits_and_goes_later(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "KEY", f"pace-{secrets.token_hex(4)}")
    mailer = stage.services.email(stage.scope.region)
    assert mailer is not None
    mailer.rate = (2, 100)
    for index in (0, 2, 3, 4):
        telecom(stage, index, "email")
        stage.book(index, in_minutes=200)
    told(stage)
    assert len(stage.world.mail) == 2 and stage.status() == {"sent": 2, "planned": 2}
    assert "email_rate" in stage.rules()
    mailer.rate = (10, 100)
    stage.forward(3)
    stage.deliver()
    assert len({m.to for m in stage.world.mail}) == len(stage.world.mail) == 4 and stage.status() == {"sent": 4}


@pytest.mark.parametrize("rate", [(30, 100), (5, 1000), (3, 20)])
def test_no_minute_and_no_hour_ever_gets_more_than_its_rate_and_all_go(
    stage: Stage, rate: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "KEY", f"pace-{secrets.token_hex(4)}")
    begun, gone, waiting = datetime(2031, 3, 4, 9, 30, tzinfo=UTC), [], [0] * 70  # seconds at which each looks again
    while waiting:
        now = min(waiting)
        due = [at for at in waiting if at == now][:49]
        waiting = sorted(waiting)[len(due) :]
        for wait in pace.reserve(stage.scope, rate, len(due), real=begun + timedelta(seconds=now)):
            if wait:
                waiting.append(now + int(wait.total_seconds()))
            else:
                gone.append(now)
    assert len(gone) == 70
    for span, limit in ((60, rate[0]), (3600, rate[1])):
        assert max(sum(at <= other < at + span for other in gone) for at in gone) <= limit
    assert max(gone) <= 70 * max(60 / rate[0], 3600 / rate[1]) * 1.5 + 3600 * (70 > rate[1])


def test_staff_stop_an_address(stage: Stage) -> None:
    answer = ask(stage, "api_sender_opt_outs", "POST", body={"address": MIRA.upper()}, sender="email")
    assert answer.status_code == 201
    assert optouts.opted_out(stage.scope, optouts.EMAIL, [MIRA]) == {MIRA}
    ask(stage, "api_sender_opt_outs", "POST", body={"address": MIRA, "out": False}, sender="email")
    assert optouts.opted_out(stage.scope, optouts.EMAIL, [MIRA]) == frozenset()
    for wrong in ({"address": "no"}, {"number": "+13125552348"}, {}):
        assert ask(stage, "api_sender_opt_outs", "POST", body=wrong, sender="email").status_code == 422
