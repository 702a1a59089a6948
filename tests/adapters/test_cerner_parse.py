"""Reading Cerner's FHIR resources: its own habits, and what no server should send."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from connector.adapters.cerner import capabilities, parse
from connector.adapters.cerner.clean import Unreadable
from connector.ehr import ContactPoint

BASE = "https://fhir-ehr.cerner.example/r4/T"
Json = dict[str, Any]
PARSERS: dict[str, Callable[[Json], tuple[Any, list[str]]]] = {
    "Appointment": lambda raw: parse.appointment(raw, BASE),
    "Patient": lambda raw: parse.patient(raw, BASE),
    "Practitioner": lambda raw: parse.practitioner(raw, BASE),
    "Location": lambda raw: parse.location(raw, BASE),
    "Encounter": lambda raw: parse.encounter(raw, BASE),
    "CapabilityStatement": capabilities.capability,
}


@pytest.mark.parametrize(
    "junk", [None, [], "x", 7, {}, {"resourceType": "Basic"}, {"resourceType": "Patient", "id": "../x"}]
)
@pytest.mark.parametrize("kind", PARSERS)
def test_junk_is_unreadable(kind: str, junk: Any) -> None:
    with pytest.raises(Unreadable) as unreadable:
        PARSERS[kind](junk)
    assert str(unreadable.value) == ""


def test_unreadable_errors_and_dropped_names_hold_no_values() -> None:
    raw = patient() | {"birthDate": "secret-1984", "telecom": [{"system": "phone", "value": ["secret"]}]}
    value, dropped = parse.patient(raw, BASE)
    assert value.birth_date is None
    assert sorted(dropped) == ["Patient.birthDate", "Patient.telecom.value"]


@pytest.mark.parametrize("end", ["9999-12-31T23:59:59Z", "2026-11-30T15:00:00Z", "2026-11-24T14:59:59Z",
                                 "0001-01-01T00:00:00Z"])
def test_an_end_that_no_visit_has_is_no_end(end: str) -> None:
    """Its rows would never be forgotten, and what is added to the year 9999 overflows."""
    value, dropped = parse.appointment(appointment() | {"start": "2026-11-24T15:00:00Z", "end": end}, BASE)
    assert value.start is not None and value.end is None and dropped == ["Appointment.end"]


@pytest.mark.parametrize("start", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"])
def test_a_start_at_the_end_of_time_is_no_start(start: str) -> None:
    value, dropped = parse.appointment(appointment() | {"start": start}, BASE)
    assert value.start is None and dropped == ["Appointment.start"]


# Cerner's habits


def appointment() -> Json:
    code_set = "https://fhir.cerner.com/T/codeSet"
    performer = {"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "PPRF"}
    rooms = [
        {"resourceType": "HealthcareService", "id": "1", "type": [{"text": f"{who} Virtual Meeting Room"}]}
        for who in ("Patient", "Provider")
    ]
    return {
        "resourceType": "Appointment",
        "id": "5150231",
        "meta": {"versionId": "2-1"},
        "contained": rooms,
        "status": "booked",
        "serviceType": [
            {
                "coding": [
                    {"system": f"{code_set}/14249", "code": "2581100457", "userSelected": True},
                    {"system": "http://snomed.info/sct", "code": "394581000"},
                ]
            }
        ],
        "start": "2026-03-04T15:00:00Z",
        "end": "2026-03-04T15:30:00.000Z",
        "participant": [
            {"actor": {"reference": "Location/21500012"}, "required": "required", "status": "accepted"},
            {"actor": {"reference": "Practitioner/1"}, "type": [{"coding": [{"code": "0"}]}]},
            {"actor": None, "status": "accepted"},
            {"actor": {"display": "Trolley 4"}, "status": "accepted"},
            {
                "type": [{"text": "Resource"}, {"coding": [performer]}],
                "actor": {"reference": f"{BASE}/Practitioner/12990411"},
                "status": "accepted",
            },
            {"actor": {"reference": "Patient/13200877/_history/3"}, "status": "tentative"},
            {"type": [{"text": "Patient Virtual Meeting Room"}], "actor": {"reference": "#1"}},
        ],
    }


def patient() -> Json:
    return {"resourceType": "Patient", "id": "13200877"}


def test_a_native_video_visit() -> None:
    value, dropped = parse.appointment(appointment(), BASE)
    assert dropped == []
    assert (value.id, value.version, value.status) == ("5150231", "2-1", "booked")
    assert value.start == datetime(2026, 3, 4, 15, 0, tzinfo=UTC)
    assert value.end == datetime(2026, 3, 4, 15, 30, tzinfo=UTC)
    assert value.patient_ids == ("13200877",)
    assert value.practitioner_ids == ("12990411", "1")
    assert value.location_ids == ("21500012",)
    assert value.service_types == ("2581100457",)
    assert value.has_virtual_room


def test_without_rooms_only_the_appointment_type_says_video() -> None:
    raw = appointment()
    del raw["contained"]
    value, _ = parse.appointment(raw, BASE)
    assert not value.has_virtual_room
    assert value.is_video(frozenset({"2581100457"})) and not value.is_video(frozenset({"394581000"}))


def test_another_servers_patient_is_not_ours() -> None:
    raw = appointment()
    raw["participant"] = [{"actor": {"reference": "https://elsewhere.example/r4/T/Patient/13200877"}}]
    value, dropped = parse.appointment(raw, BASE)
    assert value.patient_ids == ()
    assert dropped == ["Appointment.participant.actor.reference"]


def test_a_mangled_appointment_keeps_its_readable_rest() -> None:
    raw = appointment() | {"start": 17, "participant": "none", "serviceType": [None, "x"]}
    value, dropped = parse.appointment(raw, BASE)
    assert (value.start, value.patient_ids, value.service_types) == (None, (), ())
    assert value.end is not None and value.has_virtual_room
    assert sorted(dropped) == ["Appointment.participant", "Appointment.serviceType", "Appointment.start"]


@pytest.mark.parametrize("change", [{"status": "maybe"}, {"status": None}, {"id": None}, {"id": "a/b"}])
def test_an_appointment_without_id_or_status_is_unreadable(change: Json) -> None:
    with pytest.raises(Unreadable):
        parse.appointment(appointment() | change, BASE)


def test_contacts_keep_rank_and_period() -> None:
    raw = patient() | {
        "telecom": [
            {"system": "phone", "value": "5550100142", "use": "mobile", "rank": "2"},
            {"system": "phone", "value": "5550100143", "rank": 0, "period": {"end": "2020-02"}},
            {"system": "email", "value": "m@example.com", "period": {"start": "2022-03-30T19:31:11.000Z"}},
            {"system": "phone", "value": ""},
            {"system": "phone", "value": "5550100144", "period": {"end": "9999-12-31"}},
        ]
    }
    value, dropped = parse.patient(raw, BASE)
    since = datetime(2022, 3, 30, 19, 31, 11, tzinfo=UTC)
    assert value.contacts == (
        ContactPoint("phone", "5550100142", "mobile", 2, None, None),
        ContactPoint("phone", "5550100143", None, None, None, datetime(2020, 3, 1, tzinfo=UTC)),
        ContactPoint("email", "m@example.com", None, None, since, None),
        ContactPoint("phone", "5550100144", None, None, None, None),
    )
    assert sorted(dropped) == ["Patient.telecom.rank", "Patient.telecom.value"]


@pytest.mark.parametrize(
    ("method", "use", "channels"),
    [
        ("phone", "mobile", {"sms"}),
        ("phone", None, {"sms"}),
        ("phone", "home", set()),
        ("email", None, {"email"}),
        ("fax", None, set()),
    ],
)
def test_the_communication_preference(method: str, use: str | None, channels: set[str]) -> None:
    def part(url: str, system: str, code: str) -> Json:
        return {"url": url, "valueCodeableConcept": {"coding": [{"system": system, "code": code}]}}

    topic = "http://terminology.hl7.org/CodeSystem/communication-topic"
    parts = [
        part("communication-type", topic, "appointment-reminder"),
        part("contact-method", "http://hl7.org/fhir/contact-point-system", method),
        {"url": "verified-datetime", "valueDateTime": "2025-04-13T20:00:00.000Z"},
    ]
    if use:
        parts.append(part("contact-type", "http://hl7.org/fhir/contact-point-use", use))
    url = "https://fhir-ehr.cerner.com/r4/StructureDefinition/communication-preference"
    other = {"url": "http://example.org/other", "valueString": ""}
    value, dropped = parse.patient(patient() | {"extension": [other, {"url": url, "extension": parts}]}, BASE)
    assert value.reminder_channels == channels
    assert dropped == []
    assert parse.patient(patient() | {"extension": [other]}, BASE)[0].reminder_channels is None


def test_a_merged_patient_points_at_its_successor() -> None:
    link = {"type": "replaced-by", "other": {"reference": "Patient/13200999"}}
    value, _ = parse.patient(patient() | {"active": False, "link": [link], "name": [{"_text": {}}]}, BASE)
    assert (value.active, value.replaced_by, value.display_name) == (False, "13200999", None)


@pytest.mark.parametrize(
    ("change", "active", "deceased"),
    [
        ({}, True, False),
        ({"deceasedBoolean": False, "active": True}, True, False),
        ({"deceasedBoolean": True}, True, True),
        ({"deceasedDateTime": "2020"}, True, True),
        ({"deceasedDateTime": 5}, True, True),
        ({"deceasedBoolean": "yes"}, True, True),
        ({"active": "no"}, False, False),
    ],
)
def test_doubt_about_life_or_activity_counts_against_messaging(change: Json, active: bool, deceased: bool) -> None:
    value, _ = parse.patient(patient() | change, BASE)
    assert (value.active, value.deceased) == (active, deceased)


def test_record_number_language_and_name() -> None:
    mrn = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]}
    raw = patient() | {
        "identifier": [
            {"use": "old", "type": mrn, "value": "1"},
            {"type": {"text": "FIN"}, "value": "2"},
            {"use": "usual", "type": mrn, "value": "600431"},
        ],
        "communication": [
            {
                "language": {
                    "coding": [
                        {"system": "https://fhir.cerner.com/T/codeSet/36", "code": "2553237401"},
                        {"system": "urn:ietf:bcp:47", "code": "es"},
                    ]
                },
                "preferred": True,
            }
        ],
        "name": [
            {"use": "old", "text": "Former"},
            {"use": "official", "text": "TESTON, MIRA", "period": {"start": "2021-01-01T00:00:00.000Z"}},
        ],
        "birthDate": "1984-05-06",
    }
    value, dropped = parse.patient(raw, BASE)
    assert dropped == []
    assert (value.medical_record_number, value.language, value.display_name) == (
        "600431",
        "es",
        "TESTON, MIRA",
    )
    assert value.birth_date == date(1984, 5, 6)
    assert value.born_by == value.birth_date
    for recorded, last in (("1984", date(1984, 12, 31)), ("1984-02", date(1984, 2, 29))):
        period, dropped = parse.patient(patient() | {"birthDate": recorded}, BASE)
        assert (period.birth_date, period.born_by, dropped) == (None, last, ["Patient.birthDate"])
