"""Rules of an online meeting's properties: which may change, what they may hold, how they are shown.

Source: Microsoft Graph v1.0 reference, "Update onlineMeeting" and the onlineMeetingBase schema.
"""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.world import Json, Meeting, World

LOBBY_SCOPES = {"organizer", "organization", "organizationAndFederated", "everyone"}
LATER_LOBBY_SCOPES = {"invited", "organizationExcludingGuests"}
"""Evolvable enum members: shown as `unknownFutureValue` unless the caller prefers to see them."""
ENUMS: dict[str, set[str]] = {
    "allowedPresenters": {"everyone", "organization", "roleIsPresenter", "organizer"},
    "allowMeetingChat": {"enabled", "disabled", "limited"},
    "allowedLobbyAdmitters": {"organizerAndCoOrganizersAndPresenters", "organizerAndCoOrganizers"},
}
SWITCHES = {
    "isEntryExitAnnounced",
    "allowAttendeeToEnableCamera",
    "allowAttendeeToEnableMic",
    "allowRecording",
    "allowTranscription",
    "recordAutomatically",
}
ROLES = {"attendee", "presenter", "coorganizer", "producer"}


class BadMeeting(Exception):
    """The request breaks a documented rule; Graph answers 400."""


def new_times(body: Json, now: datetime) -> tuple[str, str]:
    """Start defaults to now, end to an hour after start; an end without a start is an error."""
    if "endDateTime" in body and "startDateTime" not in body:
        raise BadMeeting("endDateTime needs startDateTime")
    start = _moment(body.get("startDateTime", now.isoformat()))
    end = _moment(body["endDateTime"]) if "endDateTime" in body else start + timedelta(hours=1)
    if end < start:
        raise BadMeeting("endDateTime is before startDateTime")
    return _text(start), _text(end)


def apply_update(world: World, meeting: Meeting, changes: Json) -> None:
    """Change all or nothing of the meeting."""
    body = copy.deepcopy(meeting.body)
    if ("startDateTime" in changes) != ("endDateTime" in changes):
        raise BadMeeting("startDateTime and endDateTime are changed together")
    if "startDateTime" in changes:
        body["startDateTime"], body["endDateTime"] = new_times(changes, world.now())
    for name, value in changes.items():
        if name in ENUMS and value in ENUMS[name]:
            body[name] = value
        elif name in SWITCHES and isinstance(value, bool):
            body[name] = value
        elif name == "subject" and isinstance(value, str):
            body[name] = value
        elif name == "lobbyBypassSettings":
            body[name] |= _lobby(value)
        elif name == "participants":
            body[name]["attendees"] = _attendees(world, meeting, value)
        elif name not in ("startDateTime", "endDateTime"):
            raise BadMeeting(f"Property '{name}' cannot be updated or has an invalid value.")
    meeting.body = body


def shown(body: Json, *, every_enum_member: bool) -> Json:
    """The meeting as sent to the caller."""
    answer = copy.deepcopy(body)
    if not every_enum_member and answer["lobbyBypassSettings"]["scope"] in LATER_LOBBY_SCOPES:
        answer["lobbyBypassSettings"]["scope"] = "unknownFutureValue"
    return {"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#onlineMeetings/$entity"} | answer


def _lobby(value: Any) -> Json:
    known = {"scope", "isDialInBypassEnabled", "@odata.type"}
    if not isinstance(value, dict) or set(value) - known:
        raise BadMeeting("lobbyBypassSettings is invalid")
    if value.get("scope", "organizer") not in LOBBY_SCOPES | LATER_LOBBY_SCOPES:
        raise BadMeeting("lobbyBypassSettings.scope is invalid")
    if not isinstance(value.get("isDialInBypassEnabled", False), bool):
        raise BadMeeting("lobbyBypassSettings.isDialInBypassEnabled is invalid")
    return {k: v for k, v in value.items() if k != "@odata.type"}


def _attendees(world: World, meeting: Meeting, value: Any) -> list[Json]:
    """Always the full list; the organizer never changes; a role needs an account of the tenant."""
    if not isinstance(value, dict) or not isinstance(value.get("attendees", []), list):
        raise BadMeeting("participants is invalid")
    organizer = value.get("organizer")
    if organizer and organizer.get("identity", {}).get("user", {}).get("id") != meeting.organizer_oid:
        raise BadMeeting("The organizer of a meeting cannot be changed.")
    attendees: list[Json] = []
    for given in value.get("attendees", []):
        role = given.get("role", "attendee")
        oid = ((given.get("identity") or {}).get("user") or {}).get("id")
        if role not in ROLES:
            raise BadMeeting(f"Role '{role}' is invalid.")
        found = world.entra_user(oid) if oid else None
        if role != "attendee" and (found is None or found[0].tid != meeting.tid):
            raise BadMeeting("Presenters and co-organizers must exist in the tenant's directory.")
        attendees.append({"upn": given.get("upn"), "role": role, "identity": {"user": {"id": oid}}})
    return attendees


def _moment(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise BadMeeting("A date and time is malformed.") from None
    if moment.tzinfo is None:
        raise BadMeeting("A date and time needs an offset.")
    return moment.astimezone(UTC)


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
