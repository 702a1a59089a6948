"""Timer, queue, one SMS: with real storage, and Cerner and Communication Services on loopback."""

import json
import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from connector import keys, tenants
from connector.tenants import ConnectionPatch
from sandbox.cerner import appointments
from tests.messages.conftest import ACTOR, Stage


def linked(stage: Stage, text: str) -> str:
    """The appointment that the link of a text opens."""
    found = re.search(r"http://127\.0\.0\.1:31999/j/(\S+)", text)
    assert found
    token = keys.JoinToken.open(found[1], stage.services.sealer)
    assert token.connection_id == stage.connection_id
    return token.appointment_id


def expected(stage: Stage) -> set[str]:
    """The visits of the simulated schedule that deserve a text, worked out from the raw records."""
    locations = {f"Location/{one}" for d in stage.hospital.departments if d.configured for one in d.location_ids}
    now = stage.world.now()
    last = datetime.combine((now + timedelta(days=8)).date(), time(), UTC)
    found = set()
    for (kind, identity), record in stage.world.resources[stage.hospital.ehr_tenant].items():
        if kind != "Appointment" or record["status"] != "booked":
            continue
        actors = [(p.get("actor") or {}).get("reference", "") for p in record["participant"]]
        video = "contained" in record or (
            record["serviceType"][0]["coding"][0]["code"] in stage.hospital.video_visit_types)
        here = not locations.isdisjoint(actors)
        whose = any(actor.startswith("Patient/") for actor in actors)
        if video and here and whose and now < datetime.fromisoformat(record["start"]) < last:
            found.add(identity)
    return found


@pytest.mark.parametrize("hospital", ["harbor", "nordlys"])
def test_each_video_visit_of_the_configured_departments_gets_one_text(
    staged: Callable[..., Stage], hospital: str
) -> None:
    stage = staged(hospital, empty=False)
    wanted = expected(stage)
    for _ in range(2):
        stage.discover()
        stage.deliver()
    texts = Counter(linked(stage, message.text) for message in stage.outbox)
    assert texts == Counter(wanted)
    kinds = {"contained" in stage.world.resources[stage.hospital.ehr_tenant]["Appointment", one] for one in wanted}
    assert kinds == {True, False}, "both kinds of video visit"
    assert stage.status() == {"sent": len(wanted)}
    assert {m.sender for m in stage.outbox} == {stage.hospital.sender_value}
    mobiles = {person.mobile for person in stage.hospital.patients}
    assert {m.to for m in stage.outbox} <= mobiles


def test_nothing_readable_of_the_patient_is_stored_or_queued(stage: Stage) -> None:
    appointment = stage.book()
    stage.discover()
    hints = stage.dispatch()
    stored = json.dumps([stage.rows(prefix) for prefix in "vmdk"])
    person = stage.hospital.patients[0]
    for secret in (appointment, person.patient_id, person.family, person.mobile[2:]):
        assert secret not in stored and secret not in "".join(hints)


def test_a_hint_delivered_twice_at_once_sends_once(stage: Stage) -> None:
    for patient in range(5):
        stage.book(patient)
    stage.discover()
    (hint,) = stage.dispatch()
    with ThreadPoolExecutor(4) as pool:
        for running in [pool.submit(stage.run, "send", hint) for _ in range(4)]:
            running.result()
    assert len(stage.outbox) == 5
    assert stage.status() == {"sent": 5}
    assert stage.rows("d") == stage.rows("k") == []


def test_scans_at_once_plan_once(stage: Stage) -> None:
    stage.book()
    stage.functions["messages_discover"](None)
    (hint,) = stage.hints("discover")
    with ThreadPoolExecutor(4) as pool:
        for running in [pool.submit(stage.run, "discover", hint) for _ in range(4)]:
            running.result()
    assert len(stage.rows("d")) == len(stage.rows("v")) == 1


def test_a_lost_hint_loses_nothing(stage: Stage) -> None:
    stage.book()
    stage.discover()
    assert len(stage.dispatch()) == 1, "taken from the queue and thrown away, as a poisoned one is"
    assert stage.status() == {"planned": 1}
    stage.deliver()
    assert stage.status() == {"sent": 1} and len(stage.outbox) == 1


@pytest.mark.parametrize(("change", "rule"), [
    (lambda s, a: appointments.cancel(s.world, s.hospital.key, a), "cancelled"),
    (lambda s, a: appointments.move(s.world, s.hospital.key, a, s.world.now() - timedelta(hours=1)), "past"),
    (lambda s, a: _patient(s, 0, deceasedBoolean=True), "deceased"),
    (lambda s, a: _patient(s, 0, telecom=[]), "no_mobile"),
    (lambda s, a: _reassign(s, a, 3), "moved_to_other_patient"),
])
def test_what_changed_between_plan_and_send_is_skipped_with_its_reason(
    stage: Stage, change: Callable[[Stage, str], None], rule: str
) -> None:
    appointment = stage.book()
    stage.discover()
    change(stage, appointment)
    stage.deliver()
    stage.deliver()
    assert stage.outbox == []
    assert stage.status() == {"skipped": 1}
    assert stage.rules() == {rule}


def test_a_cancellation_is_remembered_and_a_reinstated_visit_not_told_again(stage: Stage) -> None:
    appointment = stage.book()
    stage.discover()
    stage.deliver()
    appointments.cancel(stage.world, stage.hospital.key, appointment)
    stage.discover()
    assert [row["class"] for row in stage.rows("v")] == ["cancelled"]
    with appointments.changing(stage.world, stage.hospital.key, appointment) as record:
        record["status"] = "booked"
    stage.discover()
    stage.deliver()
    assert [row["class"] for row in stage.rows("v")] == ["live"]
    assert len(stage.outbox) == 1


def test_a_visit_skipped_as_cancelled_and_then_reinstated_is_told(stage: Stage) -> None:
    appointment = stage.book()
    stage.discover()
    appointments.cancel(stage.world, stage.hospital.key, appointment)
    stage.deliver()
    stage.discover()
    assert stage.status() == {"skipped": 1}
    with appointments.changing(stage.world, stage.hospital.key, appointment) as record:
        record["status"] = "booked"
    for _ in range(2):
        stage.discover()
        stage.deliver()
    assert len(stage.outbox) == 1
    assert stage.status() == {"skipped": 1, "sent": 1}


def test_a_person_who_cannot_be_texted_is_not_planned_again_by_every_scan(stage: Stage) -> None:
    stage.book()
    _patient(stage, 0, telecom=[])
    for _ in range(2):
        stage.discover()
        stage.deliver()
    assert stage.status() == {"skipped": 1}


def test_a_visit_given_to_another_patient_tells_the_new_one(stage: Stage) -> None:
    appointment = stage.book(0)
    stage.discover()
    _reassign(stage, appointment, 3)
    stage.discover()
    stage.deliver()
    assert [message.to for message in stage.outbox] == [stage.hospital.patients[3].mobile]
    assert stage.status() == {"sent": 1, "skipped": 1}


def test_merged_charts_do_not_tell_the_same_number_twice_but_another_patient_is_told(stage: Stage) -> None:
    appointment = stage.book(0)
    stage.discover()
    stage.deliver()
    kept = stage.world.resources[stage.hospital.ehr_tenant]
    survivor = kept["Patient", stage.hospital.patients[3].patient_id]
    other, survivor["telecom"] = survivor["telecom"], kept["Patient", stage.hospital.patients[0].patient_id]["telecom"]
    _reassign(stage, appointment, 3)
    for _ in range(2):
        stage.discover()
        stage.deliver()
    assert len(stage.outbox) == 1
    assert stage.status() == {"sent": 1, "skipped": 1} and "told_before" in stage.rules()
    survivor["telecom"] = other
    _reassign(stage, appointment, 4)
    stage.discover()
    stage.deliver()
    assert [m.to for m in stage.outbox] == [stage.hospital.patients[n].mobile for n in (0, 4)]


def test_switched_off_nothing_is_released_and_switched_on_again_it_is(stage: Stage) -> None:
    stage.book()
    stage.discover()
    _enable(stage, False)
    assert stage.dispatch() == []
    _enable(stage, True)
    stage.deliver()
    assert len(stage.outbox) == 1


def test_the_backlog_waits_in_the_table_at_the_senders_rate(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector.messages.ledger.CHUNK", 2)
    monkeypatch.setattr("connector.messages.dispatch.RATES", {"phone_number": 4, "alphanumeric": 4})
    for patient in range(5):
        stage.book(patient)
    stage.discover()
    hints = stage.dispatch()
    assert [json.loads(hint)["n"] for hint in hints] == [2], "the second chunk shows itself half a minute later"
    with stage.queue("send") as queue:
        assert queue.get_queue_properties().approximate_message_count == 1
        queue.clear_messages()
    for _ in range(3):
        stage.run("send", hints[0])
        hints = stage.dispatch() or hints
    assert stage.status() == {"sent": 5} and len(stage.outbox) == 5


def test_while_the_ehr_is_silent_the_message_waits(stage: Stage) -> None:
    stage.book()
    stage.discover()
    (hint,) = stage.dispatch()
    stage.world.add_fault("cerner", "429", 3)
    with pytest.raises(Exception, match="cerner"):
        stage.run("send", hint)
    assert stage.status() == {"planned": 1}
    stage.deliver()
    assert len(stage.outbox) == 1


def test_a_chunk_costs_two_readings_and_one_send_each(stage: Stage) -> None:
    for patient in range(5):
        stage.book(patient)
    stage.discover()
    before = stage.world.requests.copy()
    stage.deliver()
    spent = stage.world.requests - before
    assert spent.pop(("acs", "send")) == 5
    assert sum(count for (vendor, _), count in spent.items() if vendor == "cerner") == 2


def _patient(stage: Stage, index: int, **changes: Any) -> None:
    key = ("Patient", stage.hospital.patients[index].patient_id)
    stage.world.resources[stage.hospital.ehr_tenant][key].update(changes)


def _reassign(stage: Stage, appointment: str, index: int) -> None:
    with appointments.changing(stage.world, stage.hospital.key, appointment) as record:
        for participant in record["participant"]:
            actor = participant.get("actor") or {}
            if actor.get("reference", "").startswith("Patient/"):
                actor["reference"] = f"Patient/{stage.hospital.patients[index].patient_id}"


def _enable(stage: Stage, wanted: bool) -> None:
    present = tenants.connection(stage.scope, stage.connection_id)
    tenants.change_connection(stage.scope, stage.connection_id, present.etag, ConnectionPatch(messages_enabled=wanted),
                              ACTOR)
