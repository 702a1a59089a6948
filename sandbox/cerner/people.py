"""The FHIR records of a hospital's people and places, in the form Millennium returns them.

Source: Cerner (Oracle Health) FHIR R4 documentation of Patient, Practitioner and Location. Telecoms are as
untidy as real ones: expired entries come back, formats vary, ranks tie, and one rank is a string.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sandbox.world import Clinician, Department, Hospital, Json, Person

EXTENSIONS = "https://fhir-ehr.cerner.com/r4/StructureDefinition"
_LANGUAGES = {"en": "English", "es": "Spanish", "da": "Danish", "de": "German"}


def instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def code_set(hospital: Hospital, number: int, code: str, display: str | None = None) -> Json:
    coding: Json = {"system": f"https://fhir.cerner.com/{hospital.ehr_tenant}/codeSet/{number}", "code": code}
    return coding | ({"display": display} if display else {}) | {"userSelected": True}


def _standard(system: str, code: str, display: str) -> Json:
    return {"system": system, "code": code, "display": display, "userSelected": False}


def _meta(now: datetime) -> Json:
    return {"versionId": "3", "lastUpdated": instant(now - timedelta(days=40))}


def patient(hospital: Hospital, person: Person, position: int, now: datetime) -> Json:
    """The Patient record; the second patient of each hospital has a reminder preference."""
    since, ended = instant(now - timedelta(days=2000)), instant(now - timedelta(days=500))
    mobile = _written(person.mobile, position)
    resource: Json = {
        "resourceType": "Patient", "id": person.patient_id, "meta": _meta(now),
        "identifier": [{
            "id": f"CI-{position}90011-0", "use": "usual",
            "type": {"coding": [code_set(hospital, 4, "10", "MRN"),
                                _standard("http://terminology.hl7.org/CodeSystem/v2-0203", "MR",
                                          "Medical record number")], "text": "MRN"},
            "system": "urn:oid:2.16.840.1.113883.6.1000", "value": person.mrn, "period": {"start": since}}],
        "active": True,
        "name": [{"id": f"CI-{position}77-0", "use": "official", "text": f"{person.family}, {person.given}",
                  "family": person.family, "given": [person.given], "period": {"start": since}}],
        "telecom": [
            _phone(person.expired_phone, "mobile", 1) | {"period": {"start": since, "end": ended}},
            _phone(person.home_phone, "home", 1) | {"period": {"start": since}},
            _phone(mobile, "mobile", "1" if position == 3 else 1) | {"period": {"start": ended}},
            _phone(mobile, "mobile", 2),
            {"id": f"CI-EM-{position}1-0", "system": "email", "value": person.email, "use": "home",
             "rank": 1},
        ],
        "gender": person.gender, "birthDate": person.birth_date, "deceasedBoolean": False,
        "communication": [{"language": {"coding": [
            code_set(hospital, 36, f"15{position}", _LANGUAGES[person.language]),
            _standard("urn:ietf:bcp:47", person.language, _LANGUAGES[person.language])],
            "text": _LANGUAGES[person.language]}, "preferred": True}],
    }
    if position == 1:
        resource["extension"] = [_reminders_by_mobile(hospital, now)]
    return resource


def _written(number: str, position: int) -> str:
    """The number as a registration desk might have typed it."""
    if number.startswith("+1"):
        area, exchange, line = number[2:5], number[5:8], number[8:]
        written = (f"{area}{exchange}{line}", f"+1 ({area}) {exchange}-{line}", f"{area}-{exchange}-{line}")
        return written[position % 3]
    local = number[3:]
    pairs = " ".join(local[i:i + 2] for i in range(0, len(local), 2))
    return (pairs, f"+45 {local}", f"0045 {pairs}")[position % 3]


def _phone(value: str, use: str, rank: int | str) -> Json:
    raw = {"url": "http://hl7.org/fhir/StructureDefinition/iso21090-TEL-address",
           "valueUrl": value.replace(" ", "")}
    return {"id": f"CI-PH-{use}-{rank}", "extension": [raw], "system": "phone", "value": value, "use": use,
            "rank": rank}


def _reminders_by_mobile(hospital: Hospital, now: datetime) -> Json:
    def choice(url: str, number: int, code: str, display: str, standard: Json) -> Json:
        coding = [code_set(hospital, number, code, display), standard]
        return {"url": url, "valueCodeableConcept": {"coding": coding, "text": display}}

    return {"id": "59431111", "url": f"{EXTENSIONS}/communication-preference", "extension": [
        choice("communication-type", 4640016, "485602703", "Appointment Reminders",
               _standard("http://terminology.hl7.org/CodeSystem/communication-topic", "appointment-reminder",
                         "Appointment Reminder")),
        choice("contact-method", 23042, "4054467", "Telephone",
               _standard("http://hl7.org/fhir/contact-point-system", "phone", "Phone")),
        choice("contact-type", 43, "4149712", "MOBILE",
               _standard("http://hl7.org/fhir/contact-point-use", "mobile", "Mobile")),
        {"url": "verified-datetime", "valueDateTime": instant(now - timedelta(days=90))}]}


def practitioner(clinician: Clinician, now: datetime) -> Json:
    return {
        "resourceType": "Practitioner", "id": clinician.practitioner_id, "meta": _meta(now), "active": True,
        "identifier": [{"type": {"text": "PRSNL PRIMARY IDENTIFIER"}, "value": clinician.username}],
        "name": [{"use": "usual", "text": f"{clinician.family}, {clinician.given}",
                  "family": clinician.family, "given": [clinician.given]}],
    }


def location(department: Department, location_id: str, letter: str, now: datetime) -> Json:
    return {
        "resourceType": "Location", "id": location_id, "meta": _meta(now), "status": "active",
        "name": location_name(department, letter), "mode": "instance",
        "physicalType": {"coding": [_standard(
            "http://terminology.hl7.org/CodeSystem/location-physical-type", "bu", "Building")],
            "text": "Ambulatory(s)"},
        "managingOrganization": {"reference": "Organization/675844"},
    }


def location_name(department: Department, letter: str) -> str:
    return f"{department.name} {letter}"
