"""Which appointment a launch is about, read from simulated Cerner with a real launch's token."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from connector import clock
from connector.adapters import cerner as adapter
from connector.adapters.http import OutgoingHttp, OutgoingPolicy
from connector.errors import PermanentError
from connector.keys import BearerBox
from connector.launch.session import Context, VisitSession
from connector.tenants import Connection, Department
from connector.visits.find import Candidates, find_visit
from sandbox.cast import HARBOR
from sandbox.cerner import appointments
from tests.sandbox.cerner import Cerner, serve

MIRA, RAFAEL = (f"Patient/{person.patient_id}" for person in HARBOR.patients[:2])
ZONE = ZoneInfo(HARBOR.time_zone)


@dataclass
class Clinic:
    """Harbor with an empty schedule, at noon of its own day."""

    cerner: Cerner
    reader: adapter.FhirReader
    connection: Connection

    def book(self, patient: str | None = "mira", *, hours: float = 0, **more: Any) -> str:
        start = self.cerner.world.now() + timedelta(hours=hours)
        return appointments.book(self.cerner.world, "harbor", patient, start=start, **more)

    def encounter(self, appointment: str | None, patient: str = MIRA) -> str:
        resource = {"resourceType": "Encounter", "id": "97990999", "meta": {"versionId": "1"}, "status": "in-progress",
                    "subject": {"reference": patient}, "period": {"start": self.cerner.world.now().isoformat()}}
        if appointment:
            resource["appointment"] = [{"reference": f"Appointment/{appointment}"}]
        self.cerner.world.resources[HARBOR.ehr_tenant]["Encounter", "97990999"] = resource
        return "97990999"

    def find(self, wanted: str | None = None, **context: Any) -> Candidates:
        known: dict[str, Any] = {
            "persona": "provider", "issuer": "i", "fhir_user": f"Practitioner/{HARBOR.clinicians[0].practitioner_id}",
            "patient_id": MIRA.partition("/")[2], "encounter_id": None, "need_patient_banner": True,
            "access_token": "", "access_expires": 0, "refresh_token": None}
        session = VisitSession("s", None, Context(**known | context), BearerBox("b"), None)  # type: ignore[arg-type]
        session.connection = self.connection
        return find_visit(session, self.reader, wanted)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cerner, adapter.FhirReader]]:
    with serve(tmp_path_factory.mktemp("find")) as cerner:
        token = cerner.launch("harbor", patient="mira")["access_token"]
        client = adapter.Cerner(OutgoingHttp(OutgoingPolicy(loopback_http=True)))
        yield cerner, client.reader(cerner.base("harbor"), lambda *, renew=False: token)


@pytest.fixture
def clinic(served: tuple[Cerner, adapter.FhirReader]) -> Iterator[Clinic]:
    cerner, reader = served
    resources = cerner.world.resources[HARBOR.ehr_tenant]
    for kind, identity in list(resources):
        if kind in ("Appointment", "Encounter"):
            del resources[kind, identity]
    local = cerner.world.now().astimezone(ZONE)
    tomorrow = datetime.combine(local.date() + timedelta(days=1), datetime.min.time(), ZONE)
    cerner.world.advance(tomorrow + timedelta(hours=12) - local)
    clock.install(cerner.world.now)
    configured = [Department(name=d.name, location_ids=list(d.location_ids), time_zone=d.time_zone)
                  for d in HARBOR.departments if d.configured]
    yield Clinic(cerner, reader, Connection(
        id="abcdefgh2", name="Live", environment="production", fhir_base_url=cerner.base("harbor"),
        clinic_name="Clinic", contact_phone="+13122346700", video_visit_types=list(HARBOR.video_visit_types),
        departments=configured))
    clock.install(None)
    cerner.world.mischief.clear()


def chosen(found: Candidates) -> str | None:
    assert found.chosen is None or not found.others
    return found.chosen.id if found.chosen else None


def others(found: Candidates) -> list[str]:
    return [other.id for other in found.others]


def test_the_encounters_appointment_needs_no_choice(clinic: Clinic) -> None:
    clinic.book(hours=1)
    linked = clinic.book(hours=3)
    found = clinic.find(encounter_id=clinic.encounter(linked))
    assert chosen(found) == linked
    assert found.patient is not None and found.patient.id == MIRA.partition("/")[2]


def test_an_encounter_of_another_patient_counts_for_nothing(clinic: Clinic) -> None:
    theirs = clinic.book("rafael")
    mine = clinic.book(hours=2)
    assert chosen(clinic.find(encounter_id=clinic.encounter(theirs, RAFAEL))) == mine
    assert chosen(clinic.find(encounter_id=clinic.encounter(theirs, MIRA))) == mine  # wrongly linked in the EHR


@pytest.mark.parametrize("encounter", ["none", "unlinked", "../x"])
def test_an_encounter_that_says_nothing_leaves_the_search(clinic: Clinic, encounter: str) -> None:
    mine = clinic.book()
    identity = clinic.encounter(None) if encounter == "unlinked" else encounter
    assert chosen(clinic.find(encounter_id=identity)) == mine


@pytest.mark.parametrize("hours", [-24, 24, 14, -14])
def test_another_days_visit_is_not_todays(clinic: Clinic, hours: float) -> None:
    elsewhere = clinic.book(hours=hours)
    found = clinic.find(encounter_id=clinic.encounter(elsewhere))
    assert (chosen(found), others(found)) == (None, [])


@pytest.mark.parametrize("hours", [-10.5, 10.5])
def test_the_day_is_the_departments(clinic: Clinic, hours: float) -> None:
    assert chosen(clinic.find()) is None
    assert clinic.book(hours=hours) == chosen(clinic.find())


def test_cancelled_and_ordinary_visits_are_not_offered(clinic: Clinic) -> None:
    gone = clinic.book()
    appointments.cancel(clinic.cerner.world, "harbor", gone)
    ordinary = clinic.book(hours=1, kind="ordinary")
    for linked in gone, ordinary:
        found = clinic.find(encounter_id=clinic.encounter(linked))
        assert (chosen(found), others(found)) == (None, [])
    by_type = clinic.book(hours=2, kind="type")
    assert chosen(clinic.find()) == by_type


def test_two_today_are_a_choice_in_their_order(clinic: Clinic) -> None:
    late, early = clinic.book(hours=3), clinic.book(hours=1, kind="type")
    found = clinic.find()
    assert (chosen(found), others(found)) == (None, [early, late])
    assert chosen(clinic.find(late)) == late
    assert chosen(clinic.find(appointment_id=early)) == early


def test_what_was_chosen_stays_also_when_it_is_cancelled_and_not_when_it_is_gone(clinic: Clinic) -> None:
    mine, other = clinic.book(), clinic.book(hours=1)
    appointments.cancel(clinic.cerner.world, "harbor", mine)
    found = clinic.find(appointment_id=mine)
    assert chosen(found) == mine and found.chosen is not None and found.chosen.status == "cancelled"
    del clinic.cerner.world.resources[HARBOR.ehr_tenant]["Appointment", mine]
    assert chosen(clinic.find(appointment_id=mine)) == other


def test_another_patients_visit_can_not_be_chosen(clinic: Clinic) -> None:
    theirs, mine = clinic.book("rafael"), clinic.book(hours=1)
    assert chosen(clinic.find(theirs)) == mine
    assert chosen(clinic.find(appointment_id=theirs)) == mine


def test_nothing_today(clinic: Clinic) -> None:
    clinic.book("rafael")
    found = clinic.find()
    assert (chosen(found), others(found)) == (None, [])


def test_the_organizer_without_a_patient_shows_the_clinicians_own_day(clinic: Clinic) -> None:
    clinic.book(clinician_key="lindqvist")
    clinic.book(None, hours=2, kind="ordinary")
    first = clinic.book("rafael", hours=1)
    alone = clinic.find(patient_id=None)
    assert (chosen(alone), alone.patient and alone.patient.id) == (first, RAFAEL.partition("/")[2])
    second = clinic.book(hours=2)
    found = clinic.find(patient_id=None)
    assert (chosen(found), others(found), found.patient) == (None, [first, second], None)
    assert chosen(clinic.find(second, patient_id=None)) == second


def test_staff_who_are_no_practitioner_have_no_day_of_their_own(clinic: Clinic) -> None:
    clinic.book()
    found = clinic.find(patient_id=None, fhir_user="Person/12994107")
    assert (chosen(found), others(found)) == (None, [])


def test_one_bad_record_costs_one_visit_and_is_never_an_empty_day(clinic: Clinic) -> None:
    bad = clinic.book(hours=1)
    clinic.cerner.world.resources[HARBOR.ehr_tenant]["Appointment", bad]["status"] = "dancing"
    with pytest.raises(PermanentError):
        clinic.find()
    good = clinic.book(hours=2)
    assert chosen(clinic.find()) == good


def test_a_record_without_its_participants_is_nobodys(clinic: Clinic) -> None:
    clinic.book(hours=1)
    good = clinic.book(hours=2)
    clinic.cerner.world.mischief.add("malformed_entry")  # of the first entry of a search
    assert chosen(clinic.find()) == good
