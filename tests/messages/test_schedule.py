"""Times: clock changes, zones, quiet hours, leads and staleness."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.messages import schedule
from connector.tenants import MessageSettings
from tests.messages.lives import utc

CHICAGO, COPENHAGEN = "America/Chicago", "Europe/Copenhagen"
ZONES = [CHICAGO, COPENHAGEN, "America/Phoenix", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns"]
USUAL = MessageSettings()


@pytest.mark.parametrize(
    ("moment", "zone", "ends"),
    [
        ("2026-03-08T04:00", CHICAGO, "2026-03-08T13:00"),  # clocks go forward in the night: an hour shorter
        ("2026-11-01T04:00", CHICAGO, "2026-11-01T14:00"),  # and back: an hour longer
        ("2026-03-29T00:30", COPENHAGEN, "2026-03-29T06:00"),
        ("2026-10-25T00:30", COPENHAGEN, "2026-10-25T07:00"),
        ("2026-11-23T02:59", CHICAGO, None),
        ("2026-11-23T03:00", CHICAGO, "2026-11-23T14:00"),
        ("2026-11-23T13:59", CHICAGO, "2026-11-23T14:00"),
        ("2026-11-23T14:00", CHICAGO, None),
    ],
)
def test_quiet_hours_cross_midnight_and_clock_changes(moment: str, zone: str, ends: str | None) -> None:
    found = schedule.quiet_period(utc(moment), zone, USUAL)
    assert (found and found[1]) == (utc(ends) if ends else None)


@pytest.mark.parametrize(
    ("begins", "ends", "moment", "quiet"),
    [
        ("02:15", "02:45", "2026-03-08T08:20", True),
        ("01:30", "01:45", "2026-11-01T06:40", True),
        ("01:30", "01:45", "2026-11-01T07:40", True),
        ("12:00", "13:00", "2026-11-23T18:30", True),
        ("12:00", "12:00", "2026-11-23T18:00", False),
    ],
)
def test_local_times_that_are_skipped_or_repeated(begins: str, ends: str, moment: str, quiet: bool) -> None:
    settings = MessageSettings(quiet_from=begins, quiet_until=ends)
    assert (schedule.quiet_period(utc(moment), CHICAGO, settings) is not None) == quiet


@pytest.mark.parametrize(
    ("start", "zone", "lead", "due"),
    [
        ("2026-03-08T16:00", CHICAGO, 1440, "2026-03-07T16:00"),  # 24 hours, an hour earlier on the wall clock
        ("2026-11-01T16:00", CHICAGO, 1440, "2026-10-31T16:00"),
        ("2026-11-24T04:00", CHICAGO, 1440, "2026-11-23T02:30"),  # a visit at 22:00: half an hour before quiet hours
        ("2026-11-24T14:05", CHICAGO, 15, "2026-11-24T02:30"),  # 08:05, a quarter of an hour before is 07:50
        ("2026-11-24T14:15", CHICAGO, 15, "2026-11-24T14:00"),
        ("2026-03-29T06:10", COPENHAGEN, 15, "2026-03-28T19:30"),
    ],
)
def test_reminders_move_to_before_quiet_hours(start: str, zone: str, lead: int, due: str) -> None:
    assert schedule.reminder_due(lead, utc(start), zone, USUAL) == utc(due)


def test_a_confirmation_waits_for_the_morning_unless_the_visit_is_before() -> None:
    night, morning = utc("2026-11-24T05:00"), utc("2026-11-24T14:00")
    due = schedule.telling_due("confirmation", utc("2026-11-24T16:00"), CHICAGO, USUAL, night)
    assert due == morning
    assert schedule.telling_due("confirmation", utc("2026-11-24T13:30"), CHICAGO, USUAL, night) == night
    for kind in ("change", "cancellation"):
        assert schedule.telling_due(kind, utc("2026-11-24T16:00"), CHICAGO, USUAL, night) == night  # type: ignore[arg-type]


def test_which_reminders_are_planned() -> None:
    start = utc("2026-11-25T18:00")
    day, quarter = start - timedelta(days=1), start - timedelta(minutes=15)
    assert schedule.reminders(start, CHICAGO, USUAL, start - timedelta(days=3)) == {1440: day, 15: quarter}
    assert schedule.reminders(start, CHICAGO, USUAL, start - timedelta(hours=23)) == {15: quarter}
    assert schedule.reminders(start, CHICAGO, USUAL, start - timedelta(minutes=10)) == {}
    just_told = day - timedelta(minutes=30)
    assert schedule.reminders(start, CHICAGO, USUAL, just_told, just_told) == {15: quarter}
    early = utc("2026-11-25T14:01")  # both of an early visit are pushed to the evening before: one is sent
    two = MessageSettings(reminder_leads_minutes=[60, 15])
    assert list(schedule.reminders(early, CHICAGO, two, early - timedelta(days=1))) == [15]


@pytest.mark.parametrize(
    ("lead", "minutes_left", "late"),
    [
        (1440, 1430, False),
        (1440, 800, False),
        (1440, 20, True),
        (1440, 700, True),
        (1440, 15, True),
        (15, 3, False),
        (60, 10, True),
        (60, 30, False),
    ],
)
def test_a_late_reminder_that_makes_no_sense_is_stale(lead: int, minutes_left: int, late: bool) -> None:
    start = utc("2026-11-25T18:00")
    assert schedule.stale(lead, start, [1440, 60, 15], start - timedelta(minutes=minutes_left)) == late


@given(
    st.sampled_from(ZONES),
    st.datetimes(utc("2026-01-01T00:00").replace(tzinfo=None), utc("2027-12-31T00:00").replace(tzinfo=None)),
    st.integers(5, 10080),
    st.times(),
    st.times(),
)
def test_a_reminder_is_never_due_in_quiet_hours_nor_late(zone, start, lead, begins, ends) -> None:  # type: ignore[no-untyped-def]
    settings = MessageSettings(quiet_from=f"{begins:%H:%M}", quiet_until=f"{ends:%H:%M}")
    moment = utc(start.isoformat()).replace(second=0, microsecond=0)
    due = schedule.reminder_due(lead, moment, zone, settings)
    quiet = schedule.quiet_period(due, zone, settings)
    assert due <= moment - timedelta(minutes=lead)
    longest = schedule.quiet_period(moment - timedelta(minutes=lead), zone, settings) or (moment, moment)
    if longest[1] - longest[0] < timedelta(hours=23):
        assert quiet is None
