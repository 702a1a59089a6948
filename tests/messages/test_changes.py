"""What patients are told when visits move, are cancelled, come back, vanish, or stop being video visits."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from sandbox.cerner import appointments
from tests.messages.conftest import Stage
from tests.messages.test_flow import linked

FAR = 300
"""Minutes ahead: inside the near window, beyond the two hours in which a cancellation goes at once."""


def tell(stage: Stage, scans: int = 1) -> list[str]:
    """Scan and deliver; the texts that are new."""
    before = len(stage.outbox)
    for _ in range(scans):
        stage.discover()
    stage.deliver()
    return [message.text for message in stage.outbox[before:]]


def move(stage: Stage, appointment: str, minutes: int) -> None:
    start = stage.start_of(appointment)
    appointments.move(stage.world, stage.hospital.key, appointment, start + timedelta(minutes=minutes))


def cancel(stage: Stage, appointment: str) -> None:
    appointments.cancel(stage.world, stage.hospital.key, appointment)


def set_status(stage: Stage, appointment: str, status: str) -> None:
    with appointments.changing(stage.world, stage.hospital.key, appointment) as record:
        record["status"] = status


def told(stage: Stage, state: str = "sent") -> list[str]:
    return sorted(f"{row['key'].split('.')[3]} {row['rule']}" for row in stage.rows("m") if row["state"] == state)


def test_a_moved_visit_is_told_once_with_the_new_time(stage: Stage) -> None:
    appointment = stage.book(in_minutes=FAR)
    assert len(tell(stage)) == 1
    move(stage, appointment, -60)
    (text,) = tell(stage)
    assert "moved to" in text and linked(stage, text) == appointment
    assert tell(stage, 2) == []
    assert told(stage) == ["change change.moved", "confirmation confirmation.new"]


def test_there_and_back_again_tells_three_things(stage: Stage) -> None:
    appointment = stage.book(in_minutes=FAR)
    times = [tell(stage)]
    for minutes in (30, -30):
        move(stage, appointment, minutes)
        times.append(tell(stage))
    assert [len(one) for one in times] == [1, 1, 1]
    clock_times = [re.search(r"\d+:\d\d [AP]M", one[0]) for one in times]
    assert clock_times[0] and clock_times[2] and clock_times[0][0] == clock_times[2][0]


def test_what_was_undone_before_it_was_told_tells_nothing_and_reminds_once(staged: Callable[..., Stage]) -> None:
    stage = staged(reminders=True, reminder_leads_minutes=[120])
    appointment = stage.book(in_minutes=FAR)
    assert len(tell(stage)) == 1
    move(stage, appointment, 30)
    stage.discover()
    move(stage, appointment, -30)
    assert tell(stage) == []
    assert "superseded" in stage.rules() and len(stage.rows("d")) == 1
    stage.forward(minutes=FAR - 119)
    (text,) = tell(stage)
    assert "remind" in text
    assert tell(stage) == []


def test_our_own_link_in_the_record_is_no_change(stage: Stage) -> None:
    appointment = stage.book(in_minutes=FAR)
    tell(stage)
    with appointments.changing(stage.world, stage.hospital.key, appointment, links=True):
        pass
    assert tell(stage, 2) == []


def test_a_cancellation_waits_for_a_second_look(stage: Stage) -> None:
    appointment = stage.book(in_minutes=FAR)
    tell(stage)
    cancel(stage, appointment)
    assert tell(stage) == []
    (text,) = tell(stage)
    assert "cancelled" in text and "/j/" not in text and stage.hospital.contact_phone in text
    assert tell(stage, 2) == [] and stage.rows("w") == []


def test_a_cancellation_that_is_taken_back_meanwhile_tells_nothing(stage: Stage) -> None:
    appointment = stage.book(in_minutes=FAR)
    tell(stage)
    cancel(stage, appointment)
    tell(stage)
    set_status(stage, appointment, "booked")
    assert tell(stage, 2) == [] and stage.rows("w") == []


def test_under_two_hours_it_is_told_at_once_and_so_is_that_it_is_on_again(stage: Stage) -> None:
    appointment = stage.book(in_minutes=90)
    tell(stage)
    cancel(stage, appointment)
    assert len(tell(stage)) == 1
    set_status(stage, appointment, "booked")
    (text,) = tell(stage)
    assert "is on" in text and linked(stage, text) == appointment
    assert told(stage) == [
        "cancellation cancellation.cancelled",
        "change change.reinstated",
        "confirmation confirmation.new",
    ]


@pytest.mark.parametrize("far", [False, True])
def test_a_reschedule_that_changes_the_id_is_one_change_for_the_new_one(stage: Stage, far: bool) -> None:
    old = stage.book(in_minutes=FAR, kind="type")
    tell(stage)
    cancel(stage, old)
    tell(stage)
    new = stage.book(in_minutes=3 * 24 * 60 if far else FAR - 60, kind="type")
    retype(stage, new, old)
    (text,) = tell(stage)
    assert "moved to" in text and linked(stage, text) == new
    assert tell(stage, 2) == []
    assert "rebooked" in stage.rules()


def test_another_patients_new_visit_is_none_of_it(stage: Stage) -> None:
    old = stage.book(0, in_minutes=FAR)
    tell(stage)
    cancel(stage, old)
    tell(stage)
    stage.book(3, in_minutes=FAR)
    texts = tell(stage)
    assert len(texts) == 2 and sum("cancelled" in text for text in texts) == 1


def test_a_vanished_visit_is_read_by_its_id_and_then_lost(staged: Callable[..., Stage]) -> None:
    stage = staged(reminders=True, reminder_leads_minutes=[120])
    appointment = stage.book(in_minutes=FAR)
    tell(stage)
    kept = stage.world.resources[stage.hospital.ehr_tenant]
    record = kept.pop(("Appointment", appointment))
    assert tell(stage) == [] and [row["class"] for row in stage.rows("v")] == ["live"] and stage.rows("w")
    assert tell(stage) == [] and [row["class"] for row in stage.rows("v")] == ["lost"]
    assert stage.rows("d") == stage.rows("w") == [] and "lost" in stage.rules()
    kept["Appointment", appointment] = record
    assert tell(stage) == [] and [row["class"] for row in stage.rows("v")] == ["live"]
    stage.forward(minutes=FAR - 119)
    assert len(tell(stage)) == 1, "reminded after all"


def test_moved_beyond_the_window_it_is_found_by_its_id(stage: Stage) -> None:
    appointment = stage.book(in_minutes=FAR)
    tell(stage)
    move(stage, appointment, 3 * 24 * 60)
    (text,) = tell(stage)
    assert "moved to" in text


@pytest.mark.parametrize("kind", ["native", "type"])
def test_video_turned_in_person_and_back(stage: Stage, kind: Any) -> None:
    appointment = stage.book(in_minutes=90, kind=kind)
    tell(stage)
    with appointments.changing(stage.world, stage.hospital.key, appointment) as record:
        before = {name: record.get(name) for name in ("contained", "serviceType")}
        record.pop("contained", None)
        record["serviceType"][0]["coding"][0]["code"] = "2581749999"
        before["serviceType"] = [
            {"coding": [{**record["serviceType"][0]["coding"][0], "code": stage.hospital.video_visit_types[0]}]}
        ]
    (text,) = tell(stage)
    assert "no longer by video" in text and "/j/" not in text
    with appointments.changing(stage.world, stage.hospital.key, appointment) as record:
        record.update({name: value for name, value in before.items() if value})
    (text,) = tell(stage)
    assert "is on" in text
    assert told(stage)[0] == "cancellation cancellation.not_video"


def test_reminders_follow_the_visit(staged: Callable[..., Stage]) -> None:
    stage = staged(reminders=True, reminder_leads_minutes=[180, 30])
    appointment = stage.book(in_minutes=FAR)
    tell(stage)
    stage.forward(minutes=121)
    assert len(tell(stage)) == 1
    move(stage, appointment, 60)
    (text,) = tell(stage)
    assert "moved" in text, "three hours ahead is less than an hour away from this text: no reminder of it"
    stage.forward(minutes=210)
    (text,) = tell(stage)
    assert "remind" in text
    stage.forward(minutes=60)
    assert tell(stage) == []
    assert told(stage) == [
        "change change.moved",
        "confirmation confirmation.new",
        "reminder reminder.180",
        "reminder reminder.30",
    ]


def test_after_an_outage_only_what_makes_sense_is_sent(staged: Callable[..., Stage]) -> None:
    stage = staged(reminders=True, reminder_leads_minutes=[200, 30])
    stage.book(in_minutes=FAR)
    tell(stage)
    stage.forward(minutes=FAR - 20)
    (text,) = tell(stage)
    assert "remind" in text and "stale" in stage.rules()
    assert told(stage) == ["confirmation confirmation.new", "reminder reminder.30"]


def test_a_kind_switched_off_is_told_silently(staged: Callable[..., Stage]) -> None:
    stage = staged(confirmations=False, reminders=True, reminder_leads_minutes=[30])
    appointment = stage.book(in_minutes=FAR)
    assert tell(stage) == [] and "disabled_kind" in stage.rules()
    move(stage, appointment, 30)
    (text,) = tell(stage)
    assert "moved to" in text


def test_many_visits_are_planned_in_few_operations(stage: Stage) -> None:
    for n in range(60):
        stage.book(n % 5, in_minutes=FAR)
    calls = []
    transact = stage.scope.tables.transact
    stage.scope.tables.transact = lambda *a: (calls.append(len(a[1])), transact(*a))[1]  # type: ignore[method-assign]
    stage.discover()
    assert len(stage.rows("v")) == 60
    assert max(calls) <= 100 and len(calls) < 8


def test_a_test_connection_texts_only_its_list(staged: Callable[..., Stage]) -> None:
    stage = staged(environment="test", allowed_numbers=["+13125550000"])
    allowed = stage.hospital.patients[1].mobile
    stage.change(messages=stage.connection.messages.model_copy(update={"allowed_numbers": [allowed]}))
    stage.book(0)
    stage.book(1)
    tell(stage)
    assert [message.to for message in stage.outbox] == [allowed]
    assert "not_allowed_number" in stage.rules()


def retype(stage: Stage, appointment: str, like: str) -> None:
    kept = stage.world.resources[stage.hospital.ehr_tenant]
    with appointments.changing(stage.world, stage.hospital.key, appointment) as record:
        record["serviceType"] = kept["Appointment", like]["serviceType"]
