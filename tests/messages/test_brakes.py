"""What keeps messages from being sent: silent baselines, pauses, holds, limits."""

import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from connector import bootstrap, tenants
from connector.adapters.tables import Row, Write
from connector.errors import TransientError
from connector.messages import brakes, limits, stops, volume
from connector.messages.ledger import TABLE
from connector.tenants import ConnectionPatch, Department, Sender
from sandbox.cerner import appointments
from tests.messages.conftest import ACTOR, Stage, hold

NUMBER = Sender(id="ab12", kind="phone_number", value="+18005550100", label="Main")
NAME = Sender(id="ab13", kind="alphanumeric", value="Nordlys", label="Main")


def state(stage: Stage) -> brakes.State:
    return brakes.read(stage.scope, stage.connection, stage.world.now(), scanning=True)


def change(stage: Stage, patch: ConnectionPatch) -> None:
    present = tenants.connection(stage.scope, stage.connection_id)
    tenants.change_connection(stage.scope, stage.connection_id, present.etag, patch, ACTOR)


def switch_off_and_on(stage: Stage, meanwhile: Callable[[], object]) -> None:
    change(stage, ConnectionPatch(messages_enabled=False))
    brakes.note_off(stage.scope, stage.connection, stage.world.now())
    meanwhile()
    change(stage, ConnectionPatch(messages_enabled=True))


def send(stage: Stage) -> int:
    """Look, send, and count the new texts."""
    before = len(stage.outbox)
    stage.discover()
    stage.deliver()
    return len(stage.outbox) - before


def test_activation_is_silent_for_what_was_booked_before(staged: Callable[..., Stage]) -> None:
    stage = staged(reminders=True, reminder_leads_minutes=[15])
    switch_off_and_on(stage, lambda: [stage.book(n, in_minutes=60 + n) for n in range(3)])
    assert send(stage) == 0 and send(stage) == 0
    stage.book(3, in_minutes=90)
    assert send(stage) == 1
    stage.world.advance(timedelta(minutes=50))
    assert send(stage) == 3, "the reminders of what was only remembered"


def test_a_change_of_a_remembered_visit_is_told(stage: Stage) -> None:
    moved: list[str] = []
    switch_off_and_on(stage, lambda: moved.append(stage.book(in_minutes=120)))
    assert send(stage) == 0
    appointments.move(stage.world, stage.hospital.key, moved[0], stage.world.now() + timedelta(minutes=240))
    assert send(stage) == 1


def test_a_new_department_is_silent_for_what_was_booked_before(stage: Stage) -> None:
    stage.book(0, department_index=1)
    present = tenants.connection(stage.scope, stage.connection_id)
    added = stage.hospital.departments[1]
    departments = [
        *present.value.departments,
        Department(name=added.name, location_ids=list(added.location_ids), time_zone=added.time_zone),
    ]
    tenants.set_departments(stage.scope, stage.connection_id, present.etag, departments, ACTOR)
    stage.book(1, department_index=0)
    assert send(stage) == 1, "the old department goes on as before"
    stage.book(2, department_index=1)
    assert send(stage) == 1


def test_a_day_stays_silent_until_it_was_scanned_completely(stage: Stage) -> None:
    now = stage.world.now()
    switch_off_and_on(stage, lambda: None)
    today = now.date()
    begun = state(stage)
    assert begun.silent(today, "Family Medicine") and begun.pending(today + timedelta(days=7))
    assert not begun.silent(today + timedelta(days=8), "Family Medicine"), "a later day was seen by nobody yet"
    assert begun.silent(today + timedelta(days=8), "Family Medicine", updated=now - timedelta(minutes=1))
    brakes.baselined(stage.scope, stage.connection, today, now)
    assert not state(stage).silent(today, "Family Medicine")
    assert state(stage).silent(today + timedelta(days=1), "Family Medicine")


def test_pause_holds_back_and_resume_lets_go(stage: Stage) -> None:
    stops.pause(stage.scope, stage.connection, stage.world.now(), ACTOR)
    stage.book()
    assert send(stage) == 0 and len(stage.rows("d")) == 1
    stops.resume(stage.scope, stage.connection, stage.world.now(), ACTOR)
    stage.world.advance(timedelta(minutes=10))
    assert send(stage) == 1


def test_pause_of_a_sender_holds_back_each_of_its_connections(stage: Stage) -> None:
    stops.pause_sender(stage.scope, stage.connection.sender_id or "", stage.world.now(), ACTOR)
    stage.book()
    assert send(stage) == 0
    assert state(stage).stopped("confirmation") == "sender_paused"
    stops.pause_sender(stage.scope, stage.connection.sender_id or "", stage.world.now(), ACTOR, paused=False)
    stage.world.advance(timedelta(minutes=10))
    assert send(stage) == 1


def test_pause_stops_what_a_worker_has_not_begun(stage: Stage) -> None:
    stage.book()
    stage.discover()
    (hint,) = stage.dispatch()
    stops.pause(stage.scope, stage.connection, stage.world.now(), ACTOR)
    stage.run("send", hint)
    assert stage.outbox == [] and stage.status() == {"planned": 1}


@pytest.mark.parametrize("what", ["connection", "sender", "kind", "off"])
def test_what_another_process_stops_is_stopped_before_the_next_claim(stage: Stage, what: str) -> None:
    """The worker has just read everything, and knows the configuration for some seconds: brakes it reads afresh."""
    stage.book(0)
    assert send(stage) == 1
    stage.book(1)
    stage.discover()
    (hint,) = stage.dispatch()
    other = bootstrap.build(stage.services.settings).directory.scope(stage.scope.tenant_id)
    now, connection = stage.world.now(), stage.connection
    if what == "connection":
        stops.pause(other, connection, now, ACTOR)
    elif what == "sender":
        stops.pause_sender(other, connection.sender_id or "", now, ACTOR)
    elif what == "off":
        brakes.note_off(other, connection, now)
    else:
        hold(other, connection, "confirmation", "held_volume", now)
    stage.run("send", hint)
    assert len(stage.outbox) == 1 and stage.status() == {"sent": 1, "planned": 1}


def test_a_chunk_costs_nine_storage_operations(stage: Stage) -> None:
    """Range, brakes (2), opt-outs, limits (2), claim, revoked links, record: beside them its hint is put on the queue
    and taken."""
    for n in range(2):
        stage.book(n)
        stage.discover()
        (hint,) = stage.dispatch()
        asked: list[str] = []
        run = stage.scope.tables._run
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(stage.scope.tables, "_run", lambda *a, r=run, k=asked: (k.append(a[0]), r(*a))[1])
            stage.run("send", hint)
    assert Counter(asked) == {"Visits": 6, "OptOuts": 1, "Limits": 2}


def admit(stage: Stage, *, visits_a_day: int = 0, **planned: int) -> frozenset[str]:
    return volume.admit(stage.scope, stage.connection, planned, stage.world.now(), visits_a_day=visits_a_day)


def test_an_abnormal_volume_is_held_until_an_admin_releases_it(stage: Stage) -> None:
    assert admit(stage, confirmation=150, change=3) == frozenset()
    assert admit(stage, confirmation=1) == {"confirmation"}
    stage.book()
    assert send(stage) == 0
    assert (state(stage).stopped("confirmation"), state(stage).stopped("change")) == ("held_volume", "")
    stops.release(stage.scope, stage.connection, "confirmation", stage.world.now(), ACTOR)
    stage.world.advance(timedelta(minutes=10))
    assert send(stage) == 1
    assert admit(stage, confirmation=900) == frozenset(), "who released it has looked"
    stage.world.advance(timedelta(hours=25))
    assert admit(stage, confirmation=900) == {"confirmation"}


def test_the_forecast_is_the_same_hour_of_earlier_days() -> None:
    from datetime import UTC, datetime

    now = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
    counts = {f"202611{day}09": {"change": 40 * (day - 19)} for day in (20, 21, 22)} | {"2026112215": {"change": 999}}
    assert volume.forecast(counts, "change", now) == 80
    assert volume.forecast(counts, "confirmation", now) == volume.FLOOR == volume.forecast({}, "change", now)


def test_a_mass_cancellation_is_held(stage: Stage) -> None:
    """By the hour, not by the run, and measured by a full day of this hospital."""
    assert admit(stage, cancellation=12, visits_a_day=40) == admit(stage, cancellation=8, visits_a_day=40) == set()
    assert admit(stage, cancellation=1, visits_a_day=40) == {"cancellation"}
    assert state(stage).stopped("cancellation") == "held_mass_cancellation"


def test_a_busy_but_normal_morning_is_not_held(stage: Stage) -> None:
    for _ in range(12):
        assert admit(stage, cancellation=12, change=14, visits_a_day=2_000) == frozenset()
    assert admit(stage, cancellation=457, visits_a_day=2_000) == {"cancellation"}, "over 600 in this hour"


def test_hospital_wide_cancellation_sends_nothing(stage: Stage) -> None:
    booked = [stage.book(n % 5, in_minutes=300 + 2 * n) for n in range(25)]
    stage.world.sms_per_minute = dict.fromkeys(stage.world.sms_per_minute, 10_000)
    stage.discover()
    stops.release(stage.scope, stage.connection, "all", stage.world.now(), ACTOR)
    stage.deliver()
    sent = len(stage.outbox)
    for one in booked:
        appointments.cancel(stage.world, stage.hospital.key, one)
    for _ in range(3):
        stage.world.advance(timedelta(minutes=5))
        assert send(stage) == 0
    assert sent > 0 and "cancellation" in state(stage).held


def restore(stage: Stage, backup: list[Row]) -> None:
    for row in list(stage.scope.tables.query(TABLE, stage.connection_id)):
        stage.scope.tables.transact(TABLE, [Write("delete", Row(row.partition, row.key))])
    for row in backup:
        stage.scope.tables.transact(TABLE, [Write("upsert", row)])


@pytest.mark.parametrize("restarted", [False, True])
def test_a_restored_backup_sends_nothing_until_it_is_released(stage: Stage, *, restarted: bool) -> None:
    stage.book(0, in_minutes=300)
    stage.discover()
    backup = list(stage.scope.tables.query(TABLE, stage.connection_id))
    stage.deliver()
    stage.book(1, in_minutes=310)
    assert send(stage) == 1
    stage.world.advance(timedelta(hours=2))
    stage.discover()
    restore(stage, backup)
    if restarted:
        brakes._epochs.clear()
    assert send(stage) == 0 and send(stage) == 0
    assert state(stage).all_stopped == "held_restored"
    assert stops.forget_due(stage.scope, stage.connection, stage.world.now(), ACTOR) == 0, "the scan took it as told"
    stops.release(stage.scope, stage.connection, "all", stage.world.now(), ACTOR)
    assert state(stage).all_stopped == ""
    stage.book(2, in_minutes=120)
    assert send(stage) == 1, "it goes on, and what was sent before is not sent again"
    assert Counter(row["rule"] for row in stage.rows("m") if row["state"] == "skipped") == {"baseline": 3}


def test_a_process_that_goes_on_takes_no_silence_for_a_restore(stage: Stage) -> None:
    assert not state(stage).all_stopped
    stage.world.advance(timedelta(hours=5))
    assert not state(stage).all_stopped


def ask(n: int, number: str = "+13125552348", visit: str = "", kind: str = "confirmation") -> limits.Ask:
    return limits.Ask(f"m.{visit or f'{n:016x}' * 2}.{'r' * 32}.{kind}.1", number)


def test_a_number_gets_six_messages_a_day(stage: Stage) -> None:
    now = stage.world.now()
    assert limits.reserve(stage.scope, [ask(n) for n in range(5)], now) == {}
    refused = limits.reserve(stage.scope, [ask(n) for n in range(5, 8)], now)
    assert Counter(refused.values()) == {"recipient_limit": 2}
    assert limits.reserve(stage.scope, [ask(9, "+13127714063")], now) == {}
    assert limits.reserve(stage.scope, [ask(10)], now + timedelta(days=1)) == {}


@pytest.mark.parametrize("kind", ["change", "cancellation", "late"])
def test_reminders_use_up_nothing_that_a_cancellation_needs(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    now = stage.world.now()
    monkeypatch.setattr(limits, "PER_TENANT", 8)
    reminders = [limits.Ask(f"m.{'ab' * 16}.{'r' * 32}.reminder.1-{n}", "+13125552348") for n in range(30)]
    refused = limits.reserve(stage.scope, reminders, now)
    assert list(refused.values()) == ["recipient_limit"] * (30 - limits.PER_RECIPIENT)
    asks = [limits.Ask(f"m.{'ab' * 16}.{'r' * 32}.{kind}.{n}", "+13125552348") for n in range(2, 11)]
    assert limits.reserve(stage.scope, asks[:6], now) == {}
    assert limits.reserve(stage.scope, [ask(30, "+13127714063")], now), "of the tenant's eight none is left for this"
    limits._seen.clear()
    assert set(limits.reserve(stage.scope, asks[6:], now)) == {one.message_key for one in asks[6:]}, "not without end"


def test_a_morning_of_throttling_uses_up_no_limit(stage: Stage) -> None:
    stage.book()
    stage.discover()
    for _ in range(limits.PER_RECIPIENT + 2):
        stage.world.add_fault("acs", "429", 1)
        stage.deliver()
        assert stage.status() == {"planned": 1}
        stage.world.advance(timedelta(seconds=61))
    stage.deliver()
    assert stage.status() == {"sent": 1}
    limits._seen.clear()
    assert limits.reserve(stage.scope, [ask(n) for n in range(5)], stage.world.now()) == {}, "one counts, of nine tries"


def test_a_claim_that_somebody_else_won_uses_up_no_limit(stage: Stage) -> None:
    stage.book()
    stage.discover()
    (hint,) = stage.dispatch()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: stage.run("send", hint), range(4)))
    assert len(stage.outbox) == 1
    assert limits.reserve(stage.scope, [ask(n) for n in range(5)], stage.world.now()) == {}


def test_a_visit_gets_twelve(stage: Stage) -> None:
    asks = [ask(0, f"+1312771{n:04d}", visit="ab" * 16) for n in range(13)]
    assert list(limits.reserve(stage.scope, asks[:12], stage.world.now()).values()) == []
    assert list(limits.reserve(stage.scope, asks[12:], stage.world.now()).values()) == ["visit_limit"]
    late = limits.Ask(f"m.{'cd' * 16}.{'r' * 32}.reminder.12-15", "+13127714063")
    assert list(limits.reserve(stage.scope, [late], stage.world.now()).values()) == ["visit_limit"]


def test_a_tenants_day_is_never_exceeded_by_workers_at_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PER_TENANT", 100)
    stage.scope.index("limit", "")
    order = random.Random(7).sample(range(200), 200)  # noqa: S311 - no secret
    chunks = [[ask(n, f"+1312771{n:04d}") for n in order[first : first + 10]] for first in range(0, 200, 10)]
    with ThreadPoolExecutor(6) as pool:
        refused = list(pool.map(lambda chunk: limits.reserve(stage.scope, chunk, stage.world.now()), chunks))
    reserved = 200 - sum(map(len, refused))
    assert reserved <= 100
    assert set().union(*(set(one.values()) for one in refused)) == {"tenant_limit"}
    while not limits.reserve(stage.scope, [ask(200 + reserved, f"+1312772{reserved:04d}")], stage.world.now()):
        reserved += 1  # two at once may both refuse
    assert reserved == 100, "what was refused uses up nothing"
    limits._seen.clear()
    assert limits.reserve(stage.scope, [ask(999)], stage.world.now()), "a new process counts what others reserved"


def test_nothing_is_sent_when_nothing_can_be_reserved(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.book()
    stage.discover()
    (hint,) = stage.dispatch()

    def down(*_: object, **__: object) -> None:
        raise TransientError("storage.unreachable")

    with monkeypatch.context() as patched:
        patched.setattr(limits, "reserve", down)
        with pytest.raises(TransientError):
            stage.run("send", hint)
    assert stage.outbox == [] and stage.status() == {"planned": 1}


def test_limits_are_forgotten(stage: Stage) -> None:
    limits.reserve(stage.scope, [ask(1)], stage.world.now())
    assert limits.purge(stage.scope, stage.world.now()) == 0
    assert limits.purge(stage.scope, stage.world.now() + timedelta(days=2)) == 1


@pytest.mark.parametrize(
    ("sender", "number", "reached"),
    [
        (NUMBER, "+13125552348", True),
        (NUMBER, "+17877224000", True),
        (NUMBER, "+14168632023", True),
        (NUMBER, "+18762234567", False),
        (NUMBER, "+4520481357", False),
        (NAME, "+4520481357", True),
        (NAME, "+13125552348", False),
        (NAME, "+34612345678", True),
        (NAME, "+905321234567", False),
    ],
)
def test_countries(sender: Sender, number: str, *, reached: bool) -> None:
    """Jamaica is +1 as well."""
    assert limits.reaches(sender, number) is reached


def test_a_deleted_connection_sends_nothing_of_what_was_planned(stage: Stage) -> None:
    stage.book(in_minutes=90)
    stage.discover()
    hints = stage.dispatch()
    assert hints and len(stage.rows("d")) == 1
    present = tenants.connection(stage.scope, stage.connection_id)
    tenants.delete_connection(stage.scope, stage.connection_id, present.etag, ACTOR)
    for hint in hints:
        stage.run("send", hint)  # released before it was deleted
    stage.discover()
    stage.deliver()
    assert stage.outbox == [] and len(stage.rows("d")) == 1
    tenants.finish_deletions(stage.services.directory, stage.scope, until=time.monotonic() + 60)
    assert stage.rows("d") == stage.rows("v") == []
