"""Crashes, lost answers and refusals between claim and record: never twice, never forgotten."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connector import tenants
from connector.adapters.acs_sms import AcsSms
from connector.adapters.http import Response
from connector.errors import AmbiguousError
from connector.messages import ledger, limits, send
from connector.messages.ledger import real_now
from connector.messages.sweep import sweep
from connector.tenants import SenderInput
from tests.messages.conftest import ACTOR, Stage


class Died(BaseException):
    """The worker's process ends here."""


def later(seconds: float) -> Callable[[], datetime]:
    return lambda: real_now() + timedelta(seconds=seconds)


def due(stage: Stage, visits: int = 1) -> None:
    for patient in range(visits):
        stage.book(patient)
    stage.discover()


def swept(stage: Stage, after_s: float) -> int:
    return sweep(stage.scope, stage.connection_id, stage.desk, real=later(after_s))


def die_at(monkeypatch: pytest.MonkeyPatch, target: Any, name: str, *, after: bool = False) -> None:
    original = getattr(target, name)

    def dying(*args: Any, **kwargs: Any) -> Any:
        if after:
            original(*args, **kwargs)
        raise Died

    monkeypatch.setattr(target, name, dying)


def crash(stage: Stage, monkeypatch: pytest.MonkeyPatch, target: Any, name: str, *, after: bool = False) -> None:
    """Deliver, with a worker that dies at `name`."""
    with monkeypatch.context() as patched:
        die_at(patched, target, name, after=after)
        with pytest.raises(Died):
            stage.deliver()


@pytest.mark.parametrize("fault", ["timeout_after_accept", "timeout", "500"])
def test_a_lost_answer_is_replayed_at_once_and_sends_once(stage: Stage, fault: Any) -> None:
    due(stage)
    stage.world.add_fault("acs", fault, 1)
    stage.deliver()
    assert len(stage.outbox) == 1
    assert stage.status() == {"sent": 1}


@pytest.mark.parametrize("fault", ["timeout_after_accept", "timeout", "500"])
def test_an_answer_lost_twice_is_left_to_the_sweep(stage: Stage, fault: Any) -> None:
    due(stage)
    stage.world.add_fault("acs", fault, 2)
    stage.deliver()
    assert stage.status() == {"claimed": 1}
    stage.deliver()
    assert swept(stage, 30) == 0, "the worker still has time"
    assert swept(stage, 80) == 1
    assert len(stage.outbox) == 1
    assert stage.status() == {"sent": 1} and stage.rows("k") == []


def test_only_the_unknown_one_of_a_chunk_is_left(stage: Stage) -> None:
    due(stage, 3)
    stage.world.add_fault("acs", "500", 2)
    stage.deliver()
    assert stage.status() == {"sent": 2, "claimed": 1}
    assert swept(stage, 80) == 1
    assert len({message.to for message in stage.outbox}) == len(stage.outbox) == 3


def test_a_refusal_is_tried_again_a_minute_later(stage: Stage) -> None:
    due(stage, 3)
    stage.world.add_fault("acs", "429", 1)
    stage.deliver()
    assert stage.outbox == [] and stage.status() == {"planned": 3}
    stage.deliver()
    assert stage.outbox == [], "not due yet"
    stage.world.advance(timedelta(seconds=61))
    stage.deliver()
    assert len(stage.outbox) == 3 and stage.status() == {"sent": 3}


def test_a_refusal_until_the_end_of_time_is_tried_again_in_an_hour(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    due(stage)
    monkeypatch.setattr(Response, "retry_after_s", 2.5e11)
    stage.world.add_fault("acs", "429", 1)
    stage.deliver()
    assert stage.status() == {"planned": 1}
    (row,) = stage.rows("d")
    at = datetime.strptime(row["key"].split(".")[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert timedelta(minutes=59) < at - stage.world.now() <= timedelta(hours=1)


def test_a_refused_visit_that_has_begun_is_not_sent(stage: Stage) -> None:
    due(stage)
    stage.world.add_fault("acs", "429", 1)
    stage.deliver()
    stage.world.advance(timedelta(hours=2))
    stage.deliver()
    assert stage.outbox == [] and stage.rules() == {"past"}


def test_where_nobody_listens_nothing_was_sent(stage: Stage) -> None:
    due(stage)
    (row,) = stage.rows("d")
    closed = replace(stage.desk(), sms=AcsSms("http://127.0.0.1:1", "a2V5", None))
    assert send.send_range(closed, str(row["key"]), str(row["key"]))["planned"] == 1
    assert stage.status() == {"planned": 1} and stage.rules() == {"sms.unreachable"}


def test_a_sender_that_may_not_send_forgets_nobody(stage: Stage) -> None:
    due(stage, 2)
    other = tenants.add_sender(
        stage.scope, SenderInput(kind="phone_number", value="+13125550199", label="Not ours"), ACTOR)
    present = tenants.connection(stage.scope, stage.connection_id)
    tenants.link_sender(stage.scope, stage.connection_id, present.etag, other.id, ACTOR)
    stage.deliver()
    assert stage.status() == {"planned": 2} and stage.rules() == {"sms.not_allowed"}


def test_a_worker_that_dies_before_sending_is_made_up_for_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    due(stage, 2)
    crash(stage, monkeypatch, send.Desk, "attempt")
    assert stage.status() == {"claimed": 2} and stage.outbox == []
    stage.deliver()
    assert swept(stage, 30) == 0
    with ThreadPoolExecutor(2) as pool:
        settled = list(pool.map(lambda _: swept(stage, 80), range(2)))
    assert sum(settled) == 2
    assert len({message.to for message in stage.outbox}) == len(stage.outbox) == 2
    assert stage.status() == {"sent": 2}
    assert swept(stage, 80) == 0


def test_a_worker_that_dies_after_sending_is_recognised(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    due(stage, 2)
    crash(stage, monkeypatch, ledger, "record")
    sent = [message.id for message in stage.outbox]
    assert len(sent) == 2 and stage.status() == {"claimed": 2}
    assert swept(stage, 80) == 2
    assert [message.id for message in stage.outbox] == sent
    assert {row["message_id"] for row in stage.rows("m")} == set(sent)


def test_without_repeatability_ids_the_same_crash_would_send_twice(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    due(stage)
    stage.world.repeatability_off = True
    crash(stage, monkeypatch, ledger, "record")
    swept(stage, 80)
    assert len(stage.outbox) == 2


def test_after_the_window_it_is_uncertain_and_never_resent(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    due(stage)
    crash(stage, monkeypatch, send.Desk, "attempt", after=True)
    before = stage.world.requests["acs", "send"]
    assert swept(stage, 241) == 1
    assert stage.status() == {"uncertain": 1} and stage.rules() == {"window_over"}
    stage.deliver()
    stage.discover()
    stage.deliver()
    assert stage.world.requests["acs", "send"] == before and len(stage.outbox) == 1


@pytest.mark.parametrize("silent", ["acs", "cerner"])
def test_the_sweep_keeps_trying_inside_the_window(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    due(stage)
    crash(stage, monkeypatch, send.Desk, "attempt")
    stage.world.add_fault(silent, "429", 3 if silent == "cerner" else 1)
    assert swept(stage, 80) == 0
    assert stage.status() == {"claimed": 1}
    assert swept(stage, 140) == 1
    assert stage.status() == {"sent": 1} and len(stage.outbox) == 1


def test_another_body_is_never_sent_in_its_place(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    due(stage)
    crash(stage, monkeypatch, ledger, "record")
    patient = stage.world.resources[stage.hospital.ehr_tenant]["Patient", stage.hospital.patients[0].patient_id]
    patient["telecom"] = [{"system": "phone", "use": "mobile", "rank": 1, "value": "+13125552349"}]
    assert swept(stage, 80) == 1
    assert stage.status() == {"uncertain": 1} and stage.rules() == {"changed_since_claim"}
    assert [message.to for message in stage.outbox] == [stage.hospital.patients[0].mobile]


def test_who_lost_the_claim_records_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    due(stage)
    crash(stage, monkeypatch, send.Desk, "attempt")
    (abandoned,) = ledger.abandoned(stage.scope, stage.connection_id, later(80)())
    assert ledger.take_over(stage.scope, stage.connection_id, abandoned)
    outcomes = {abandoned.items[0].message.key: ledger.Outcome("failed", "too late")}
    assert not ledger.record(stage.scope, stage.connection_id, abandoned, outcomes)
    assert stage.status() == {"claimed": 1}


def test_a_slow_worker_hands_back_what_it_has_not_begun(stage: Stage) -> None:
    due(stage, 3)
    keys = sorted(str(row["key"]) for row in stage.rows("d"))
    started = real_now()
    times = iter([started, started, started + timedelta(seconds=46), started + timedelta(seconds=47)])
    counts = send.send_range(stage.desk(), keys[0], keys[-1], real=lambda: next(times))
    assert counts["sent"] == 1 and counts["planned"] == 2
    stage.world.advance(timedelta(seconds=61))
    stage.deliver()
    assert len({message.to for message in stage.outbox}) == len(stage.outbox) == 3


def test_lost_answers_of_the_storage_change_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    due(stage, 2)
    transact = stage.scope.tables.transact

    def answer_lost(*args: Any) -> None:
        transact(*args)
        raise AmbiguousError("storage.no_answer")

    monkeypatch.setattr(stage.scope.tables, "transact", answer_lost)
    stage.deliver()
    assert stage.status() == {"sent": 2} and len(stage.outbox) == 2
    assert stage.rows("d") == stage.rows("k") == []


def test_a_claim_that_storage_refused_leaves_the_message_due(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    due(stage)

    def refuse(*args: Any) -> None:
        raise AmbiguousError("storage.no_answer")

    with monkeypatch.context() as patched:
        patched.setattr(stage.scope.tables, "transact", refuse)
        stage.deliver()
    assert stage.outbox == [] and stage.status() == {"planned": 1}
    stage.deliver()
    assert len(stage.outbox) == 1


def test_a_full_chunk_fits_one_transaction(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PER_RECIPIENT", 200)
    for _ in range(50):
        stage.book(0)
    stage.discover()
    stage.world.add_fault("acs", "429", 1)
    stage.deliver()
    assert stage.status() == {"planned": 50}
    stage.world.advance(timedelta(seconds=61))
    while stage.status() != {"sent": 50}:
        stage.deliver()
    assert len(stage.outbox) == 50


def test_the_timer_sweeps_every_connection(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    due(stage)
    with monkeypatch.context() as patched:
        patched.setattr(ledger, "LEASE", timedelta(0))
        crash(stage, patched, send.Desk, "attempt")
        stage.functions["messages_sweep"](None)
    assert stage.status() == {"sent": 1} and len(stage.outbox) == 1
