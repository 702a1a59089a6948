"""What is prepared before anybody joins, also where no scan knows the visits and while the EHR is busy."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from connector import clock
from connector.adapters.tables import Row, Write
from connector.errors import TransientError
from connector.tenants import Connection
from connector.visits import ahead, board_alone
from connector.visits.find import zone_named
from connector.visits.meeting import Meeting, stored, visit_key
from connector.visits.presence import put_presence
from sandbox.cast import HARBOR
from sandbox.cerner import appointments
from tests.running import Live
from tests.visits.test_meeting import connection

CARDIOLOGY = HARBOR.departments[1]


@pytest.fixture(autouse=True)
def business_time(live: Live, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", live.ca)
    clock.install(live.world.now)
    yield
    clock.install(None)


class Quiet:
    """A connection without messages, in a department where no other test books."""

    def __init__(self, live: Live, **changes: Any) -> None:
        self.live, self.scope = live, live.scope()
        present = connection(live)
        locations = {"name": CARDIOLOGY.name, "location_ids": CARDIOLOGY.location_ids}
        departments = [present.departments[0].model_copy(update=locations)]
        self.found: Connection = present.model_copy(
            update={"messages_enabled": False, "departments": departments, **changes}
        )

    def book(self, in_minutes: int, **more: Any) -> tuple[str, str]:
        """Appointment id and visit key."""
        made = self.live.book("hollis", in_minutes=in_minutes, department_index=1, **more)
        return made, visit_key(self.scope, self.found.id, made)

    def look(self) -> int:
        return ahead.look(self.live.services, self.scope, self.found, self.live.world.now())

    def settle(self, visit: str, later: timedelta = timedelta()) -> None:
        ahead.settle(self.live.services, self.scope, self.found, visit, self.live.world.now() + later)

    def meeting(self, visit: str) -> Meeting | None:
        return stored(self.live.services, self.scope, self.found, visit)

    def row(self, kind: str, visit: str) -> Row:
        return self.scope.tables.get("Visits", self.found.id, f"{kind}.{visit}") or Row("", "")


@pytest.fixture
def quiet(live: Live) -> Quiet:
    return Quiet(live)


@pytest.fixture
def hints(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Visit and delay of every hint, which then goes nowhere: the only part that is replaced."""
    given: list[tuple[Any, ...]] = []
    monkeypatch.setattr(ahead, "hint", lambda scope, connection, visit, doubted=False, delay_s=0: given.append(
        (visit, delay_s)))
    return given


def test_without_messages_the_next_hour_is_read_and_has_its_meetings(quiet: Quiet, hints: list[Any]) -> None:
    (soon, visit), (_, later), (_, ordinary) = quiet.book(50), quiet.book(95), quiet.book(40, kind="ordinary")

    def wanted() -> set[str]:
        hints.clear()
        quiet.look()
        return {named for named, _ in hints} & {visit, later, ordinary}  # others may be wanted for what tests left

    assert wanted() == {visit}
    quiet.settle(visit)
    made = quiet.meeting(visit)
    assert made is not None and made.browser_join_url and made.department == "Cardiology"
    assert not quiet.row("o", later).values and not quiet.row("o", ordinary).values
    assert wanted() == set()
    appointments.move(quiet.live.world, "harbor", soon, made.start + timedelta(minutes=2))
    assert wanted() == {visit}
    quiet.settle(visit)
    moved = quiet.meeting(visit)
    assert moved is not None and moved.id == made.id and moved.start == made.start + timedelta(minutes=2)
    shown = {row["name"].split(".")[1]: row["department"] for row in board_alone._rows(quiet.scope, quiet.found)}
    assert shown[visit] == "Cardiology" and later not in shown


def test_without_the_ehr_times_are_those_of_the_visits_department(quiet: Quiet) -> None:
    here = quiet.found.departments[0]
    there = here.model_copy(update={"name": "Denver", "time_zone": "America/Denver"})
    found = quiet.found.model_copy(update={"departments": [here, there]})
    assert [zone_named(name, found).key for name in ("Denver", "Cardiology", "", "closed since")] == [
        "America/Denver", here.time_zone, here.time_zone, here.time_zone]
    assert zone_named("Denver", found.model_copy(update={"departments": []})).key == "UTC"


def test_only_where_no_scan_knows_the_visits_a_worker_reads_them(quiet: Quiet, hints: list[Any]) -> None:
    for changes, asked in ({}, True), ({"active": False}, False), ({"messages_enabled": True}, False), (
        {"organizers": ()}, False), ({"departments": ()}, False):  # fmt: skip
        hints.clear()
        found = quiet.found.model_copy(update=changes)
        ahead.request(quiet.live.services, quiet.scope, found, quiet.live.world.now())
        assert ((None, 0) in hints) is asked, changes


def test_a_busy_ehr_gets_links_and_arrival_later_without_messages_too(live: Live, hints: list[Any]) -> None:
    quiet = Quiet(live, write_back=True, arrived_on_join=True)
    appointment, visit = quiet.book(30)
    quiet.look()
    hints.clear()
    with live.mischief("locked"):
        quiet.settle(visit)
    assert hints == [(visit, ahead.AGAIN_S)] and quiet.row("e", visit).text("state") == ""
    quiet.settle(visit)
    assert quiet.row("e", visit).text("state") == "written"
    # a revoked link that the busy EHR did not take at once is not left there
    put_presence(quiet.scope, quiet.found.id, visit, end=None, generation=1, joined_at=clock.now().isoformat())
    hints.clear()
    with live.mischief("locked"):
        quiet.settle(visit)
    assert hints == [(visit, ahead.AGAIN_S)]
    quiet.settle(visit)
    assert hints == [(visit, ahead.AGAIN_S)]
    assert live.world.resources[HARBOR.ehr_tenant]["Appointment", appointment]["status"] == "arrived"


def test_a_visit_that_was_moved_to_another_day_is_prepared_again(quiet: Quiet, hints: list[Any]) -> None:
    appointment, visit = quiet.book(20)
    quiet.look()
    quiet.settle(visit)
    first = quiet.meeting(visit)
    assert first is not None
    appointments.move(quiet.live.world, "harbor", appointment, first.start + timedelta(days=1))
    known = {"class": "live", "ref": quiet.row("o", visit).text("ref"), "department": "", "told_n": 0,
             "start": (first.start + timedelta(days=1)).isoformat(), "end": (first.end + timedelta(days=1)).isoformat(),
             "changed_at": first.start.isoformat()}
    scanned = quiet.scope.tables.insert("Visits", Row(quiet.found.id, f"v.{visit}", known))
    try:
        quiet.settle(visit, timedelta(days=1))
    finally:
        quiet.scope.tables.delete("Visits", scanned)
    moved = quiet.meeting(visit)
    assert moved is not None and (moved.id, moved.start) == (first.id, first.start + timedelta(days=1))


def test_live_status_is_renewed_while_the_ehr_is_down(quiet: Quiet, hints: list[Any]) -> None:
    _, visit = quiet.book(25)
    quiet.look()
    quiet.settle(visit)
    ends = Row(quiet.found.id, f"g.{visit}", {"expires": "2020-01-01T00:00:00+00:00"})
    quiet.scope.tables.transact("Visits", [Write("merge", ends)])
    with quiet.live.down("cerner"), pytest.raises(TransientError):
        quiet.settle(visit)
    assert quiet.row("g", visit).text("expires") > "2026"
