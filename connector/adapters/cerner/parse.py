"""Cerner's FHIR resources as connector.ehr values.

Traps of the vendor are noted where they are met (vendor documentation: fhir.cerner.com, R4 resources).
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, get_args

from connector import ehr
from connector.adapters.cerner.clean import Always, Shape, Unreadable, clean

RESOURCE_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
_REFERENCE = re.compile(
    r"(Patient|Practitioner|Location|Appointment)/([A-Za-z0-9.-]{1,64})(?:/_history/[A-Za-z0-9.-]+)?"
)
_STATUSES = frozenset(get_args(ehr.AppointmentStatus))
_ROOM_OF: dict[str, Literal["patient", "provider"]] = {
    "patient virtual meeting room": "patient",
    "provider virtual meeting room": "provider",
}
_TYPES = "/codeSet/14249"
_MRN = ("http://terminology.hl7.org/CodeSystem/v2-0203", "MR")
_REMINDER = ("http://terminology.hl7.org/CodeSystem/communication-topic", "appointment-reminder")
_PREFERENCE = "/StructureDefinition/communication-preference"

_YEARS = range(1900, 2200)
_LONGEST = timedelta(days=1)
"""Of an appointment."""

_CODING: Shape = {"system": str, "code": str}
_CONCEPT: Shape = {"coding": [_CODING], "text": str}
_REFERS: Shape = {"reference": str}
_PERIOD: Shape = {"start": str, "end": str}
_NAME: Shape = {"use": str, "text": str, "family": str, "given": [str], "period": _PERIOD}
_APPOINTMENT: Shape = {
    "id": str,
    "meta": {"versionId": str, "lastUpdated": str},
    "status": str,
    "start": str,
    "end": str,
    "serviceType": [{"coding": [{**_CODING, "display": str}], "text": str}],
    "contained": [
        {
            "resourceType": Always("HealthcareService"),
            "type": [{"text": str}],
            "telecom": [{"system": str, "value": str, "period": _PERIOD}],
        }
    ],
    "participant": [{"type": [{"coding": [_CODING]}], "actor": _REFERS, "status": Always("accepted")}],
}
_PATIENT: Shape = {
    "id": str,
    "active": bool,
    "name": [_NAME],
    "telecom": [{"system": str, "value": str, "use": str, "rank": int, "period": _PERIOD}],
    "gender": str,
    "birthDate": str,
    "identifier": [{"use": str, "type": _CONCEPT, "value": str, "period": _PERIOD}],
    "communication": [{"language": {"coding": [_CODING]}, "preferred": bool}],
    "link": [{"type": str, "other": _REFERS}],
    "extension": [{"url": str, "extension": [{"url": str, "valueCodeableConcept": _CONCEPT}]}],
}
_APPOINTMENT_DEFAULTS: Shape = {"participant": [{"status": "accepted"}]}
_ENCOUNTER: Shape = {
    "id": str,
    "status": Always("unknown"),
    "class": Always({"code": "VR"}),
    "subject": _REFERS,
    "appointment": [_REFERS],
}


def appointment(raw: Any, base: str) -> tuple[ehr.Appointment, list[str]]:
    """Participants are told apart by the record they point at.

    Cerner's Location participants carry no `type`, equipment has no reference, and an actor may be null.
    """
    if isinstance(raw, dict) and isinstance(raw.get("contained"), list):
        rooms = [c for c in raw["contained"] if not isinstance(c, dict) or c.get("resourceType") == "HealthcareService"]
        raw = {**raw, "contained": rooms}
    model, dropped = clean("Appointment", raw, _APPOINTMENT, _APPOINTMENT_DEFAULTS)
    if not _usable(model) or model.status not in _STATUSES:
        raise Unreadable
    actors: dict[str, list[str]] = {"Patient": [], "Practitioner": [], "Location": []}
    for participant in model.participant:
        kind, identity = _refers_to(participant.actor, base, "Appointment.participant.actor.reference", dropped)
        if kind in actors and identity not in actors[kind]:
            first = kind == "Practitioner" and any(code == "PPRF" for _, code in _codes(participant.type))
            actors[kind].insert(0 if first else len(actors[kind]), identity)
    start, end = _instant(model.start, "Appointment.start", dropped), _instant(model.end, "Appointment.end", dropped)
    if start and end and not timedelta() <= end - start <= _LONGEST:
        dropped.append("Appointment.end")  # of a visit that is never over, nothing would be forgotten
        end = None
    return ehr.Appointment(
        id=model.id,
        version=(model.meta.versionId if model.meta else None) or "",
        status=model.status,
        start=start,
        end=end,
        patient_ids=tuple(actors["Patient"]),
        practitioner_ids=tuple(actors["Practitioner"]),
        location_ids=tuple(actors["Location"]),
        service_types=tuple(code for system, code in _codes(model.serviceType) if system.endswith(_TYPES)),
        service_names=tuple(_names(model.serviceType)),
        updated=_instant(model.meta.lastUpdated, "Appointment.meta.lastUpdated", dropped) if model.meta else None,
        has_virtual_room=any(True for _ in _rooms(model.contained)),
        room_links=tuple(
            ehr.RoomLink(
                kind,
                telecom.value,
                _instant(telecom.period.start, "Appointment.contained.telecom.period.start", dropped)
                if telecom.period
                else None,
                _instant(telecom.period.end, "Appointment.contained.telecom.period.end", dropped)
                if telecom.period
                else None,
            )
            for kind, room in _rooms(model.contained)
            for telecom in room.telecom or ()
            if telecom.value
        ),
    ), dropped


def _rooms(contained: Any) -> Iterable[tuple[Literal["patient", "provider"], Any]]:
    """By text, never by index: the order read is not the order that PATCH writes to."""
    for room in contained or ():
        for concept in room.type or ():
            kind = _ROOM_OF.get((concept.text or "").strip().lower())
            if kind:
                yield kind, room


def patient(raw: Any, base: str) -> tuple[ehr.Patient, list[str]]:
    """An unreadable `active` or `deceased[x]` counts against messaging: we do not write to the dead."""
    if isinstance(raw, dict) and isinstance(raw.get("extension"), list):
        raw = {**raw, "extension": _preferences(raw["extension"])}
    model, dropped = clean("Patient", raw, _PATIENT)
    if not _usable(model):
        raise Unreadable
    if raw.get("deceasedBoolean") not in (None, True, False):
        dropped.append("Patient.deceasedBoolean")
    links = [entry for entry in model.link or () if entry.type == "replaced-by"]
    replacing = [_refers_to(entry.other, base, "Patient.link.other.reference", dropped) for entry in links]
    born = model.birthDate if isinstance(model.birthDate, date) else None
    if model.birthDate is not None and born is None:
        dropped.append("Patient.birthDate")  # a year or month only
    born_by = _last_day(model.birthDate) if isinstance(model.birthDate, str) else born
    return ehr.Patient(
        id=model.id,
        active=model.active is not False and "Patient.active" not in dropped,
        deceased=raw.get("deceasedBoolean") not in (None, False) or raw.get("deceasedDateTime") is not None,
        replaced_by=next((identity for kind, identity in replacing if kind == "Patient"), None),
        display_name=_display_name(model.name),
        birth_date=born,
        gender=model.gender,
        medical_record_number=_medical_record_number(model.identifier),
        language=_language(model.communication),
        contacts=tuple(_contacts(model.telecom, dropped)),
        reminder_channels=_reminder_channels(model.extension),
        born_by=born_by,
    ), dropped


def _last_day(period: str) -> date | None:
    """Of a year or a month (FHIR R4, date)."""
    year, _, month = period.partition("-")
    try:
        return date(int(year), int(month or 12), monthrange(int(year), int(month or 12))[1])
    except ValueError:
        return None


def encounter(raw: Any, base: str) -> tuple[ehr.Encounter, list[str]]:
    model, dropped = clean("Encounter", raw, _ENCOUNTER)
    if not _usable(model):
        raise Unreadable
    kind, subject = _refers_to(model.subject, base, "Encounter.subject.reference", dropped)
    path = "Encounter.appointment.reference"
    linked = [_refers_to(entry, base, path, dropped) for entry in model.appointment or ()]
    return ehr.Encounter(
        id=model.id,
        patient_id=subject if kind == "Patient" else None,
        appointment_ids=tuple(identity for kind, identity in linked if kind == "Appointment"),
    ), dropped


def practitioner(raw: Any, base: str) -> tuple[ehr.Practitioner, list[str]]:
    model, dropped = clean("Practitioner", raw, {"id": str, "name": [_NAME]})
    if not _usable(model):
        raise Unreadable
    return ehr.Practitioner(id=model.id, display_name=_display_name(model.name)), dropped


def location(raw: Any, base: str) -> tuple[ehr.Location, list[str]]:
    model, dropped = clean("Location", raw, {"id": str, "name": str})
    if not _usable(model):
        raise Unreadable
    return ehr.Location(id=model.id, name=model.name), dropped


def _usable(model: Any) -> bool:
    return isinstance(model.id, str) and RESOURCE_ID.fullmatch(model.id) is not None


def _refers_to(reference: Any, base: str, path: str, dropped: list[str]) -> tuple[str, str]:
    """Type and id of a reference to this server, else two empty strings."""
    text = (reference.reference if reference else None) or ""
    match = _REFERENCE.fullmatch(text.removeprefix(base + "/"))
    if match is None and "://" in text:
        dropped.append(path)  # another server's record: the same id would be somebody else here
    return (match[1], match[2]) if match else ("", "")


def _codes(concepts: Any) -> Iterable[tuple[str, str]]:
    for concept in concepts or ():
        for coding in concept.coding or ():
            if coding.code:
                yield coding.system or "", coding.code


def _names(concepts: Any) -> Iterable[tuple[str, str]]:
    for concept in concepts or ():
        for coding in concept.coding or ():
            name = coding.display or concept.text
            if coding.code and name and (coding.system or "").endswith(_TYPES):
                yield coding.code, name


def _instant(value: Any, path: str, dropped: list[str]) -> datetime | None:
    """The model leaves what it cannot convert (a leap second) as text; what is added to the year 9999 overflows."""
    moment = _moment(value) if isinstance(value, datetime) else None
    if moment is not None and moment.year in _YEARS:
        return moment
    if value is not None:
        dropped.append(path)
    return None


def _moment(value: Any, *, until: bool = False) -> datetime | None:
    """A FHIR dateTime in UTC; without a time the whole day, month or year, so as an end its last moment."""
    try:
        if isinstance(value, datetime):
            return value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)
        if value is None:
            return None
        year, month, day = (*map(int, str(value).split("-")), 0, 0)[:3]
        if until:
            year, month, day = _following(year, month, day)
        return datetime(year, month or 1, day or 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        return None  # the years 0000 and 9999: no bound


def _following(year: int, month: int, day: int) -> tuple[int, int, int]:
    if day:
        after = date(year, month, day) + timedelta(days=1)
        return after.year, after.month, after.day
    if month:
        return (year + 1, 1, 1) if month == 12 else (year, month + 1, 1)
    return year + 1, 1, 1


def _display_name(names: Any) -> str | None:
    """The current official name, then the usual one; merged patients have none (data-absent)."""
    uses = {"official": 0, "usual": 1, None: 2}
    for name in sorted(names or (), key=lambda n: (bool(n.period and n.period.end), uses.get(n.use, 3))):
        text = name.text or " ".join([*(given for given in name.given or () if given), name.family or ""]).strip()
        if text:
            return str(text)
    return None


def _medical_record_number(identifiers: Any) -> str | None:
    numbers = [
        entry
        for entry in identifiers or ()
        if entry.value
        and entry.use != "old"
        and entry.type
        and (_MRN in _codes([entry.type]) or entry.type.text == "MRN")
    ]
    numbers.sort(key=lambda entry: (bool(entry.period and entry.period.end), entry.use != "usual"))
    return numbers[0].value if numbers else None


def _language(communications: Any) -> str | None:
    """Cerner codes a language in its own code set 36 and beside it in BCP 47, which alone is portable."""
    for entry in sorted(communications or (), key=lambda entry: entry.preferred is not True):
        for system, code in _codes([entry.language]):
            if system == "urn:ietf:bcp:47":
                return code
    return None


def _contacts(telecom: Any, dropped: list[str]) -> Iterable[ehr.ContactPoint]:
    """Phones and e-mail addresses, with the expired ones that Cerner returns: the caller knows the day."""
    for point in telecom or ():
        if point.system not in ("phone", "email") or not point.value:
            continue
        start, end = (point.period.start, point.period.end) if point.period else (None, None)
        yield ehr.ContactPoint(
            system=point.system,
            value=point.value,
            use=point.use,
            rank=point.rank,
            valid_from=_moment(start),
            valid_until=_moment(end, until=True),
        )


def _preferences(extensions: list[Any]) -> list[Any]:
    """Of all extensions only communication-preference, and of that only its three coded parts."""
    parts = ("communication-type", "contact-method", "contact-type")
    kept: list[Any] = []
    for extension in extensions:
        if not isinstance(extension, dict):
            kept.append(extension)  # for clean() to drop by name
        elif str(extension.get("url", "")).endswith(_PREFERENCE):
            nested = extension.get("extension")
            if isinstance(nested, list):
                nested = [e for e in nested if not isinstance(e, dict) or e.get("url") in parts]
            kept.append({**extension, "extension": nested})
    return kept


def _reminder_channels(extensions: Any) -> frozenset[Any] | None:
    """Channels recorded for appointment reminders.

    A mobile or unspecified phone reads as SMS; a home or work phone is a wish to be called.
    """
    channels: set[str] | None = None
    for extension in extensions or ():
        parts = {part.url: part.valueCodeableConcept for part in extension.extension or ()}
        if _REMINDER not in _codes([parts.get("communication-type")] if parts.get("communication-type") else ()):
            continue
        channels = channels or set()
        methods, types = (
            {code for _, code in _codes([parts[k]] if parts.get(k) else ())} for k in ("contact-method", "contact-type")
        )
        if "email" in methods:
            channels.add("email")
        if methods & {"phone", "sms"} and not types & {"home", "work"}:
            channels.add("sms")
    return None if channels is None else frozenset(channels)
