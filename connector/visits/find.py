"""Which appointment a launch is about. Cerner puts no appointment into the launch context.

Through the encounter when it is linked, else the patient's video visits of the day, else the clinician's; in doubt the
clinician chooses.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from connector import clock
from connector.ehr import Appointment, Patient
from connector.errors import PermanentError
from connector.tenants import Connection

if TYPE_CHECKING:
    from connector.adapters.cerner import FhirReader
    from connector.launch import VisitSession

LIVE = ("booked", "arrived", "checked-in", "fulfilled")
GONE = ("cancelled", "noshow", "entered-in-error")


AHEAD = timedelta(days=8)
"""How far the patient's next visit is looked for; a clinician's schedule is read for today alone."""


@dataclass(frozen=True)
class Candidates:
    """What the launch may be about: `chosen` when there is no doubt, else `others` to choose from; and when there is
    neither, what there is instead."""

    chosen: Appointment | None
    others: tuple[Appointment, ...]
    patient: Patient | None
    cancelled: Appointment | None = None
    """A video visit of today that is cancelled."""
    in_person: Appointment | None = None
    """An appointment of today that is no video visit."""
    ahead: Appointment | None = None
    """The next video visit after today."""


def find_visit(session: VisitSession, reader: FhirReader, wanted: str | None = None) -> Candidates:
    """Read the visit live. `wanted` is an appointment id chosen before (from the session, or picked by the clinician).

    At most three reads in a row (encounter, appointment, search), the patient beside them. Raises TransientError or
    PermanentError of the EHR, also when nothing was found and something could not be read.
    """
    context, connection = session.context, session.connection
    with ThreadPoolExecutor(max_workers=2) as pool:
        patient = pool.submit(_patient, reader, context.patient_id)
        remembered = wanted or context.appointment_id
        if remembered is None and context.encounter_id:
            remembered = _of_encounter(reader, context.encounter_id, context.patient_id)
        if remembered:
            chosen = _read(reader, remembered)
            if chosen and _fits(
                chosen,
                connection,
                context.patient_id,
                by_choice=wanted is not None or context.appointment_id is not None,
            ):
                return _of(reader, chosen, patient.result())
        found = _search(reader, session)
        fitting = tuple(a for a in found if _fits(a, connection, context.patient_id, by_choice=False))
        if len(fitting) == 1:
            return _of(reader, fitting[0], patient.result())
        return _instead(Candidates(None, fitting, patient.result()), found, connection)


def _of(reader: FhirReader, chosen: Appointment, patient: Patient | None) -> Candidates:
    """With the visit's own patient where no chart is open: a page must say whose visit it shows."""
    if patient is None and len(chosen.patient_ids) == 1:
        patient = _patient(reader, chosen.patient_ids[0])
    return Candidates(chosen, (), patient)


def practitioner_of(fhir_user: str) -> str | None:
    """The Practitioner id of an EHR user; portal users and some staff have none."""
    kind, _, identity = fhir_user.rpartition("/")
    return identity if kind.endswith("Practitioner") else None


def zone_of(appointment: Appointment, connection: Connection) -> ZoneInfo:
    """As `zone_named`, of the department of the appointment's location."""
    department = connection.department_of(appointment.location_ids)
    return zone_named(department.name if department else "", connection)


def zone_named(name: str, connection: Connection) -> ZoneInfo:
    """A department's zone; the first department's when the location is in none, or not known."""
    named = [one for one in connection.departments if one.name == name] or list(connection.departments[:1])
    return ZoneInfo(named[0].time_zone if named else "UTC")


def _patient(reader: FhirReader, patient_id: str | None) -> Patient | None:
    if patient_id is None:
        return None
    found = reader.patients_by_id((patient_id,)).items
    return found[0] if found else None


def _of_encounter(reader: FhirReader, encounter_id: str, patient_id: str | None) -> str | None:
    try:
        encounter = reader.encounter(encounter_id)
    except PermanentError:
        return None
    if patient_id is not None and encounter.patient_id not in (None, patient_id):
        return None
    return encounter.appointment_ids[0] if len(encounter.appointment_ids) == 1 else None


def _read(reader: FhirReader, appointment_id: str) -> Appointment | None:
    try:
        return reader.appointment(appointment_id)
    except PermanentError:
        return None


def _fits(found: Appointment, connection: Connection, patient_id: str | None, *, by_choice: bool) -> bool:
    """Same patient always; today, video and live unless the clinician chose it."""
    if patient_id is not None and patient_id not in found.patient_ids:
        return False
    if not found.is_video(connection.video_codes):
        return False
    return by_choice or (is_today(found, connection) and found.status in LIVE)


def is_today(found: Appointment, connection: Connection) -> bool:
    if found.start is None:
        return False
    zone = zone_of(found, connection)
    return found.start.astimezone(zone).date() == clock.now().astimezone(zone).date()


def _search(reader: FhirReader, session: VisitSession) -> tuple[Appointment, ...]:
    """The patient's appointments, or the clinician's of today when the chart was opened on nobody, by start."""
    start, end = around_today()
    patient_id, user_id = session.context.patient_id, practitioner_of(session.context.fhir_user)
    if patient_id is not None:
        found = reader.search_appointments(patient_id=patient_id, start=start, end=start + AHEAD)
    elif user_id is not None:
        found = reader.search_appointments(practitioner_id=user_id, start=start, end=end)
    else:
        return ()
    # a server that ignored the parameter would hand us everybody
    ours = [a for a in found.items if patient_id in a.patient_ids or (not patient_id and user_id in a.practitioner_ids)]
    fitting = [a for a in ours if _fits(a, session.connection, patient_id, by_choice=False)]
    if not fitting and not found.complete:
        raise PermanentError("cerner.unreadable")  # what could not be read may be the visit: never "no visit today"
    return tuple(sorted(ours, key=lambda a: a.start or start))


def _instead(none: Candidates, found: tuple[Appointment, ...], connection: Connection) -> Candidates:
    """Why there is no visit to show, as far as the schedule tells."""
    video = [a for a in found if a.is_video(connection.video_codes)]
    now = clock.now()
    return replace(
        none,
        cancelled=next((a for a in video if a.status in GONE and is_today(a, connection)), None),
        in_person=next((a for a in found if a not in video and a.status in LIVE and is_today(a, connection)), None),
        ahead=next((a for a in video if a.status in LIVE and a.start and a.start > now), None),
    )


def around_today() -> tuple[datetime, datetime]:
    """A window that holds today in every time zone; `is_today` then decides in the department's."""
    now = clock.now()
    return now - timedelta(hours=26), now + timedelta(hours=26)
