"""Reading FHIR: searches over all pages, broken pages, tokens that age; nothing leaves the base."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import flask
import pytest

from connector.adapters.cerner import (
    Cerner,
    fhir,
    scopes,
)
from connector.adapters.cerner.fhir import FhirReader
from connector.errors import PermanentError, TransientError
from sandbox.cast import HARBOR
from sandbox.cerner import appointments
from sandbox.world import World
from tests.adapters.cerner_world import SYSTEM, OtherServer, Simulated
from tests.adapters.serving import shown


@pytest.fixture
def reader(simulated: Simulated, cerner: Cerner) -> FhirReader:
    base = simulated.base(HARBOR)
    return cerner.reader(base, partial(cerner.system_token, base, SYSTEM, scopes("system", "v1")))


def week(world: World) -> tuple[datetime, datetime]:
    return world.now() - timedelta(days=2), world.now() + timedelta(days=9)


def test_a_week_of_appointments_over_all_pages(simulated: Simulated, reader: FhirReader) -> None:
    world = simulated.world
    start, end = week(world)
    zone = HARBOR.departments[0].location_ids
    for n in range(130):
        kind = ("native", "type", "ordinary")[n % 3]
        appointments.book(world, "harbor", HARBOR.patients[0].key, start=world.now() + timedelta(minutes=n), kind=kind)  # type: ignore[arg-type]
    kept = [row for (kind, _), row in world.resources[HARBOR.ehr_tenant].items() if kind == "Appointment"]
    expected = {
        row["id"]
        for row in kept
        if any(p.get("actor", {}).get("reference", "")[9:] in zone for p in row["participant"] if p.get("actor"))
    }
    for mischief in ((), ("repeat_across_pages",)):
        world.mischief.update(mischief)
        found = reader.search_appointments(location_ids=zone, start=start, end=end)
        assert {item.id for item in found.items} == expected and len(found.items) == len(expected) > 100
        assert found.complete and not found.unreadable and not found.dropped_fields
    rooms = {row["id"] for row in kept if "contained" in row}
    assert {item.id for item in found.items if item.has_virtual_room} == rooms & expected
    practitioner = HARBOR.clinicians[0].practitioner_id
    own = reader.search_appointments(practitioner_id=practitioner, start=start, end=end)
    assert own.items and all(practitioner in item.practitioner_ids for item in own.items)
    patient = HARBOR.patients[0].patient_id
    booked = reader.search_appointments(patient_id=patient, start=start, end=end, statuses=["booked"])
    assert booked.items and {(item.status, item.patient_ids) for item in booked.items} == {("booked", (patient,))}


def test_records_by_id(simulated: Simulated, reader: FhirReader) -> None:
    ids = [person.patient_id for person in HARBOR.patients]
    patients = reader.patients_by_id([*ids, ids[0], "99999999", *(f"none-{n}" for n in range(60))])
    assert [item.id for item in patients.items] == ids and patients.complete
    mira = patients.items[0]
    assert mira.medical_record_number == HARBOR.patients[0].mrn
    assert str(mira.birth_date) == HARBOR.patients[0].birth_date and mira.language == "en"
    assert any(c.valid_until and c.valid_until < simulated.world.now() for c in mira.contacts), "expired, yet there"
    assert reader.patient(ids[1]).id == ids[1]
    locations = HARBOR.departments[0].location_ids
    assert {item.id for item in reader.locations_by_id(locations).items} == set(locations)
    first = next(i for (kind, i) in simulated.world.resources[HARBOR.ehr_tenant] if kind == "Appointment")
    assert reader.appointment(first) == reader.appointments_by_id([first]).items[0]
    assert reader.patients_by_id([]).items == ()


@pytest.mark.parametrize("identity", ["", "a/b", "..", ".", "1,2", "1?x=y", "x" * 65, "1\n", "%2e"])
def test_an_id_that_is_none_never_leaves(simulated: Simulated, reader: FhirReader, identity: str) -> None:
    for ask in (reader.appointment, lambda i: reader.patients_by_id([i])):
        with pytest.raises(PermanentError, match=r"cerner\.invalid_id"):
            ask(identity)
    assert not simulated.world.requests


def test_only_one_of_the_three_may_be_searched(reader: FhirReader, simulated: Simulated) -> None:
    start, end = week(simulated.world)
    for more in ({}, {"patient_id": "1", "practitioner_id": "2"}):
        with pytest.raises(ValueError, match="exactly one"):
            reader.search_appointments(start=start, end=end, **more)


def test_broken_rows_bodies_and_pages(simulated: Simulated, reader: FhirReader) -> None:
    start, end = week(simulated.world)
    search = partial(reader.search_appointments, location_ids=HARBOR.departments[0].location_ids, start=start, end=end)
    simulated.world.mischief = {"malformed_entry"}
    found = search()
    assert found.complete and len(found.items) > 1 and not found.unreadable
    assert found.dropped_fields[-1] == "Appointment.start" and "Appointment.participant" in found.dropped_fields
    simulated.world.mischief = {"malformed_json"}
    cut = search()
    assert (cut.items, cut.complete) == ((), False)
    with pytest.raises(PermanentError, match=r"cerner\.unreadable_answer"):
        reader.patient(HARBOR.patients[0].patient_id)
    simulated.world.mischief = {"bad_row"}
    with pytest.raises(TransientError) as failed:
        search()
    assert (failed.value.code, failed.value.vendor_status) == ("cerner.unavailable", 500)
    assert failed.value.vendor_reference


def test_faults_are_retried_and_errors_classed(simulated: Simulated, reader: FhirReader, cerner: Cerner) -> None:
    patient = HARBOR.patients[0].patient_id
    reader.patient(patient)
    simulated.world.add_fault("cerner", "429", 1)
    simulated.world.add_fault("cerner", "500", 1)
    assert reader.patient(patient).id == patient
    with pytest.raises(PermanentError, match=r"cerner\.not_found") as missing:
        reader.patient("13200000")
    base = simulated.base(HARBOR)
    narrow = cerner.reader(base, partial(cerner.system_token, base, SYSTEM, "system/Location.read"))
    with pytest.raises(PermanentError, match=r"cerner\.insufficient_scope") as scope:
        narrow.patient(patient)
    assert scope.value.vendor_code == "urn:cerner:error:oauth2:resource-access:insufficient-scopes"
    for error in (missing.value, scope.value):
        assert error.vendor_reference
        assert not any(text in shown(error) for text in (base, patient, "13200000"))


def test_401_is_answered_once_with_a_new_token(simulated: Simulated, cerner: Cerner) -> None:
    base, asked = simulated.base(HARBOR), []
    good = cerner.system_token(base, SYSTEM, scopes("system", "v1"))

    def stale(*, renew: bool = False) -> str:
        asked.append(renew)
        return good if renew else "stale"

    patient = HARBOR.patients[0].patient_id
    assert cerner.reader(base, stale).patient(patient).id == patient
    assert asked == [False, True]
    before = simulated.world.requests["cerner", "Patient.read"]
    with pytest.raises(TransientError, match=r"cerner\.token_refused"):
        cerner.reader(base, lambda *, renew=False: "always-stale").patient(patient)
    assert simulated.world.requests["cerner", "Patient.read"] == before + 1


@pytest.mark.parametrize(
    "following",
    [
        None,
        "{base}/Patient?page=1",
        "http://127.0.0.1:9/r4/T/Patient?page=2",
        "{base}/../../admin",
        "{base}/%2e%2e/x",
        "{base}x/Patient",
        "https://elsewhere.example/r4/T/Patient",
        "http://[",
    ],
)
def test_paging_stays_inside_the_base_and_ends(other: OtherServer, cerner: Cerner, following: str | None) -> None:
    row = {"resource": {"resourceType": "Patient", "id": "1"}}
    link = [{"relation": "next", "url": following.format(base=other.base)}] if following else []
    other.answers["r4/T/Patient"] = {"resourceType": "Bundle", "entry": [row], "link": link}
    found = cerner.reader(other.base, lambda *, renew=False: "t").patients_by_id(["1"])
    assert [item.id for item in found.items] == ["1"]
    assert found.complete is (following is None)
    assert len(other.asked) <= 2


def test_a_slow_server_without_an_end_holds_nobody(
    other: OtherServer, cerner: Cerner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page is another one, and there is no time for a second."""
    monkeypatch.setattr(fhir, "LOOKUP_S", 0)

    def page() -> dict[str, Any]:
        following = f"{other.base}/Patient?page={len(other.asked)}"
        row = {"resource": {"resourceType": "Patient", "id": "1"}}
        return {"resourceType": "Bundle", "entry": [row], "link": [{"relation": "next", "url": following}]}

    other.answers["r4/T/Patient"] = page
    found = cerner.reader(other.base, lambda *, renew=False: "t").patients_by_id(["1"])
    assert [item.id for item in found.items] == ["1"] and not found.complete
    assert len(other.asked) == 1


@pytest.mark.parametrize("page", ["no json", {"resourceType": "Patient"}, [], {"resourceType": "Bundle", "entry": 5}])
def test_an_unreadable_page_makes_the_result_incomplete(other: OtherServer, cerner: Cerner, page: Any) -> None:
    other.answers["r4/T/Patient"] = page
    found = cerner.reader(other.base, lambda *, renew=False: "t").patients_by_id(["1"])
    assert (found.items, found.complete) == ((), False)


def test_bad_rows_cost_only_themselves_and_strangers_are_left_out(other: OtherServer, cerner: Cerner) -> None:
    rows: list[Any] = [{"resourceType": "Patient", "id": i} for i in ("1", "2", "a b")] + [None, 5]
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "x"}]}
    other.answers["r4/T/Patient"] = {
        "resourceType": "Bundle",
        "entry": [{"resource": row} for row in [*rows, outcome]],
    }
    found = cerner.reader(other.base, lambda *, renew=False: "t").patients_by_id(["1", "3"])
    assert [item.id for item in found.items] == ["1"]
    assert (found.unreadable, found.complete) == (3, False)


def test_the_newest_version_of_an_appointment_wins(other: OtherServer, cerner: Cerner) -> None:
    def row(version: str, status: str) -> dict[str, Any]:
        meta = {"versionId": version}
        return {"resource": {"resourceType": "Appointment", "id": "7", "meta": meta, "status": status}}

    rows = [row("2-1", "booked"), row("10-1", "cancelled"), row("9-4", "arrived")]
    other.answers["r4/T/Appointment"] = {"resourceType": "Bundle", "entry": rows}
    found = cerner.reader(other.base, lambda *, renew=False: "t").appointments_by_id(["7"])
    assert [(item.version, item.status) for item in found.items] == [("10-1", "cancelled")]


def test_the_token_goes_nowhere_else(other: OtherServer, simulated: Simulated, cerner: Cerner) -> None:
    other.answers["r4/T/Patient/1"] = lambda: flask.redirect(f"{simulated.base(HARBOR)}/Patient/1")
    with pytest.raises(PermanentError, match=r"cerner\.request_refused"):
        cerner.reader(other.base, lambda *, renew=False: "t").patient("1")
    assert not simulated.world.requests
