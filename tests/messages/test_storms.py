"""Days on which thousands of records change at once: going live, an import, a mass cancellation, a restored backup.
Nobody gets a text that an admin did not want."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from connector import clock
from connector.messages import brakes, register, stops
from connector.tenants import Actor, Department
from tests.messages.lives import LOCATION, VIDEO, Clinic, NewClinic, utc

NOON = utc("2026-11-23T18:00")
"""In Chicago, a Monday."""
ACTOR = Actor("0d4f7a91-6b2c-4e38-9f15-a7c3d8e20b61")
TOMORROW = NOON + timedelta(hours=20)


@pytest.fixture(autouse=True)
def _clock() -> Iterator[None]:
    yield
    clock.install(None)


def fill(clinic: Clinic, count: int, start: datetime, every: timedelta, first: int = 0) -> list[str]:
    """Visits of as many patients."""
    made = [f"5150{n:04d}" for n in range(first, first + count)]
    for n, appointment in enumerate(made):
        clinic.book(appointment, start + n * every, f"1320{first + n:04d}")
    return made


def look(clinic: Clinic, times: int = 1, minutes: int = 5) -> int:
    """Every window is due again, and what is due is sent; how many texts."""
    before = len(clinic.sms.sent)
    for _ in range(times):
        clinic.now += timedelta(minutes=minutes)
        clinic.all_due()
        clinic.scan()
        clinic.work()
    return len(clinic.sms.sent) - before


def test_a_go_live_storm_texts_nobody_of_what_was_booked(new_clinic: NewClinic) -> None:
    """Though one location cannot be read for an hour: its days stay silent until they could."""
    other = "21579999"
    clinic = new_clinic(NOON, locations=[LOCATION, other], reminders=False)
    clinic.restore({})  # as on the first day
    every = timedelta(days=7) / 160
    for n, appointment in enumerate(fill(clinic, 160, NOON + timedelta(minutes=30), every)):
        clinic.change(appointment, location_ids=(other if n % 4 == 0 else LOCATION,))
    clinic.ehr.broken = [(other, NOON + n * timedelta(minutes=40)) for n in range(300)]
    assert look(clinic, 6, minutes=10) == 0
    clinic.ehr.broken = []
    assert look(clinic, 3) == 0
    visits = register.visits(clinic.scope, clinic.connection.id)
    assert len(visits) == 160 and all(v.told.state == "live" for v in visits.values() if v.start > clinic.now)
    fill(clinic, 3, TOMORROW, timedelta(minutes=7), first=500)
    assert look(clinic) == 3, "and what is booked from now on is told"


def test_what_was_booked_before_for_weeks_ahead_is_reminded_of_and_no_more(new_clinic: NewClinic) -> None:
    clinic = new_clinic(NOON, reminder_leads_minutes=[60])
    before = NOON - timedelta(days=9)
    for n, appointment in enumerate(fill(clinic, 3, NOON + timedelta(days=10, hours=1), timedelta(minutes=10))):
        clinic.change(appointment, updated=before, service_types=(VIDEO,) if n else ("1",))
    clinic.now += timedelta(days=1)
    clinic.change("51500000", service_types=(VIDEO,))  # only now it is a video visit
    for _ in range(4):
        clinic.now += timedelta(days=1)
        look(clinic)
    assert [(sms.to, "remind" in sms.text) for sms in clinic.sms.sent] == [("+13125550000", False)]
    texts = clinic.run(NOON + timedelta(days=10, hours=2), timedelta(minutes=30))
    assert [("remind" in sms.text) for sms in texts] == [True] * 3


def test_an_import_is_held_and_the_rest_goes_on(new_clinic: NewClinic) -> None:
    clinic = new_clinic(NOON, reminders=False)
    (known,) = fill(clinic, 1, TOMORROW, timedelta())
    assert look(clinic) == 1
    fill(clinic, 170, TOMORROW, timedelta(minutes=2), first=1)
    clinic.change(known, start=TOMORROW + timedelta(hours=1))
    assert look(clinic, 2) == 1, "who moved an appointment is told of it"
    state = brakes.peek(clinic.scope, clinic.connection)
    assert state.held == {"confirmation": "held_volume"}


def test_a_mass_cancellation_that_is_undone_tells_nobody_anything(new_clinic: NewClinic) -> None:
    """An interface fails on Monday, and by noon all is as it was."""
    clinic = new_clinic(NOON, reminders=False)
    booked = fill(clinic, 60, TOMORROW, timedelta(minutes=5))
    assert look(clinic) == 60
    for appointment in booked:
        clinic.change(appointment, status="cancelled")
    assert look(clinic, 4) == 0
    assert brakes.peek(clinic.scope, clinic.connection).held == {"cancellation": "held_mass_cancellation"}
    for appointment in booked:
        clinic.change(appointment, status="booked")
    assert look(clinic, 3) == 0
    stops.release(clinic.scope, clinic.connection, "all", clinic.now, ACTOR)
    assert look(clinic, 2, minutes=10) == 0
    clinic.change(booked[0], status="cancelled")
    assert look(clinic, 2) == 1, "a cancellation that is one"


def test_a_backup_of_yesterday_repeats_nothing(new_clinic: NewClinic) -> None:
    clinic = new_clinic(NOON, reminder_leads_minutes=[1440])
    booked = fill(clinic, 24, NOON + timedelta(hours=26), timedelta(minutes=30))
    look(clinic)
    backup = clinic.rows
    for n, appointment in enumerate(booked[:8]):
        clinic.change(appointment, **({"status": "cancelled"} if n % 2 else {"start": NOON + timedelta(hours=52 + n)}))
    fill(clinic, 5, NOON + timedelta(hours=50), timedelta(minutes=30), first=100)
    clinic.run(NOON + timedelta(hours=24), timedelta(minutes=30))
    told = Counter(sms.text for sms in clinic.sms.sent)
    assert sum("moved" in text for text in told) == 4 and sum("remind" in text for text in told) >= 16
    clinic.restore(backup)
    assert look(clinic, 3) == 0
    assert brakes.peek(clinic.scope, clinic.connection).held == {"all": "held_restored"}
    stops.release(clinic.scope, clinic.connection, "all", clinic.now, ACTOR)
    clinic.run(NOON + timedelta(hours=56), timedelta(minutes=30))
    again = Counter(sms.text for sms in clinic.sms.sent) - told
    assert again and all("remind" in text and text not in told for text in again), "only reminders still to come"


def test_departments_in_several_zones_have_nights_of_their_own(new_clinic: NewClinic) -> None:
    """At noon in Chicago it is evening in Copenhagen: quiet hours there, and each text in its own time."""
    clinic = new_clinic(utc("2026-11-23T20:30"), reminders=False)  # 14:30 and 21:30
    far = Department(name="Kardiologi", location_ids=["77700001"], time_zone="Europe/Copenhagen")
    clinic.connection = clinic.connection.model_copy(update={"departments": [*clinic.connection.departments, far]})
    clinic.desk = replace(clinic.desk, connection=clinic.connection)
    look(clinic)  # the new department's silent baseline
    start = utc("2026-11-24T19:00")
    clinic.book("51502301", start, "13200001")
    clinic.book("51502302", start, "13200002", location="77700001")
    assert look(clinic) == 1
    assert "1:00 PM CST" in clinic.sms.sent[-1].text
    (sms,) = clinic.run(utc("2026-11-24T08:00"), timedelta(minutes=30))
    assert "20.00 CET" in sms.text and utc("2026-11-24T07:00") <= sms.at <= utc("2026-11-24T07:30")
