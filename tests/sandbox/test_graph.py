"""Simulated Graph and the Teams stand-in over HTTP: documented answers, refusals and the lobby."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from sandbox import entra_tokens, teams
from sandbox.cast import HARBOR, NORDLYS
from sandbox.entra_tokens import ENTRA_CLIENT_ID, GRAPH, GRAPH_ROLES
from tests.sandbox.host_process import eventually
from tests.sandbox.microsoft import Served, serve

ORGANIZER = HARBOR.organizers[0]
NEW = {
    "externalId": "6f2c1d0e",
    "subject": "Virtual visit",
    "startDateTime": "2026-01-06T15:00:00Z",
    "endDateTime": "2026-01-06T15:30:00Z",
}
EVERY_MEMBER = {"Prefer": "include-unknown-enum-members"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("graph")) as served:
        yield served


@pytest.fixture
def served(running: Served) -> Served:
    running.world.reset()
    return running


def ask(
    served: Served,
    method: str,
    path: str,
    json: Any = None,
    *,
    roles: tuple[str, ...] = GRAPH_ROLES,
    headers: dict[str, str] | None = None,
    timeout: float = 30,
) -> requests.Response:
    token = entra_tokens.app_token(served.world, HARBOR.tid, ENTRA_CLIENT_ID, GRAPH, list(roles))
    bearer = {"Authorization": f"Bearer {token}"} | (headers or {})
    url = f"{served.url('graph')}/v1.0{path}"
    return requests.request(method, url, json=json, headers=bearer, timeout=timeout)


def meetings(oid: str = ORGANIZER.oid) -> str:
    return f"/users/{oid}/onlineMeetings"


def created(served: Served) -> dict[str, Any]:
    answer = ask(served, "POST", f"{meetings()}/createOrGet", NEW)
    assert answer.status_code == 201
    meeting: dict[str, Any] = answer.json()
    return meeting


def test_create_or_get_makes_one_meeting_per_organizer_and_external_id(served: Served) -> None:
    first = created(served)
    assert len(first["joinWebUrl"]) >= 240
    assert first["lobbyBypassSettings"]["scope"] == "organization"
    moved = NEW | {"startDateTime": "2026-01-07T15:00:00Z", "endDateTime": "2026-01-07T15:30:00Z"}
    again = ask(served, "POST", f"{meetings()}/createOrGet", moved)
    assert (again.status_code, again.json()) == (200, first)
    other = ask(served, "POST", f"{meetings(HARBOR.organizers[1].oid)}/createOrGet", NEW)
    assert other.status_code == 201 and other.json()["id"] != first["id"]
    assert served.world.requests[("graph", "create_or_get")] == 3


@pytest.mark.parametrize(
    "change",
    [
        {"endDateTime": "2026-01-06T14:00:00Z"},
        {"startDateTime": "2026-01-06 15:00"},
        {"externalId": ""},
        {"lobbyBypassSettings": {"scope": "organizer"}},
    ],
)
def test_create_or_get_refuses_what_is_documented(served: Served, change: dict[str, Any]) -> None:
    answer = ask(served, "POST", f"{meetings()}/createOrGet", NEW | change)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BadRequest")
    assert not served.world.meetings


def test_lobby_is_set_by_patch_and_read_back(served: Served) -> None:
    path = f"{meetings()}/{created(served)['id']}"
    clinician = HARBOR.clinicians[0]
    change = {
        "lobbyBypassSettings": {"scope": "organizationExcludingGuests", "isDialInBypassEnabled": False},
        "allowedPresenters": "organization",
        "participants": {
            "attendees": [
                {
                    "upn": clinician.upn,
                    "role": "presenter",
                    "identity": {"user": {"id": clinician.entra_oid}},
                }
            ]
        },
    }
    assert ask(served, "PATCH", path, change).json()["lobbyBypassSettings"]["scope"] == "unknownFutureValue"
    assert ask(served, "GET", path).json()["lobbyBypassSettings"]["scope"] == "unknownFutureValue"
    shown = ask(served, "GET", path, headers=EVERY_MEMBER).json()
    assert shown["lobbyBypassSettings"] == change["lobbyBypassSettings"]
    assert shown["participants"]["attendees"][0]["identity"]["user"]["id"] == clinician.entra_oid
    assert shown["participants"]["organizer"]["identity"]["user"]["id"] == ORGANIZER.oid


@pytest.mark.parametrize(
    "change",
    [
        {"startDateTime": "2026-01-06T16:00:00Z"},
        {"shareMeetingChatHistoryDefault": "none"},
        {"lobbyBypassSettings": {"scope": "nobody"}},
        {"allowedPresenters": "guests"},
        {"participants": {"organizer": {"identity": {"user": {"id": "someone"}}}}},
        {"participants": {"attendees": [{"role": "presenter", "identity": {"user": {"id": "a-patient"}}}]}},
    ],
)
def test_patch_refuses_what_is_documented_and_changes_nothing(served: Served, change: dict[str, Any]) -> None:
    first = created(served)
    path = f"{meetings()}/{first['id']}"
    assert ask(served, "PATCH", path, {"subject": "Changed"} | change).status_code == 400
    assert ask(served, "GET", path).json() == first


def test_deleted_meeting_is_gone_and_can_be_made_again(served: Served) -> None:
    first = created(served)
    path = f"{meetings()}/{first['id']}"
    assert ask(served, "DELETE", path).status_code == 204
    assert ask(served, "GET", path).status_code == 404
    assert created(served)["id"] != first["id"]


def test_organizer_without_access_policy_is_refused(served: Served) -> None:
    served.world.access_policy.discard(ORGANIZER.oid)
    answer = ask(served, "POST", f"{meetings()}/createOrGet", NEW)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (403, "Forbidden")
    assert error["message"] == "No application access policy found for this app"


def test_tokens_are_checked(served: Served) -> None:
    path = f"{meetings()}/createOrGet"
    assert ask(served, "POST", path, NEW, headers={"Authorization": "Bearer x.y.z"}).status_code == 401
    wrong_audience = entra_tokens.app_token(
        served.world, HARBOR.tid, ENTRA_CLIENT_ID, ENTRA_CLIENT_ID, list(GRAPH_ROLES)
    )
    assert (
        ask(served, "POST", path, NEW, headers={"Authorization": f"Bearer {wrong_audience}"}).status_code
        == 401
    )
    assert ask(served, "POST", path, NEW, roles=("OnlineMeetings.Read.All",)).status_code == 403
    foreign = NORDLYS.organizers[0].oid
    assert ask(served, "POST", f"{meetings(foreign)}/createOrGet", NEW).status_code == 404


def test_organization_and_user(served: Served) -> None:
    (found,) = ask(served, "GET", "/organization?$select=id,countryLetterCode").json()["value"]
    assert found == {"id": HARBOR.tid, "countryLetterCode": "US"}
    clinician = HARBOR.clinicians[0]
    user = ask(served, "GET", f"/users/{clinician.entra_oid}?$select=displayName,userPrincipalName").json()
    assert (user["displayName"], user["userPrincipalName"]) == (clinician.entra_name, clinician.upn)
    assert ask(served, "GET", f"/users/{NORDLYS.clinicians[0].entra_oid}").status_code == 404


def test_faults(served: Served) -> None:
    served.world.add_fault("graph", "429", 1)
    throttled = ask(served, "GET", "/organization")
    assert (throttled.status_code, throttled.headers["Retry-After"]) == (429, "1")
    served.world.add_fault("graph", "timeout_after_accept", 1)
    with pytest.raises(requests.Timeout):
        ask(served, "POST", f"{meetings()}/createOrGet", NEW, timeout=0.5)
    eventually(lambda: len(served.world.meetings) == 1)


def test_guest_waits_in_the_lobby_until_a_clinician_admits(served: Served) -> None:
    meeting = created(served)
    ask(served, "PATCH", f"{meetings()}/{meeting['id']}", {"lobbyBypassSettings": {"scope": "organizer"}})
    virtual = ask(served, "GET", f"{meetings()}/{meeting['id']}/getVirtualAppointmentJoinWebUrl").json()[
        "value"
    ]
    assert requests.get(virtual, timeout=30).url.startswith(f"{served.url('teams')}/l/meetup-join/")
    lobby = requests.post(meeting["joinWebUrl"], data={"name": "A <b>guest</b>"}, timeout=30)
    assert "You are in the lobby" in lobby.text and "<b>" not in lobby.text
    clinician = HARBOR.clinicians[0]
    outside = requests.get(meeting["joinWebUrl"], params={"as": clinician.entra_oid}, timeout=30)
    assert "You are in the lobby" in outside.text
    ask(
        served,
        "PATCH",
        f"{meetings()}/{meeting['id']}",
        {"lobbyBypassSettings": {"scope": "organizationExcludingGuests"}},
    )
    second = HARBOR.clinicians[1]
    inside = requests.get(meeting["joinWebUrl"], params={"as": second.entra_oid}, timeout=30)
    assert "You are connected" in inside.text and "Waiting in the lobby (2)" in inside.text
    guest = served.world.meetings[meeting["id"]].participants[0]
    before = requests.get(f"{lobby.url}/state", timeout=30).json()
    assert requests.post(f"{lobby.url}/admit", data={"participant": guest.id}, timeout=30).status_code == 403
    admitted = requests.post(f"{inside.url}/admit", data={"participant": guest.id}, timeout=30)
    assert "Waiting in the lobby (1)" in admitted.text
    assert requests.get(f"{lobby.url}/state", timeout=30).json() != before
    assert "You are connected" in requests.get(lobby.url, timeout=30).text
    assert "You left" in requests.post(f"{lobby.url}/leave", timeout=30).text


def test_control_functions_join_admit_and_leave(served: Served) -> None:
    meeting_id = created(served)["id"]
    guest = teams.join(served.world, meeting_id, "Guest", None)
    assert guest.state == "lobby"
    user = teams.join(served.world, meeting_id, "", HARBOR.clinicians[0].entra_oid)
    assert (user.state, user.kind) == ("connected", "user")
    assert teams.join(served.world, meeting_id, "", user.oid) is user
    stranger = teams.join(served.world, meeting_id, "", NORDLYS.clinicians[0].entra_oid)
    assert stranger.state == "lobby"
    assert teams.admit(served.world, meeting_id, None) == [guest, stranger]
    assert teams.leave(served.world, meeting_id, guest.id).state == "left"
    with pytest.raises(LookupError):
        teams.join(served.world, "no-such-meeting", "Guest", None)


def test_held_connection_ends_when_the_caller_gives_up(served: Served) -> None:
    served.world.patience_s, before = 3600, set(threading.enumerate())
    served.world.add_fault("graph", "timeout", 1)
    with pytest.raises(requests.Timeout):
        ask(served, "POST", f"{meetings()}/createOrGet", NEW, timeout=0.5)
    eventually(lambda: not [one for one in threading.enumerate() if one not in before and "request" in one.name])
    assert not served.world.meetings
