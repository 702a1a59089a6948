"""What a hospital chose to have in its EHR is written once, anew when the visit moves, and never over others' links."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from connector import clock
from connector.adapters.tables import Row
from connector.keys import JoinToken, NotOpened
from connector.tenants import Connection
from connector.visits import ehr_links
from connector.visits.meeting import visit_key
from connector.visits.presence import Presence
from sandbox.cast import HARBOR
from sandbox.cerner import appointments
from tests.running import Live
from tests.visits.test_meeting import connection


@pytest.fixture(autouse=True)
def business_time(live: Live) -> Iterator[None]:
    clock.install(live.world.now)
    yield
    clock.install(None)


class Chart:
    """One booked visit of a hospital that wants links, and what is written about it."""

    def __init__(self, live: Live, *, kind: str = "native", **chosen: bool) -> None:
        self.live, self.scope = live, live.scope()
        self.connection: Connection = connection(live, **({"write_back": True} | chosen))
        self.id = live.book("hollis", in_minutes=20, kind=kind)
        self.visit = visit_key(self.scope, self.connection.id, self.id)

    def write(self, **presence: Any) -> None:
        reader = self.live.services.ehr.reader(self.scope, self.connection)
        ehr_links.write(self.live.services, self.scope, self.connection, self.visit, reader.appointment(self.id),
                        Presence(presence))

    @property
    def resource(self) -> dict[str, Any]:
        found: dict[str, Any] = self.live.world.resources[HARBOR.ehr_tenant]["Appointment", self.id]
        return found

    @property
    def links(self) -> dict[str, dict[str, Any]]:
        return {room["type"][0]["text"].split()[0].lower(): room["telecom"][0]
                for room in self.resource.get("contained", []) if room.get("telecom")}

    def state(self) -> str:
        row = self.scope.tables.get("Visits", self.connection.id, f"e.{self.visit}")
        return (row or Row("", "")).text("state")

    @contextmanager
    def patches(self, count: int) -> Iterator[None]:
        def asked() -> int:
            return sum(n for (_, operation), n in self.live.world.requests.items() if operation == "Appointment.patch")

        before = asked()
        yield
        assert asked() - before == count


def opened(chart: Chart, room: str, door: Any) -> JoinToken:
    url = chart.links[room]["value"]
    assert len(url) < 255
    return JoinToken.open(url.rsplit("/", 1)[1], chart.live.sealer, door)


def test_both_links_are_written_once_and_each_opens_its_own_door(live: Live) -> None:
    chart = Chart(live)
    with chart.patches(1):
        chart.write()
        chart.write()
    assert chart.state() == "written"
    assert {opened(chart, room, door).appointment_id
            for room, door in (("patient", "join"), ("provider", "staff"))} == {chart.id}
    for room, door in ("patient", "staff"), ("provider", "join"):
        with pytest.raises(NotOpened):
            opened(chart, room, door)


def test_a_moved_visit_and_a_revoked_link_are_written_anew(live: Live) -> None:
    chart = Chart(live)
    chart.write()
    moved = live.world.now().replace(second=0, microsecond=0) + timedelta(hours=3)
    appointments.move(live.world, "harbor", chart.id, moved)
    with chart.patches(1):
        chart.write()
    assert chart.links["patient"]["period"]["start"].startswith(f"{moved:%Y-%m-%dT%H:%M}")
    with chart.patches(1):
        chart.write(generation=1)
    assert opened(chart, "patient", "join").generation == 1


def test_another_vendors_links_stay(live: Live) -> None:
    chart = Chart(live)
    times = "2027-01-01T00:00:00Z", "2027-01-01T00:30:00Z"
    appointments.link_rooms(chart.resource, "https://other.example/p", "https://other.example/j", *times)
    with chart.patches(0):
        chart.write()
        chart.write()
    assert chart.links["patient"]["value"] == "https://other.example/j" and chart.state() == "foreign"


def test_what_the_ehr_refuses_is_asked_once(live: Live) -> None:
    chart = Chart(live, kind="type")
    with chart.patches(1):
        chart.write()
        chart.write()
    assert chart.state() == "refused"


@pytest.mark.parametrize("mischief", ["locked", "dependency"])
def test_a_busy_ehr_is_asked_again(live: Live, mischief: str) -> None:
    chart = Chart(live)
    with live.mischief(mischief):
        chart.write()
    assert (chart.state(), chart.links) == ("", {})
    chart.write()
    assert chart.state() == "written"


def test_arrived_is_written_when_the_patient_joined_and_only_where_it_is_wanted(live: Live) -> None:
    chart = Chart(live, arrived_on_join=True)
    chart.write()
    assert chart.resource["status"] == "booked"
    with chart.patches(1):
        chart.write(joined_at="2027-01-01T00:00:00+00:00")
        chart.write(joined_at="2027-01-01T00:00:00+00:00")
    assert chart.resource["status"] == "arrived" and chart.links
    without = Chart(live, write_back=False)
    with without.patches(0):
        without.write(joined_at="2027-01-01T00:00:00+00:00")
    assert without.links == {}
