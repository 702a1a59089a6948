"""Changing appointments exactly as Cerner wants it, and what each refusal means."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest

from connector.adapters.cerner import AppointmentWriter, Cerner, scopes
from connector.adapters.cerner.fhir import FhirReader
from connector.ehr import Appointment
from connector.errors import AmbiguousError, ConnectorError, PermanentError, TransientError
from sandbox.cast import HARBOR
from sandbox.cerner import appointments
from tests.adapters.cerner_world import SYSTEM, Simulated
from tests.adapters.serving import shown

PROVIDER, PATIENT = "https://visits.example/p/AbC", "https://visits.example/j/DeF"
WRITE = scopes("system", "v1", write=True)


@pytest.fixture
def reader(simulated: Simulated, cerner: Cerner) -> FhirReader:
    base = simulated.base(HARBOR)
    return cerner.reader(base, partial(cerner.system_token, base, SYSTEM, WRITE))


@pytest.fixture
def writer(simulated: Simulated, cerner: Cerner) -> AppointmentWriter:
    base = simulated.base(HARBOR)
    return cerner.writer(base, partial(cerner.system_token, base, SYSTEM, WRITE))


def booked(simulated: Simulated, reader: FhirReader, kind: str = "native") -> Appointment:
    start = (simulated.world.now() + timedelta(minutes=20)).replace(second=0, microsecond=0)
    return reader.appointment(
        appointments.book(simulated.world, "harbor", HARBOR.patients[0].key, start=start, kind=kind)  # type: ignore[arg-type]
    )


def links(appointment: Appointment) -> dict[str, str]:
    return {link.room: link.url for link in appointment.room_links}


def test_each_link_ends_in_its_own_room_the_first_time_and_again(
    simulated: Simulated, reader: FhirReader, writer: AppointmentWriter
) -> None:
    first = booked(simulated, reader)
    assert first.room_links == ()
    writer.link_rooms(first, provider=PROVIDER, patient=PATIENT)
    second = reader.appointment(first.id)
    assert links(second) == {"provider": PROVIDER, "patient": PATIENT}
    assert {(link.start, link.end) for link in second.room_links} == {(first.start, first.end)}
    assert second.version != first.version and second.start == first.start
    writer.link_rooms(second, provider=PROVIDER + "2", patient=PATIENT + "2")
    assert links(reader.appointment(first.id)) == {"provider": PROVIDER + "2", "patient": PATIENT + "2"}
    assert PATIENT not in repr(second)


def test_arrived_and_accepted(simulated: Simulated, reader: FhirReader, writer: AppointmentWriter) -> None:
    first = booked(simulated, reader)
    row = simulated.world.resources[HARBOR.ehr_tenant]["Appointment", first.id]
    patient = next(one for one in row["participant"] if one.get("type", [{}])[0].get("text") == "Patient")
    patient["status"] = "tentative"
    writer.accept(first)
    row = simulated.world.resources[HARBOR.ehr_tenant]["Appointment", first.id]
    assert {one["status"] for one in row["participant"]} == {"accepted"}
    writer.set_status(reader.appointment(first.id), "arrived")
    assert reader.appointment(first.id).status == "arrived"


@pytest.mark.parametrize(
    ("mischief", "kind", "code"),
    [("locked", TransientError, "cerner.locked"), ("dependency", TransientError, "cerner.dependency_failed")],
)
def test_a_busy_appointment_is_tried_again_later(
    simulated: Simulated, reader: FhirReader, writer: AppointmentWriter, mischief: str, kind: type[Exception], code: str
) -> None:
    first = booked(simulated, reader)
    simulated.world.mischief.add(mischief)
    with pytest.raises(kind) as refused:
        writer.link_rooms(first, provider=PROVIDER, patient=PATIENT)
    assert isinstance(refused.value, ConnectorError) and refused.value.code == code
    simulated.world.mischief.clear()
    assert reader.appointment(first.id) == first


def test_what_cannot_be_is_refused_for_good(
    simulated: Simulated, reader: FhirReader, writer: AppointmentWriter
) -> None:
    stale = booked(simulated, reader)
    appointments.move(simulated.world, "harbor", stale.id, simulated.world.now() + timedelta(hours=2))
    without_rooms = booked(simulated, reader, "type")
    cases = [(stale, PATIENT, "cerner.version_changed"), (without_rooms, PATIENT, "cerner.change_refused"),
             (booked(simulated, reader), "https://visits.example/j/" + "x" * 231, "cerner.change_refused")]
    for appointment, patient, code in cases:
        with pytest.raises(PermanentError) as refused:
            writer.link_rooms(appointment, provider=PROVIDER, patient=patient)
        assert refused.value.code == code
        assert "visits.example" not in shown(refused.value)


def test_a_token_without_the_right_to_write_says_so(simulated: Simulated, reader: FhirReader, cerner: Cerner) -> None:
    base = simulated.base(HARBOR)
    writer = cerner.writer(base, partial(cerner.system_token, base, SYSTEM, scopes("system", "v1")))
    with pytest.raises(PermanentError) as refused:
        writer.link_rooms(booked(simulated, reader), provider=PROVIDER, patient=PATIENT)
    assert refused.value.code == "cerner.insufficient_scope"


def test_no_answer_is_ambiguous_and_never_repeated(
    simulated: Simulated, reader: FhirReader, writer: AppointmentWriter
) -> None:
    first = booked(simulated, reader)
    writer._token()  # before the fault, which is for the request after it
    simulated.world.patience_s = 0.2
    simulated.world.add_fault("cerner", "timeout_after_accept", 1)
    with pytest.raises(AmbiguousError):
        writer.link_rooms(first, provider=PROVIDER, patient=PATIENT)
    assert links(reader.appointment(first.id)) == {"provider": PROVIDER, "patient": PATIENT}
