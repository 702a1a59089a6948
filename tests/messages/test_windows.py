"""What is scanned when, and what happens where the EHR cannot be read."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from connector import clock
from connector.errors import TransientError
from connector.messages import discover, ledger, register
from connector.messages import lease as lease_of
from connector.messages.discover import due_windows, overdue
from connector.messages.lease import Lease, Scan
from tests.messages.lives import NewClinic, utc

NOON = utc("2026-11-23T18:00")
PLACES = [f"2157{n:04d}" for n in range(4)]


@pytest.fixture(autouse=True)
def _clock() -> Iterator[None]:
    yield
    clock.install(None)


def test_near_always_two_days_hourly_the_rest_every_six_hours() -> None:
    scans = {window.name: Scan(NOON, NOON) for window in due_windows({}, NOON, lambda day: False)}
    assert len(scans) == 8, "near, and seven days: of this one nothing is left after the next six hours"
    found = {
        minutes: {w.name for w in due_windows(scans, NOON + timedelta(minutes=minutes), lambda day: False)}
        for minutes in (5, 60, 359)
    }
    assert found == {5: {"near"}, 60: {"near", "2026-11-24"}, 359: {"near", "2026-11-24"}}
    assert "2026-12-01" in {w.name for w in due_windows(scans, NOON + timedelta(hours=6), lambda day: False)}


def test_a_day_that_could_not_be_read_waits_half_an_hour_for_the_next_try() -> None:
    failed = {"2026-11-24": Scan(None, NOON), "2026-11-25": Scan(NOON - timedelta(hours=9), NOON)}
    for minutes, again in ((5, False), (29, False), (30, True)):
        names = {w.name for w in due_windows(failed, NOON + timedelta(minutes=minutes), lambda day: True)}
        assert (failed.keys() <= names) == again and (failed.keys() & names != set()) == again
    assert "2026-11-24" in {w.name for w in due_windows({"2026-11-24": Scan(NOON, NOON)}, NOON, lambda day: True)}


def test_how_long_a_window_is_over_its_turn() -> None:
    begun = NOON - timedelta(minutes=10)
    assert overdue({}, begun, NOON) == timedelta(minutes=5), "the near one, which every run reads"
    scans = {window.name: Scan(NOON, NOON) for window in due_windows({}, NOON, lambda day: False)}
    assert overdue(scans, begun, NOON + timedelta(minutes=5)) == timedelta()
    del scans["2026-11-28"]
    later = NOON + timedelta(hours=7)
    near_goes_on = scans | {"near": Scan(later, later)}
    assert overdue(near_goes_on, begun, later) == timedelta(hours=6), "tomorrow's, hourly"
    two_days_on = {name: Scan(later, later) for name in scans}
    assert overdue(two_days_on, begun, later) == timedelta(hours=1, minutes=10), "never read since it all began"


def test_a_large_window_is_read_in_parts_and_goes_on_in_the_next_run(
    new_clinic: NewClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic = new_clinic(NOON)
    day = utc("2026-11-26T00:00")
    for n in range(2_400):
        clinic.book(f"5150{n:04d}", day + n * timedelta(seconds=36), f"1320{n:04d}")
        clinic.change(f"5150{n:04d}", service_types=("1",))  # in person: counted, and not remembered
    clinic.now += timedelta(hours=7)
    clinic.scan()
    clinic.ehr.searches.clear()
    minutes = iter(range(0, 100_000, 60))  # a run looks at its watch at its start and before each part
    monkeypatch.setattr(discover, "time", SimpleNamespace(monotonic=lambda: next(minutes)))
    clinic.now += timedelta(hours=7)
    seen: list[tuple[datetime, datetime]] = []
    while not seen or seen[-1][1] != day + timedelta(days=1):
        clinic.now += timedelta(minutes=5)
        clinic.scan()
        seen += [(s, e) for s, e, _ in clinic.ehr.searches if s.date() == day.date()]
        clinic.ehr.searches.clear()
    parts = [(day + timedelta(hours=8 * n), day + timedelta(hours=8 * n + 8)) for n in range(3)]
    assert seen == parts, "each part once, though a run has time for three searches"
    row = clinic.tables.get(ledger.TABLE, clinic.connection.id, lease_of.KEY)
    scan = lease_of.scans(row)["2026-11-26"]
    assert (scan.completed, scan.reached, scan.appointments) == (clinic.now, None, 2_400)


def test_a_baseline_that_begins_meanwhile_sees_the_whole_day(
    new_clinic: NewClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic = new_clinic(NOON)
    day = utc("2026-11-30T00:00")
    lease = Lease.acquire(clinic.scope, clinic.connection.id)
    assert lease
    lease.scans["2026-11-30"] = Scan(NOON, clinic.now, day + timedelta(hours=20), appointments=0)
    lease.release()
    other = clinic.connection.departments[0].model_copy(update={"name": "Heart", "location_ids": [PLACES[0]]})
    departments = [*clinic.connection.departments, other]
    clinic.connection = clinic.connection.model_copy(update={"departments": departments})
    clinic.book("51502301", day + timedelta(hours=9))
    clinic.change("51502301", location_ids=(PLACES[0],))
    clinic.now += timedelta(minutes=5)
    clinic.scan()
    assert clinic.work() == [] and clinic.rules() >= {"baseline"}, "remembered, not told"


def test_an_hour_costs_few_calls(new_clinic: NewClinic) -> None:
    midnight = NOON + timedelta(hours=6)
    clinic = new_clinic(midnight)
    clinic.ehr.searches.clear()
    while clinic.now < midnight + timedelta(hours=6):
        clinic.now += timedelta(minutes=5)
        clinic.scan()
    assert len(clinic.ehr.searches) / 6 <= 15


def test_one_worker_at_a_time(new_clinic: NewClinic) -> None:
    clinic = new_clinic(NOON)
    lease = Lease.acquire(clinic.scope, clinic.connection.id)
    assert lease and clinic.scan() == {"busy": 1}
    lease.release()
    assert "busy" not in clinic.scan()


def test_a_lease_ends_in_real_time(new_clinic: NewClinic, monkeypatch: pytest.MonkeyPatch) -> None:
    clinic = new_clinic(NOON)
    first = Lease.acquire(clinic.scope, clinic.connection.id)
    real = ledger.real_now()
    clinic.now += timedelta(hours=3)
    assert clinic.scan() == {"busy": 1}
    monkeypatch.setattr("connector.messages.lease.real_now", lambda: real + timedelta(minutes=6))
    assert "busy" not in clinic.scan()
    assert first
    with pytest.raises(TransientError, match="lease_lost"):
        first.renew()


def test_one_unreadable_place_is_reported_and_costs_the_others_nothing(new_clinic: NewClinic) -> None:
    clinic = new_clinic(NOON, locations=PLACES)
    clinic.book("51502301", NOON + timedelta(hours=3))
    clinic.change("51502301", location_ids=(PLACES[0],))
    clinic.book("51502308", NOON + timedelta(hours=3, minutes=5))
    clinic.change("51502308", location_ids=(PLACES[1],))
    clinic.scan()
    assert len(clinic.work()) == 2
    clinic.ehr.broken = [(PLACES[2], NOON + timedelta(hours=3, minutes=2))]
    del clinic.ehr.appointments["51502308"]
    clinic.ehr.searches.clear()
    for _ in range(3):
        assert clinic.scan()["unread"] == 1
    assert min(end - start for start, end, _ in clinic.ehr.searches) >= timedelta(minutes=15)
    visits = register.visits(clinic.scope, clinic.connection.id)
    assert {visit.state for visit in visits.values()} == {"live"}, "an incomplete scan proves no absence"
    clinic.ehr.broken = []
    counts = [clinic.scan() for _ in range(2)]
    assert counts[0]["missing"] == 1 and counts[1]["lost"] == 1


def test_an_ehr_that_is_down_is_not_split_to_pieces(new_clinic: NewClinic) -> None:
    clinic = new_clinic(NOON, locations=PLACES)
    clinic.ehr.broken = [(place, NOON + timedelta(minutes=n)) for place in PLACES for n in range(0, 9000, 5)]
    clinic.ehr.searches.clear()
    with pytest.raises(TransientError, match="unavailable"):
        clinic.scan()
    assert len(clinic.ehr.searches) <= 16
    assert "busy" not in (clinic.ehr.broken.clear() or clinic.scan())  # type: ignore[func-returns-value]


def test_what_a_slow_ehr_leaves_no_time_for_is_left_to_the_next_run(
    new_clinic: NewClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host would end the run, and with it what the same worker does for others."""
    clinic = new_clinic(NOON, locations=PLACES)
    clinic.book("51502301", NOON + timedelta(hours=3))
    search = clinic.ehr.search_appointments

    def slow(**asked: Any) -> Any:
        monkeypatch.setattr(discover, "RUN_S", -1)
        return replace(search(**asked), complete=False)

    monkeypatch.setattr(clinic.ehr, "search_appointments", slow)
    clinic.ehr.searches.clear()
    assert clinic.scan()["unread"] > 0
    assert len(clinic.ehr.searches) == 1, "not split, and no other window begun"


def test_the_operator_sees_the_last_complete_scan(new_clinic: NewClinic) -> None:
    clinic = new_clinic(NOON)
    clinic.now += timedelta(minutes=5)
    clinic.scan()
    known = lease_of.scans(clinic.tables.get(ledger.TABLE, clinic.connection.id, lease_of.KEY))
    assert known["near"].completed == clinic.now and known["2026-11-24"].completed == NOON
    clinic.now += timedelta(days=2)
    clinic.scan()
    known = lease_of.scans(clinic.tables.get(ledger.TABLE, clinic.connection.id, lease_of.KEY))
    assert "2026-11-24" not in known and len(known) == 9
