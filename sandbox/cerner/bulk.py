"""Many video visits at once, each with a patient of its own: for load, where `book` one by one is too slow."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import datetime, timedelta

from sandbox.cerner import appointments
from sandbox.world import Hospital, World

_FIRST_PATIENT, _FIRST_APPOINTMENT = 700_000_000, 800_000_000


def book_many(
    world: World, hospital_key: str, count: int, *, start: datetime, every: timedelta, location_ids: Sequence[str] = ()
) -> list[str]:
    """Book `count` visits of `count` new patients, `every` apart; returns the appointments' ids.

    They are spread over `location_ids` in turn (default: the first configured department's). A second call goes on
    counting where the first one stopped.
    """
    hospital = world.hospitals[hospital_key]
    places = location_ids or hospital.departments[0].location_ids
    with world.lock:
        kept = world.resources[hospital.ehr_tenant]
        first = sum(type_ == "Patient" and int(identity) >= _FIRST_PATIENT for type_, identity in kept)
        model = kept.pop(("Appointment", appointments.book(world, hospital_key, hospital.patients[0].key, start=start)))
        person = kept["Patient", hospital.patients[0].patient_id]
        made = []
        for number in range(first, first + count):
            identity = str(_FIRST_APPOINTMENT + 7 * number)
            patient_id = str(_FIRST_PATIENT + 7 * number)
            moment = start + (number - first) * every
            visit, patient = copy.deepcopy(model), copy.deepcopy(person)
            visit["id"], patient["id"] = identity, patient_id
            visit["participant"][0]["actor"]["reference"] = f"Location/{places[number % len(places)]}"
            visit["participant"][2]["actor"] = {"reference": f"Patient/{patient_id}"}
            visit["start"] = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
            visit["end"] = f"{moment + timedelta(minutes=30):%Y-%m-%dT%H:%M:%SZ}"
            patient["telecom"] = [{"system": "phone", "use": "mobile", "rank": 1, "value": _mobile(hospital, number)}]
            kept["Appointment", identity], kept["Patient", patient_id] = visit, patient
            made.append(identity)
    return made


def _mobile(hospital: Hospital, number: int) -> str:
    """A valid number of the hospital's country, another one for each of 100,000 patients."""
    if hospital.contact_phone.startswith("+1"):
        return f"+1{(312, 773, 847, 630)[number % 4]}{555 + number // 40_000}{number // 4 % 10_000:04d}"
    return f"+4520{100_000 + number}"
