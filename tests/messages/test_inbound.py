"""Replies: STOP and START hold with the carrier too, C confirms the right visit, X cancels nothing, nobody chats."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from connector import keys, messages
from connector.errors import TransientError
from connector.messages import limits, optouts
from sandbox import event_grid
from sandbox.cerner import appointments
from tests.messages.asking import SAME_ORIGIN, ask, bring, text_of
from tests.messages.conftest import ACTOR, Stage

MIRA = "+13125552348"


@pytest.fixture
def stage(staged: Callable[..., Stage]) -> Stage:
    return staged(replies=True)


def reply(stage: Stage, text: str, number: str = MIRA) -> list[str]:
    """What it is answered."""
    before = len(stage.outbox)
    to = stage.hospital.sender_value.removeprefix("+")
    bring(stage, event_grid.reply(number.removeprefix("+"), to, text, stage.world.now()))
    assert {message.to for message in stage.outbox[before:]} <= {number}
    return [message.text for message in stage.outbox[before:]]


def told(stage: Stage, patient: int = 0, **more: Any) -> str:
    appointment = stage.book(patient, **more)
    stage.discover()
    stage.deliver()
    return appointment


def confirmed(stage: Stage, appointment: str) -> bool:
    visit = stage.scope.index("visit", stage.connection_id, appointment)
    row = stage.scope.tables.get("Visits", stage.connection_id, f"p.{visit}")
    return bool(row and row.text("confirmed_for"))


def patient_status(stage: Stage, appointment: str) -> str:
    record = stage.world.resources[stage.hospital.ehr_tenant]["Appointment", appointment]
    return next(
        p["status"] for p in record["participant"] if p.get("actor", {}).get("reference", "").startswith("Patient/")
    )


def test_the_text_asks_for_the_c_and_fits_one_segment(stage: Stage) -> None:
    told(stage)
    assert re.search(r"(Reply C to confirm, STOP to opt out|C confirms, STOP opts out)$", stage.outbox[0].text)
    assert len(stage.outbox[0].text) <= 160
    stage.change(messages=stage.connection.messages.model_copy(update={"replies": False}))
    told(stage, 1)
    assert not re.search(r"\bC\b", stage.outbox[1].text)


@pytest.mark.parametrize("word", ["C", " c. ", "Confirm", "YES!"])
def test_c_confirms_the_visit_and_says_when(stage: Stage, word: str) -> None:
    appointment = told(stage)
    (answer,) = reply(stage, word)
    assert confirmed(stage, appointment) and patient_status(stage, appointment) == "tentative"
    assert answer.startswith("Harbor Valley Health: thank you. We expect you") and " CST" in answer
    assert reply(stage, word) == [], "once a day, and once when Event Grid brings it twice"
    rows = [*stage.scope.tables.query("Limits", f"{stage.scope.tenant_id}.{stage.world.now():%Y%m%d}.replies")]
    assert len(rows) == 1 and "2348" not in str(rows)


def test_c_is_for_the_next_visit_of_this_number_as_the_ehr_has_it_now(stage: Stage) -> None:
    later, sooner, other = told(stage, in_minutes=300), told(stage, in_minutes=90), told(stage, 1, in_minutes=30)
    appointments.move(stage.world, "harbor", sooner, stage.start_of(sooner) + timedelta(minutes=15))
    (answer,) = reply(stage, "C")
    assert [confirmed(stage, one) for one in (later, sooner, other)] == [False, True, False]
    local = (stage.start_of(sooner) - timedelta(hours=6)).strftime("%-I:%M %p")
    assert local in answer
    appointments.cancel(stage.world, "harbor", other)
    assert "nobody reads replies" in reply(stage, "C", "+13127714063")[0] and not confirmed(stage, other)


def test_c_is_written_into_the_ehr_where_the_hospital_chose_it(stage: Stage) -> None:
    stage.change(write_back=True)
    appointment = told(stage)
    stage.world.add_fault("cerner", "500", 3)
    with pytest.raises(TransientError):
        reply(stage, "C")
    assert len(stage.outbox) == 1, "brought again"
    assert len(reply(stage, "C")) == 1
    assert patient_status(stage, appointment) == "accepted" and confirmed(stage, appointment)
    second = told(stage, in_minutes=30)
    stage.world.resources[stage.hospital.ehr_tenant]["Appointment", second]["status"] = "arrived"
    assert len(reply(stage, "C")) == 1 and patient_status(stage, second) == "tentative"


def test_x_never_cancels_and_names_the_telephone(stage: Stage) -> None:
    appointment = told(stage)
    (answer,) = reply(stage, "X")
    assert stage.hospital.contact_phone in answer and "does not cancel" in answer
    record = stage.world.resources[stage.hospital.ehr_tenant]["Appointment", appointment]
    assert record["status"] == "booked" and not confirmed(stage, appointment)


def test_anything_else_gets_one_help_text_a_day(stage: Stage) -> None:
    told(stage)
    answers = [reply(stage, text) for text in ("Who is this?", "help", "Mirabelka here", "?")]
    assert [len(one) for one in answers] == [1, 0, 0, 0]
    assert stage.hospital.contact_phone in answers[0][0] and "STOP" in answers[0][0]
    stage.forward(60 * 24)
    assert len(reply(stage, "hello")) == 1


def test_whoever_invents_senders_uses_up_no_message_of_the_hospitals(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PER_HELP", 2)
    answers = [reply(stage, "hello", f"+1312555{number}") for number in (4101, 4102, 4103)]
    assert [len(one) for one in answers] == [1, 1, 0]
    told(stage)
    assert len(reply(stage, "C")) == 1, "an answer to a patient is not theirs"


def test_c_means_nothing_without_a_visit_or_where_it_is_not_asked_for(stage: Stage) -> None:
    assert "nobody reads" in reply(stage, "C")[0]
    stage.change(messages=stage.connection.messages.model_copy(update={"replies": False}))
    appointment = told(stage, 1)
    assert "nobody reads" in reply(stage, "C", "+13127714063")[0] and not confirmed(stage, appointment)


def test_answers_keep_to_brakes_opt_outs_limits_and_switches(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    told(stage)
    messages.pause(stage.scope, stage.connection, stage.world.now(), ACTOR)
    assert reply(stage, "hello") == []
    messages.resume(stage.scope, stage.connection, stage.world.now(), ACTOR)
    with monkeypatch.context() as patched:
        patched.setattr(limits, "PER_RECIPIENT", 1)
        assert reply(stage, "hello") == []
    assert reply(stage, "STOP") == reply(stage, "C") == []
    stage.change(messages_enabled=False)
    assert reply(stage, "hello", "+13127714063") == []
    assert reply(stage, "hello", "+4520481357") == []


def test_a_number_that_is_not_ours_is_left_alone(stage: Stage) -> None:
    bring(stage, event_grid.reply(MIRA, "18005550999", "STOP", stage.world.now()))
    assert optouts.opted_out(stage.scope, stage.connection.sender_id or "", [MIRA]) == frozenset()
    for data in ({}, {"from": "1", "to": 2, "message": "STOP", "messageId": "x"}, []):
        event = event_grid.reply("1", "2", "STOP", stage.world.now())
        bring(stage, event | {"data": data})


def test_start_ends_the_block_of_the_service_too(stage: Stage) -> None:
    pair = (stage.hospital.sender_value, MIRA)
    reply(stage, "STOP")
    stage.world.opt_outs.add(pair)
    reply(stage, "START")
    assert stage.world.opt_outs == set() and out(stage) == frozenset()


def out(stage: Stage) -> frozenset[str]:
    return optouts.opted_out(stage.scope, stage.connection.sender_id or "", [MIRA])


def test_start_that_the_carrier_does_not_believe_changes_nothing(stage: Stage) -> None:
    pair = (stage.hospital.sender_value, MIRA)
    reply(stage, "STOP")
    stage.world.opt_outs.add(pair)
    stage.world.carrier_stops.add(pair)
    reply(stage, "START")
    assert out(stage) == {MIRA}
    token = keys.JoinToken(stage.connection_id, stage.book(0)).seal(stage.services.sealer)
    page = ask(stage, "patient_stop", "POST", form={"do": "start"}, headers=SAME_ORIGIN, token=token)
    assert page.status_code == 409 and "Reply START" in text_of(page) and out(stage) == {MIRA}
    sender = stage.connection.sender_id or ""
    for carrier_stops, status, stopped in ((True, 409, {MIRA}), (False, 201, set())):
        if not carrier_stops:
            stage.world.carrier_stops.clear()
        answer = ask(stage, "api_sender_opt_outs", "POST", body={"number": MIRA, "out": False}, sender=sender)
        assert answer.status_code == status and out(stage) == stopped


def test_start_without_a_word_of_the_service_is_brought_again(stage: Stage) -> None:
    reply(stage, "STOP")
    stage.world.add_fault("acs", "500", 1)
    with pytest.raises(TransientError):
        reply(stage, "START")
    assert out(stage) == {MIRA}
    reply(stage, "START")
    assert out(stage) == frozenset()


def test_answers_are_forgotten_with_their_day(stage: Stage) -> None:
    told(stage)
    reply(stage, "hello")
    partition = limits.replies_partition(stage.scope, stage.world.now())
    assert len(list(stage.scope.tables.query("Limits", partition))) == 1
    limits.purge(stage.scope, stage.world.now() + timedelta(days=2))
    assert list(stage.scope.tables.query("Limits", partition)) == []
