"""Opens the app as PowerChart and the patient portal do: with a code that the authorization server knows.

Source: Cerner SMART on FHIR documentation, "Launch"; SMART App Launch 2.x, "EHR launch".
"""

from __future__ import annotations

import time
import uuid
from datetime import datetime
from typing import Literal
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from sandbox.world import Grant, Hospital, World

_LAUNCH_S = 300
"""A launch code is meant to be used at once."""


def launch_url(world: World, hospital_key: str, persona: Literal["provider", "patient"],
               user_key: str | None = None, patient_key: str | None = None) -> str:
    """The address that the EHR opens; KeyError if the hospital did not register the app or a key is unknown.

    provider: `user_key` is a clinician (default the first), `patient_key` the open chart, or None from the
    Organizer.
    patient: `patient_key` (or `user_key`) is the patient who is signed in to the portal.
    """
    hospital, registration = world.hospitals[hospital_key], world.registrations[hospital_key]
    patients = {person.key: person.patient_id for person in hospital.patients}
    user: str | None
    if persona == "provider":
        clinicians = {clinician.key for clinician in hospital.clinicians}
        user = user_key or hospital.clinicians[0].key
        if user not in clinicians:
            raise KeyError(user)
        base, page = world.ports.fhir_base(hospital.ehr_tenant), registration.provider_launch_url
    else:
        user = patient_key = patient_key or user_key or hospital.patients[0].key
        base, page = world.ports.patient_fhir_base(hospital.ehr_tenant), registration.patient_launch_url
    patient_id = patients[patient_key] if patient_key else None
    launch = str(uuid.uuid4())
    with world.lock:
        world.grants[launch] = Grant(
            "launch", hospital_key, persona, time.time() + _LAUNCH_S, user=user, patient_id=patient_id,
            encounter_id=_todays_encounter(world, hospital, patient_id) if persona == "provider" else None)
    return f"{page}{'&' if '?' in page else '?'}{urlencode({'iss': base, 'launch': launch})}"


def _todays_encounter(world: World, hospital: Hospital, patient_id: str | None) -> str | None:
    zone = ZoneInfo(hospital.time_zone)
    today = world.now().astimezone(zone).date()
    with world.lock:
        kept = world.resources[hospital.ehr_tenant]
        encounters = [row for (kind, _), row in kept.items() if kind == "Encounter"]
    for row in encounters:
        day = datetime.fromisoformat(row["period"]["start"]).astimezone(zone).date()
        if row["subject"]["reference"] == f"Patient/{patient_id}" and day == today:
            return str(row["id"])
    return None
