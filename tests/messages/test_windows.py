"""What is scanned when, and what happens where the EHR cannot be read."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from connector import clock
from connector.errors import TransientError
from connector.messages import ledger, register
from connector.messages.discover import due_windows
from connector.messages.lease import Lease
from tests.messages.lives import NewClinic, utc

NOON = utc("2026-11-23T18:00")
PLACES = [f"2157{n:04d}" for n in range(4)]


@pytest.fixture(autouse=True)
def _clock() -> Iterator[None]:
    yield
    clock.install(None)


def test_near_always_two_days_hourly_the_rest_every_six_hours() -> None:
    scans = {window.name: NOON for window in due_windows({}, NOON, lambda day: False)}
    assert len(scans) == 8, "near, and seven days: of this one nothing is left after the next six hours"
    found = {
        minutes: {w.name for w in due_windows(scans, NOON + timedelta(minutes=minutes), lambda day: False)}
        for minutes in (5, 60, 359)
    }
    assert found == {5: {"near"}, 60: {"near", "2026-11-24"}, 359: {"near", "2026-11-24"}}
    assert "2026-12-01" in {w.name for w in due_windows(scans, NOON + timedelta(hours=6), lambda day: False)}


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


def test_the_operator_sees_the_last_complete_scan(new_clinic: NewClinic) -> None:
    clinic = new_clinic(NOON)
    clinic.now += timedelta(minutes=5)
    clinic.scan()
    rows = {
        row.key: row.text("completed_at")
        for row in clinic.tables.query(ledger.TABLE, clinic.connection.id, start="s.", end="s/")
    }
    assert rows["s.near"] == clinic.now.isoformat() and rows["s.2026-11-24"] == NOON.isoformat()
    clinic.now += timedelta(days=2)
    clinic.scan()
    keys = {row.key for row in clinic.tables.query(ledger.TABLE, clinic.connection.id, start="s.", end="s/")}
    assert "s.2026-11-24" not in keys and len(keys) == 9
