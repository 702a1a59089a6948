"""The scheduling desk of simulated Millennium: a week of appointments; book, move and cancel one.

Source: Cerner (Oracle Health) FHIR R4 documentation of Appointment. A native video visit carries its virtual
meeting rooms as contained HealthcareServices and a composite version, `<appointment>-<links>`; a type-only
one is known by nothing but its appointment type.
"""

from __future__ import annotations

import copy
import html
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from sandbox.cerner import people
from sandbox.world import Clinician, Hospital, Json, World

Kind = Literal["native", "type", "ordinary"]
ROOMS = ("Patient Virtual Meeting Room", "Provider Virtual Meeting Room")
"""In the order in which a read shows them; PATCH paths count the other way round."""
_SERVICES: dict[Kind, str] = {
    "native": "Video Visit", "type": "Telehealth Follow Up", "ordinary": "Office Visit",
}
_FIRST_IDS = {"harbor": (51502301, 97990321), "nordlys": (82406117, 90817443)}
_NEWCOMER_IDS = (61730259, 93452108)
"""First Appointment and first Encounter of each hospital; the next ones follow at a distance."""
_STEP = 7
_OTHER_VENDOR = "https://visit.example.org"


def populate(world: World) -> None:
    """Fill `world.resources` anew for both hospitals, relative to the world's clock."""
    now = world.now()
    with world.lock:
        for hospital in world.hospitals.values():
            kept = world.resources[hospital.ehr_tenant] = {}
            records = [people.patient(hospital, person, n, now) for n, person in enumerate(hospital.patients)]
            records += [people.practitioner(clinician, now) for clinician in hospital.clinicians]
            records += [people.location(department, location_id, letter, now)
                        for department in hospital.departments
                        for location_id, letter in zip(department.location_ids, "AB", strict=False)]
            kept.update({(record["resourceType"], record["id"]): record for record in records})
            _book_week(world, hospital, now)


def _book_week(world: World, hospital: Hospital, now: datetime) -> None:
    """Today's list of the first clinician, six days of clinics, and what happened yesterday."""
    patients = [person.key for person in hospital.patients]
    first, second, third = (clinician.key for clinician in hospital.clinicians)
    local = now.astimezone(ZoneInfo(hospital.time_zone)).replace(second=0, microsecond=0)
    local -= timedelta(minutes=local.minute % 5)
    soon = local + timedelta(minutes=10)
    if soon.date() != local.date():
        soon = local

    def today(minutes: int, patient_key: str | None, kind: Kind, clinician: str = first, **more: int) -> str:
        return book(world, hospital.key, patient_key, start=soon + timedelta(minutes=minutes), kind=kind,
                    clinician_key=clinician, **more)

    video = today(0, patients[0], "native")
    today(35, patients[2], "ordinary")
    today(80, patients[1], "type")
    today(120, patients[4], "native", department_index=2)
    cancel(world, hospital.key, today(150, patients[3], "native"))
    today(150, patients[3], "type", clinician=second, location_index=1)
    _add_encounter(world, hospital, 0, patients[0], soon, video)
    _add_encounter(world, hospital, 1, patients[2], soon, None)
    _add_encounter(world, hospital, 2, patients[1], soon - timedelta(days=33), None)

    def on(day: int, hour: int, minute: int) -> datetime:
        date = local.date() + timedelta(days=day)
        return datetime.combine(date, time(hour, minute), ZoneInfo(hospital.time_zone))

    for day in range(1, 7):
        person = [patients[(day + n) % len(patients)] for n in range(5)]
        linked = book(world, hospital.key, person[0], start=on(day, 9, 0), clinician_key=first)
        with changing(world, hospital.key, linked, links=True) as resource:
            start, end = resource["start"], resource["end"]
            link_rooms(resource, f"{_OTHER_VENDOR}/p/7Qm", f"{_OTHER_VENDOR}/j/Zk4", start, end)
        book(world, hospital.key, person[1], start=on(day, 9, 30), kind="ordinary", clinician_key=first)
        book(world, hospital.key, person[2], start=on(day, 10, 0), kind="type", clinician_key=second,
             location_index=1, minutes=20)
        book(world, hospital.key, person[3], start=on(day, 13, 15), kind="type", clinician_key=third,
             department_index=1)
        book(world, hospital.key, person[4], start=on(day, 15, 45), clinician_key=third)
    book(world, hospital.key, None, start=on(1, 11, 0), kind="ordinary", clinician_key=first)
    for hour, status in ((9, "fulfilled"), (10, "noshow")):
        past = book(world, hospital.key, patients[1], start=on(-1, hour, 0), clinician_key=first)
        with changing(world, hospital.key, past) as resource:
            resource["status"] = status


def book(world: World, hospital_key: str, patient_key: str | None, *, start: datetime, kind: Kind = "native",
         clinician_key: str | None = None, department_index: int = 0, minutes: int = 30,
         location_index: int = 0) -> str:
    """Book an appointment, with the first clinician if none is named; returns its id.

    Without a patient the patient's participant has no actor, as odd rows of real schedules have.
    """
    hospital = world.hospitals[hospital_key]
    clinician = next((c for c in hospital.clinicians if c.key == clinician_key), hospital.clinicians[0])
    department = hospital.departments[department_index]
    with world.lock:
        kept = world.resources[hospital.ehr_tenant]
        position = next(world.bookings)
        resource: Json = {
            "resourceType": "Appointment",
            "id": str(_FIRST_IDS.get(hospital_key, _NEWCOMER_IDS)[0] + _STEP * position),
            "meta": {"versionId": "0-0" if kind == "native" else "0"},
            "status": "booked",
            "serviceCategory": [{"coding": [people.code_set(hospital, 16127, "11000", "Ambulatory")]}],
            "serviceType": [_service_type(hospital, kind, position)],
            "description": _SERVICES[kind], "minutesDuration": minutes,
            "participant": [
                {"actor": {"reference": f"Location/{department.location_ids[location_index]}",
                           "display": people.location_name(department, "AB"[location_index])},
                 "required": "required", "status": "accepted"},
                _performer(hospital, clinician),
                _patient(hospital, patient_key),
            ],
        }
        if kind == "native":
            _add_rooms(resource, 77010211 + 2 * position)
        else:
            resource["participant"].append(_equipment(hospital))
        kept["Appointment", resource["id"]] = resource
        move(world, hospital_key, resource["id"], start)
        return str(resource["id"])


def move(world: World, hospital_key: str, appointment_id: str, start: datetime) -> None:
    """Give the appointment another start; its id stays, as with a PATCH of the slot."""
    with changing(world, hospital_key, appointment_id) as resource:
        end = start + timedelta(minutes=resource["minutesDuration"])
        period = {"start": _second(start), "end": _second(end)}
        resource.update(period)
        resource["requestedPeriod"] = [period]
        type_code = resource["serviceType"][0]["coding"][0]["code"]
        place = resource["participant"][0]["actor"]["reference"].removeprefix("Location/")
        resource["slot"] = [{"reference": f"Slot/{type_code}-{place}-68112044-{resource['minutesDuration']}"}]


def cancel(world: World, hospital_key: str, appointment_id: str, reason: Json | None = None) -> None:
    """Cancel: the slot goes, meeting links lose their period; without a reason Millennium records code 0."""
    with changing(world, hospital_key, appointment_id) as resource:
        resource["status"] = "cancelled"
        no_reason = {"coding": [people.code_set(world.hospitals[hospital_key], 14229, "0")]}
        resource["cancelationReason"] = reason or no_reason
        resource.pop("slot", None)
        for room in resource.get("contained", []):
            for telecom in room.get("telecom", []):
                telecom.pop("period", None)


@contextmanager
def changing(world: World, hospital_key: str, appointment_id: str, *, links: bool = False) -> Iterator[Json]:
    """A copy of the appointment to change, stored at the end as its next version; KeyError if there is none.

    With `links` the second part of a composite version rises, else the first.
    """
    kept = world.resources[world.hospitals[hospital_key].ehr_tenant]
    with world.lock:
        resource = copy.deepcopy(kept["Appointment", appointment_id])
        yield resource
        version = [int(part) for part in resource["meta"]["versionId"].split("-")]
        version[1 if links else 0] += 1
        resource["meta"] = {"versionId": "-".join(map(str, version)), "lastUpdated": _second(world.now())}
        resource["extension"] = [{"url": f"{people.EXTENSIONS}/{name}",
                                  "valueBoolean": resource["status"] == "booked"}
                                 for name in ("is-cancelable", "is-reschedulable")]
        resource["text"] = _narrative(resource)
        kept["Appointment", appointment_id] = resource


def link_rooms(resource: Json, provider: str, patient: str, start: str, end: str) -> None:
    """Put meeting links into both rooms of a native video visit."""
    for room in resource["contained"]:
        link = patient if room["type"][0]["text"] == ROOMS[0] else provider
        room["telecom"] = [{"system": "url", "value": link, "period": {"start": start, "end": end}}]


def _service_type(hospital: Hospital, kind: Kind, position: int) -> Json:
    """Native visits have a type that is in nobody's list: their rooms alone must tell."""
    listed = hospital.video_visit_types
    code = {"native": str(int(listed[0]) + 11), "ordinary": str(int(listed[0]) + 77),
            "type": listed[position % len(listed)]}[kind]
    return {"coding": [
        people.code_set(hospital, 14249, code, _SERVICES[kind]),
        {"system": "http://snomed.info/sct", "code": "394581000",
         "display": "Community medicine (qualifier value)", "userSelected": False}], "text": _SERVICES[kind]}


def _performer(hospital: Hospital, clinician: Clinician) -> Json:
    return {"type": [
        {"coding": [people.code_set(hospital, 14250, "4574", "Resource")], "text": "Resource"},
        {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "PPRF",
                     "display": "primary performer"}]}],
        "actor": {"reference": f"Practitioner/{clinician.practitioner_id}",
                  "display": f"{clinician.family} MD, {clinician.given}"},
        "required": "required", "status": "accepted"}


def _patient(hospital: Hospital, patient_key: str | None) -> Json:
    actor = None
    if patient_key is not None:
        person = next(p for p in hospital.patients if p.key == patient_key)
        actor = {"reference": f"Patient/{person.patient_id}", "display": f"{person.family}, {person.given}"}
    return {"type": [{"coding": [people.code_set(hospital, 14250, "4572", "Patient")], "text": "Patient"}],
            "actor": actor, "required": "required", "status": "tentative"}


def _equipment(hospital: Hospital) -> Json:
    """A room or device: named only, with a role that Millennium calls 0."""
    return {"type": [{"coding": [people.code_set(hospital, 14250, "0")]}],
            "actor": {"display": "Exam Equipment 3"}, "required": "required", "status": "accepted"}


def _add_rooms(resource: Json, first_id: int) -> None:
    resource["contained"] = [{"resourceType": "HealthcareService", "id": str(first_id + n),
                              "type": [{"text": room}]}
                             for n, room in enumerate(ROOMS)]
    resource["participant"] += [{"type": [{"text": room}], "actor": {"reference": f"#{first_id + n}"},
                                 "status": "accepted"} for n, room in enumerate(ROOMS)]


def _add_encounter(world: World, hospital: Hospital, position: int, patient_key: str, start: datetime,
                   appointment_id: str | None) -> None:
    person = next(p for p in hospital.patients if p.key == patient_key)
    resource: Json = {
        "resourceType": "Encounter", "id": str(_FIRST_IDS.get(hospital.key, _NEWCOMER_IDS)[1] + _STEP * position),
        "meta": {"versionId": "1", "lastUpdated": people.instant(world.now())}, "status": "in-progress",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "subject": {"reference": f"Patient/{person.patient_id}",
                    "display": f"{person.family}, {person.given}"},
        "period": {"start": people.instant(start.astimezone(UTC))},
    }
    if appointment_id:
        resource["appointment"] = [{"reference": f"Appointment/{appointment_id}"}]
    world.resources[hospital.ehr_tenant]["Encounter", resource["id"]] = resource


def _narrative(resource: Json) -> Json:
    lines = [("Status", resource["status"].title()), ("Service Type", resource["description"])]
    if "contained" in resource:
        lines.append(("Video Visit", "Yes"))
    body = "".join(f"<p><b>{name}</b>: {html.escape(value)}</p>" for name, value in lines)
    return {"status": "generated",
            "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><p><b>Appointment</b></p>{body}</div>'}


def _second(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
