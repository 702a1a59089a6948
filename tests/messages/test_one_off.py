"""The link again, or word of a delay, sent by a person at once: to the right contact, within limits, never twice."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from connector import clock, keys, messages, tenants
from connector.errors import RefusedError, TransientError
from connector.messages import ledger, limits, one_off, optouts
from connector.visits.retention import purge_visits
from tests.messages.asking import SAME_ORIGIN, ask, text_of
from tests.messages.conftest import ACTOR, Stage

BOTH = {"channels": ["email", "sms"]}


@pytest.fixture
def stage(staged: Callable[..., Stage]) -> Stage:
    return staged(**BOTH)


def send(stage: Stage, appointment: str, channel: str = "sms", **more: Any) -> messages.OneOff:
    connection = stage.connection
    reader = stage.services.ehr.reader(stage.scope, connection)
    found = reader.appointment(appointment)
    patient = reader.patients_by_id(found.patient_ids).items[0]
    return messages.send_link(stage.services, stage.scope, connection, found, patient, channel=channel, **more)  # type: ignore[arg-type]


def refusal(stage: Stage, appointment: str, channel: str = "sms", **more: Any) -> str:
    with pytest.raises(RefusedError) as refused:
        send(stage, appointment, channel, **more)
    assert refused.value.title == "Nothing was sent"
    return refused.value.code.removeprefix("link.")


def link_in(text: str) -> str:
    return re.findall(r"/j/([\w-]+)", text)[0]


def test_the_link_goes_to_the_number_of_the_record_in_one_segment(stage: Stage) -> None:
    appointment = stage.book(0)
    assert send(stage, appointment) == messages.OneOff("sent", "+1••••••••48")
    (sent,) = stage.outbox
    assert (sent.to, sent.sender) == (stage.hospital.patients[0].mobile, stage.hospital.sender_value)
    assert keys.JoinToken.open(link_in(sent.text), stage.services.sealer).appointment_id == appointment
    assert len(sent.text) <= 160 and "your video visit" in sent.text
    assert not re.search("Testonby|Mirabelka|Okaforth", sent.text)


def test_the_link_goes_by_email_with_one_click_to_stop(stage: Stage) -> None:
    appointment, patient = stage.book(0), stage.hospital.patients[0]
    assert send(stage, appointment, "email").to == "m•••@p•••.example"
    (sent,) = stage.world.mail
    assert (sent.to, stage.outbox) == (patient.email, [])
    assert keys.JoinToken.open(link_in(sent.text), stage.services.sealer).appointment_id == appointment
    assert sent.headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert sent.headers["List-Unsubscribe"].strip("<>") in sent.text
    for text in (sent.subject, sent.text, sent.html):
        assert not re.search("Testonby|Mirabelka|Okaforth|1984", text)


def test_word_of_a_delay_names_the_minutes_and_is_another_message_than_the_link(stage: Stage) -> None:
    appointment = stage.book(0)
    for minutes in (10, 20):
        assert not send(stage, appointment, kind="late", late_minutes=minutes).again
    send(stage, appointment)
    assert ["about 10 minutes late" in m.text for m in stage.outbox] == [True, False, False]
    assert all(len(m.text) <= 160 and link_in(m.text) for m in stage.outbox)


def test_a_typed_contact_is_used_once_and_not_kept(stage: Stage) -> None:
    appointment = stage.book(0)
    send(stage, appointment, typed="(312) 771-4063")
    send(stage, appointment, "email", typed=" Somebody.Else@Mail.Example ")
    assert [m.to for m in stage.outbox] == ["+13127714063"]
    assert [m.to for m in stage.world.mail] == ["somebody.else@mail.example"]
    rows = [*stage.rows("l"), *(dict(r.values) for r in stage.scope.tables.query("Limits", _today(stage)))]
    assert len(rows) == 4 and not re.search("7714063|somebody", str(rows), re.IGNORECASE)


def _today(stage: Stage) -> str:
    return f"{stage.scope.tenant_id}.{clock.now():%Y%m%d}"


@pytest.mark.parametrize(("channel", "typed", "code"), [
    ("sms", "555", "not_a_number"), ("sms", "+1 800 555 0100", "not_a_number"), ("sms", "", "not_a_number"),
    ("email", "mira", "not_an_address"), ("email", "a@b.example, c@d.example", "not_an_address"),
    ("email", "M <m@b.example>", "not_an_address"), ("sms", "+4520481357", "country"),
])  # fmt: skip
def test_what_was_typed_wrong_is_said_and_nothing_sent(stage: Stage, channel: str, typed: str, code: str) -> None:
    assert refusal(stage, stage.book(0), channel, typed=typed) == code
    assert stage.outbox == [] and stage.world.mail == []


def test_a_double_click_and_two_tabs_send_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    appointment = stage.book(0)
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: send(stage, appointment), range(4)))
    assert len(stage.outbox) == 1 and sorted(one.again for one in done) == [False, True, True, True]
    assert send(stage, appointment) == messages.OneOff("sent", "+1••••••••48", again=True)
    monkeypatch.setattr(one_off, "AGAIN", one_off.AGAIN * 0)  # a minute later
    assert not send(stage, appointment).again and len(stage.outbox) == 2


def test_a_lost_answer_sends_once_and_no_answer_at_all_is_said(stage: Stage) -> None:
    stage.world.add_fault("acs", "timeout_after_accept", 1)
    assert send(stage, stage.book(0)).state == "sent"
    assert len(stage.outbox) == 1
    stage.world.add_fault("acs", "timeout", 2)
    other = stage.book(1)
    assert send(stage, other).state == "uncertain"
    assert send(stage, other) == messages.OneOff("uncertain", "+1••••••••63", again=True)
    assert len(stage.outbox) == 1


@pytest.mark.parametrize("channel", ["sms", "email"])
def test_what_surely_was_not_sent_can_be_tried_again_at_once(stage: Stage, channel: str) -> None:
    appointment = stage.book(0)
    stage.world.add_fault("acs", "429", 1)
    with pytest.raises(TransientError):
        send(stage, appointment, channel)
    done = send(stage, appointment, channel)
    assert (done.state, done.again) == ("sent", False)
    assert len(stage.outbox) + len(stage.world.mail) == 1


def test_stop_is_honoured_for_each_channel(stage: Stage) -> None:
    appointment, patient = stage.book(0), stage.hospital.patients[0]
    optouts.record(stage.scope, stage.connection.sender_id or "", patient.mobile, out=True, via="reply")
    assert refusal(stage, appointment) == refusal(stage, appointment, typed=patient.mobile) == "opted_out"
    send(stage, appointment, "email")
    token, reader = re.findall(r"/j/([\w-]+)/stop\?e=([\w-]+)", stage.world.mail[0].text)[0]
    assert "Stop e-mails?" in text_of(_stop_page(stage, "GET", token, reader))
    answer = _stop_page(stage, "POST", token, reader, b"List-Unsubscribe=One-Click")
    assert answer.status_code == 200 and "E-mails are stopped" in text_of(answer)
    assert refusal(stage, appointment, "email") == "opted_out"
    assert refusal(stage, appointment, "email", typed=patient.email.upper()) == "opted_out"
    assert _stop_page(stage, "POST", token, reader, b"do=start", SAME_ORIGIN).status_code == 200
    send(stage, stage.book(0, in_minutes=90), "email")


def _stop_page(stage: Stage, method: str, token: str, reader: str, body: bytes = b"", headers: Any = None) -> Any:
    function = "patient_stop_page" if method == "GET" else "patient_stop"
    return ask(stage, function, method, headers=headers, raw=body, query=f"e={reader}", token=token)


def test_a_link_to_stop_e_mails_names_its_reader_and_cannot_be_forged(stage: Stage) -> None:
    appointment = stage.book(0)
    send(stage, appointment, "email")
    token, reader = re.findall(r"/j/([\w-]+)/stop\?e=([\w-]+)", stage.world.mail[0].text)[0]
    own = stage.hospital.patients[0].email
    for wrong in (reader[:-1] + ("A" if reader[-1] != "A" else "B"), reader[:20], "x", keys.encode(b"1" * 33)):
        assert _stop_page(stage, "POST", token, wrong, b"List-Unsubscribe=One-Click").status_code == 404
    assert _stop_page(stage, "POST", token, reader, b"do=stop").status_code == 403, "only a mail provider's own request"
    assert optouts.opted_out(stage.scope, optouts.EMAIL, [own]) == frozenset()
    # neither the EHR nor the visit is needed, and only this address is meant
    stage.world.resources[stage.hospital.ehr_tenant].clear()
    assert _stop_page(stage, "POST", token, reader, b"List-Unsubscribe=One-Click").status_code == 200
    others = [patient.email for patient in stage.hospital.patients]
    assert optouts.opted_out(stage.scope, optouts.EMAIL, others) == {own}


def test_limits_of_a_number_and_of_a_clinician(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PER_RECIPIENT", 2)
    appointment = stage.book(0)
    for minutes in (10, 15):
        send(stage, appointment, kind="late", late_minutes=minutes)
    assert refusal(stage, appointment) == "limit"
    monkeypatch.setattr(limits, "PER_CLINICIAN", 1)
    send(stage, stage.book(1), by="one")
    assert refusal(stage, stage.book(2), by="one") == "limit"
    assert send(stage, stage.book(3), by="another").state == "sent"
    assert len(stage.outbox) == 4


def test_brakes_and_switches_hold(staged: Callable[..., Stage], stage: Stage) -> None:
    appointment = stage.book(0)
    messages.pause(stage.scope, stage.connection, clock.now(), ACTOR)
    assert refusal(stage, appointment) == "paused"
    stage.change(messages_enabled=False)
    assert refusal(stage, appointment) == "channel_off"
    only_sms = staged()
    assert refusal(only_sms, only_sms.book(0), "email") == "channel_off"
    no_mail = staged(**BOTH)
    object.__setattr__(no_mail.services, "email", lambda region: None)
    assert refusal(no_mail, no_mail.book(0), "email") == "channel_off"
    assert stage.outbox == [] and stage.world.mail == []


def test_a_test_connection_sends_only_to_its_list(staged: Callable[..., Stage]) -> None:
    mira = "mirabelka.t84@patientmail.example"
    stage = staged(environment="test", allowed_numbers=["+13127714063"], allowed_addresses=[mira.upper()], **BOTH)
    appointment = stage.book(0)
    assert refusal(stage, appointment) == "not_allowed"
    assert refusal(stage, appointment, "email", typed="a@b.example") == "not_allowed"
    assert send(stage, appointment, "email").state == "sent"
    assert send(stage, appointment, typed="+13127714063").state == "sent"


def test_the_record_offers_what_it_has_and_shows_it_masked(stage: Stage) -> None:
    reader = stage.services.ehr.reader(stage.scope, stage.connection)
    found = reader.appointment(stage.book(0))
    patient = reader.patients_by_id(found.patient_ids).items[0]
    offered = messages.reachable(stage.services, stage.connection, found, patient)
    assert [(c.channel, c.masked) for c in offered] == [("sms", "+1••••••••48"), ("email", "m•••@p•••.example")]
    record = stage.world.resources[stage.hospital.ehr_tenant]["Patient", patient.id]
    record["telecom"] = [t for t in record["telecom"] if t["system"] != "email"]
    patient = reader.patients_by_id(found.patient_ids).items[0]
    assert [c.channel for c in messages.reachable(stage.services, stage.connection, found, patient)] == ["sms"]
    assert refusal(stage, found.id, "email") == "no_contact"


def test_a_revoked_link_is_sent_in_its_new_generation_and_rows_go_with_the_visit(stage: Stage) -> None:
    appointment = stage.book(0)
    visit = stage.scope.index("visit", stage.connection_id, appointment)
    row = ledger.Row(stage.connection_id, f"p.{visit}", {"generation": 3, "end": clock.now().isoformat()})
    stage.scope.tables.transact(ledger.TABLE, [ledger.Write("put", row)])
    send(stage, appointment)
    assert keys.JoinToken.open(link_in(stage.outbox[0].text), stage.services.sealer).generation == 3
    stage.forward(60 * 27)
    purge_visits(stage.scope, stage.connection_id)
    assert stage.rows("l") == []
    assert tenants.connection(stage.scope, stage.connection_id)
