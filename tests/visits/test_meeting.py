"""One meeting of a visit under any race, and no join URL before its lobby is proven, against simulated Graph."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from connector import tenants
from connector.ehr import Appointment
from connector.errors import PermanentError, RefusedError, TransientError
from connector.tenants import Connection
from connector.visits.meeting import provision, stored, visit_key
from connector.visits.presence import VISITS
from sandbox.cast import HARBOR
from sandbox.world import Meeting as GraphMeeting
from tests.running import Live
from tests.tenants.stamp import race
from tests.visits.conftest import LobbyLeft

START = datetime(2027, 3, 1, 15, tzinfo=UTC)
ORGANIZERS = [organizer.oid for organizer in HARBOR.organizers]
counter = iter(range(61_000_001, 62_000_000))


@pytest.fixture(autouse=True)
def trusts_the_sandbox(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", live.ca)


def appointment(start: datetime | None = START, identity: str | None = None) -> Appointment:
    end = start + timedelta(minutes=30) if start else None
    return Appointment(identity or str(next(counter)), "0", "booked", start, end, (), (), (), (), True)


def connection(live: Live, **changes: object) -> Connection:
    return tenants.connection(live.scope(), live.connection_id()).value.model_copy(update=changes)


def meetings(live: Live, visit: Appointment) -> list[GraphMeeting]:
    external = live.scope().index("meeting", live.connection_id(), visit.id)
    return [meeting for meeting in live.world.meetings.values() if meeting.external_id == external]


def test_twenty_at_once_meet_in_one_meeting(live: Live) -> None:
    visit, found = appointment(), connection(live)
    outcomes = race([lambda: provision(live.services, live.scope(), found, visit)] * 20)
    assert len({repr(outcome) for outcome in outcomes}) == 1
    (made,) = meetings(live, visit)
    assert made.body["lobbyBypassSettings"] == {"scope": "organizationExcludingGuests", "isDialInBypassEnabled": False}
    assert (made.body["allowedPresenters"], made.body["subject"]) == ("organization", "Video visit")


def test_the_organizer_is_recorded_once_whatever_each_one_believes(live: Live) -> None:
    visit = appointment()
    pools = [ORGANIZERS[n % 2 :] + ORGANIZERS[: n % 2] for n in range(8)]
    outcomes = race([lambda p=pool: provision(live.services, live.scope(), connection(live, organizers=p), visit)
                     for pool in pools])
    assert len({repr(outcome) for outcome in outcomes}) == 1
    assert len(meetings(live, visit)) == 1


def test_a_moved_appointment_moves_its_meeting_and_asks_no_more_than_needed(live: Live) -> None:
    visit, found = appointment(), connection(live)
    first = provision(live.services, live.scope(), found, visit)
    asked = live.world.requests.total()
    assert provision(live.services, live.scope(), found, visit) == first
    assert live.world.requests.total() == asked
    later = appointment(START + timedelta(days=1), visit.id)
    second = provision(live.services, live.scope(), found, later)
    assert (second.join_web_url, second.start) == (first.join_web_url, later.start)
    (made,) = meetings(live, visit)
    assert (made.body["startDateTime"], made.body["endDateTime"]) == ("2027-03-02T15:00:00Z", "2027-03-02T15:30:00Z")


def test_an_organizer_that_is_gone_and_off_the_list_is_replaced(live: Live) -> None:
    visit, gone = appointment(), "0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f"
    with pytest.raises(PermanentError):  # as long as it is on the list, an administrator must say so
        provision(live.services, live.scope(), connection(live, organizers=[gone]), visit)
    made = provision(live.services, live.scope(), connection(live), visit)
    assert made.join_web_url and len(meetings(live, visit)) == 1
    key = visit_key(live.scope(), live.connection_id(), visit.id)
    row = live.scope().tables.get(VISITS, live.connection_id(), f"o.{key}")
    assert row is not None and row.text("organizer") in ORGANIZERS


def test_a_visit_that_ends_before_it_begins_has_a_meeting_all_the_same(live: Live) -> None:
    visit = appointment()
    for end in START, START - timedelta(minutes=5):
        made = provision(live.services, live.scope(), connection(live), replace(visit, end=end))
        assert made.end == START + timedelta(minutes=30)


@pytest.mark.parametrize("lobby", [{}, {"scope": "everyone"}, {"scope": "organizationAndFederated"},
                                   {"scope": "organizationExcludingGuests", "isDialInBypassEnabled": True},
                                   {"scope": "organizationExcludingGuests", "isDialInBypassEnabled": None},
                                   {"scope": "invited"}, {"scope": "somethingNew"}])
def test_a_lobby_that_is_not_proven_keeps_the_url_in(
    live: Live, lobby_left: LobbyLeft, lobby: dict[str, object]
) -> None:
    visit, found = appointment(), connection(live)
    key = visit_key(live.scope(), found.id, visit.id)
    with lobby_left(**lobby), pytest.raises(PermanentError) as unproven:
        provision(live.services, live.scope(), found, visit)
    assert unproven.value.code == "meeting.lobby_not_proven"
    row = live.scope().tables.get(VISITS, found.id, f"o.{key}")
    assert row is not None and "meeting" not in row.values
    assert stored(live.services, live.scope(), found, key) is None
    made = provision(live.services, live.scope(), found, visit)
    assert stored(live.services, live.scope(), found, key) == made
    assert len(meetings(live, visit)) == 1


def test_without_an_organizer_or_a_start_nothing_is_made(live: Live) -> None:
    with live.nothing_stored():
        with pytest.raises(RefusedError) as refused:
            provision(live.services, live.scope(), connection(live, organizers=[]), appointment())
        assert (refused.value.status, refused.value.code) == (409, "meeting.no_organizer")
        assert "administrator can add one" in refused.value.message
        with pytest.raises(PermanentError):
            provision(live.services, live.scope(), connection(live), appointment(None))


def _no_policy(live: Live) -> Callable[[], None]:
    kept = set(live.world.access_policy)
    live.world.access_policy.clear()
    return lambda: live.world.access_policy.update(kept)


def test_a_teams_policy_that_is_missing_is_named(live: Live) -> None:
    undo = _no_policy(live)
    try:
        with pytest.raises(PermanentError) as refused:
            provision(live.services, live.scope(), connection(live), appointment())
    finally:
        undo()
    assert refused.value.code == "graph.no_application_access"


def test_a_busy_graph_is_asked_again_later(live: Live) -> None:
    visit = appointment()
    with live.down("graph"), pytest.raises(TransientError):
        provision(live.services, live.scope(), connection(live), visit)
    assert meetings(live, visit) == []
    assert provision(live.services, live.scope(), connection(live), visit).join_web_url
