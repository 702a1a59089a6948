"""A link that staff revoked is in no message that leaves afterwards, whoever had the message at that moment."""

import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Event
from typing import Any

import pytest

from connector import clock, keys, messages
from connector.adapters.tables import Row, Write
from connector.errors import RefusedError, TransientError
from connector.messages import ledger, revoke, send
from connector.messages.sweep import sweep
from connector.visits.presence import read_presence
from tests.messages.conftest import Stage
from tests.messages.test_exactly_once import crash
from tests.messages.test_one_off import send as send_by_hand

SOON = 30.0
"""Seconds in which a thread that is not held up does its work on a busy machine."""


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as made:
        yield made


def token(stage: Stage, text: str) -> keys.JoinToken:
    return keys.JoinToken.open(re.findall(r"/j/([\w-]+)", text)[0], stage.services.sealer)


def visit_of(stage: Stage, appointment: str) -> str:
    return stage.scope.index("visit", stage.connection_id, appointment)


def revoked(stage: Stage, appointment: str) -> int:
    return messages.revoke_links(stage.scope, stage.connection_id, visit_of(stage, appointment), clock.now())


def joins(stage: Stage, link: keys.JoinToken) -> bool:
    """Whether the patient's page opens for this link now."""
    presence = read_presence(stage.scope, stage.connection_id, visit_of(stage, link.appointment_id))
    try:
        presence.require_current(link)
    except RefusedError:
        return False
    return True


def waits(stage: Stage, link: keys.JoinToken, revocation: Future[int]) -> None:
    """Returns when new links are good and the revocation was seen many times to wait: this one may be leaving."""
    seen = 0
    while seen < 30:
        assert joins(stage, link) and not revocation.done()
        seen += joins(stage, replace(link, generation=1))


class Phones:
    """The SMS resource; notes for each text whether its link was good when it left. The first can be held up."""

    def __init__(self, stage: Stage, *, hold: bool = False) -> None:
        self.stage, self.sms, self.good = stage, stage.desk().sms, list[bool]()
        self.reached, self.free = Event(), Event()
        if not hold:
            self.free.set()

    def send(self, **message: Any) -> str:
        self.reached.set()
        assert self.free.wait(SOON)
        self.good.append(joins(self.stage, token(self.stage, message["text"])))
        return self.sms.send(**message)

    def deliver(self) -> None:
        """All that is planned, by one worker."""
        rows = [str(row["key"]) for row in self.stage.rows("d")]
        send.send_range(replace(self.stage.desk(), sms=self), rows[0], rows[-1])  # type: ignore[arg-type]


def test_a_link_revoked_before_the_first_scan_is_not_sent(staged: Any) -> None:
    stage: Stage = staged(reminders=True, reminder_leads_minutes=[15])
    appointment = stage.book(0, in_minutes=120)
    assert revoked(stage, appointment) == 1
    stage.discover()
    assert {row["generation"] for row in (*stage.rows("d"), *stage.rows("v"))} == {1}
    stage.deliver()
    assert token(stage, stage.outbox[0].text).generation == 1


def test_what_waits_has_the_new_link(stage: Stage) -> None:
    appointment = stage.book(0)
    stage.discover()
    assert [revoked(stage, appointment) for _ in range(2)] == [1, 2]
    stage.deliver()
    (sent,) = stage.outbox
    link = token(stage, sent.text)
    assert link.generation == 2
    assert [joins(stage, replace(link, generation=n)) for n in range(4)] == [False, False, True, False]


def test_what_a_scan_planned_at_the_moment_of_the_revocation_is_found_by_the_worker(stage: Stage) -> None:
    appointment = stage.book(0)
    stage.discover()
    at = {"generation": 1, "end": clock.now().isoformat()}  # as if both had read before either wrote
    stage.scope.tables.transact(
        ledger.TABLE, [Write("put", Row(stage.connection_id, f"p.{visit_of(stage, appointment)}", at))])
    stage.deliver()
    assert stage.outbox == [] and stage.status() == {"planned": 1} and stage.rules() == {"link_revoked"}
    stage.deliver()
    assert token(stage, stage.outbox[0].text).generation == 1


def test_a_worker_lets_go_of_a_message_whose_link_is_revoked_meanwhile(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor
) -> None:
    monkeypatch.setattr(revoke, "FRESH_S", 0)
    booked = {visit_of(stage, one): one for one in (stage.book(patient) for patient in range(3))}
    stage.discover()
    first, second, third = [booked[str(row["key"]).split(".")[3]] for row in stage.rows("d")]
    phones = Phones(stage, hold=True)
    worker = pool.submit(phones.deliver)
    assert phones.reached.wait(SOON)
    revocation = pool.submit(revoked, stage, second)
    old = keys.JoinToken(stage.connection_id, second, 0)
    waits(stage, old, revocation)
    phones.free.set()
    worker.result(SOON)
    assert revocation.result(SOON) == 1 and not joins(stage, old)
    assert [token(stage, sent.text).appointment_id for sent in stage.outbox] == [first, third]
    assert stage.status() == {"sent": 2, "planned": 1}
    phones.deliver()
    assert token(stage, stage.outbox[2].text) == keys.JoinToken(stage.connection_id, second, 1)
    assert phones.good == [True, True, True]


def test_workers_and_revocations_at_once_send_each_patient_one_link_that_is_good(
    stage: Stage, pool: ThreadPoolExecutor
) -> None:
    booked = [stage.book(patient) for patient in range(4) for _ in range(2)]
    phones = Phones(stage)
    scans = pool.submit(stage.discover)
    revocations = [pool.submit(revoked, stage, one) for one in booked[::2]]
    scans.result(SOON)
    workers = [pool.submit(phones.deliver) for _ in range(2)]
    revocations += [pool.submit(revoked, stage, one) for one in booked]
    for done in (*workers, *revocations):
        done.result(SOON)
    while stage.rows("d"):
        phones.deliver()
    assert stage.status() == {"sent": len(booked)}
    assert sorted(token(stage, sent.text).appointment_id for sent in stage.outbox) == sorted(booked)
    assert all(phones.good)


def test_the_sweep_repeats_no_attempt_with_a_revoked_link(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    appointment = stage.book(0)
    stage.discover()
    crash(stage, monkeypatch, send.Desk, "attempt")
    monkeypatch.setattr(revoke, "UNDER_WAY", timedelta(0))  # a dead worker is not waited for
    assert stage.status() == {"claimed": 1} and revoked(stage, appointment) == 1
    later = ledger.real_now() + ledger.LEASE
    assert sweep(stage.scope, stage.connection_id, stage.desk, real=lambda: later + timedelta(seconds=1)) == 1
    assert stage.outbox == [] and stage.rules() == {"link_revoked"} and stage.status() == {"uncertain": 1}


def test_a_link_that_is_being_sent_by_hand_stops_when_it_was_sent(stage: Stage, pool: ThreadPoolExecutor) -> None:
    appointment, phones = stage.book(0), Phones(stage, hold=True)
    held_up = replace(stage, services=replace(stage.services, sms=lambda _: phones))
    sending = pool.submit(send_by_hand, held_up, appointment)
    assert phones.reached.wait(SOON)
    revocation = pool.submit(revoked, stage, appointment)
    waits(stage, keys.JoinToken(stage.connection_id, appointment, 0), revocation)
    phones.free.set()
    assert sending.result(SOON).state == "sent" and revocation.result(SOON) == 1
    assert phones.good == [True] and not joins(stage, token(stage, stage.outbox[0].text))


def test_where_nothing_can_be_read_nothing_is_sent(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.book(0)
    stage.discover()

    def unreadable(*_: object) -> dict[str, int]:
        raise TransientError("storage.unreachable")

    monkeypatch.setattr(revoke, "generations", unreadable)
    stage.deliver()
    assert stage.outbox == [] and stage.status() == {"planned": 1} and stage.rules() == {"storage.unreachable"}
