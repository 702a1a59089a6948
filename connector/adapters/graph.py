"""Microsoft Graph: the online meetings of organizer accounts, by application permissions.

Source: Microsoft Graph v1.0 reference, "onlineMeeting: createOrGet", "Update onlineMeeting", "Get
onlineMeeting", "virtualAppointment: getVirtualAppointmentJoinWebUrl", "lobbyBypassSettings resource type";
"Allow applications to access online meetings on behalf of a user" (the Teams application access policy).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from connector.adapters.graph_http import GraphHttp, json_object, unreadable
from connector.errors import PermanentError

_EVERY_ENUM_MEMBER = {"Prefer": "include-unknown-enum-members"}


@dataclass(frozen=True)
class OnlineMeeting:
    """Meeting id and join URL; both name the organizer, so neither may reach logs or patients' messages."""

    id: str
    join_web_url: str


@dataclass(frozen=True)
class Lobby:
    """Who enters a meeting without being admitted, as Graph reports it."""

    scope: str
    dial_in_bypass: bool

    @property
    def holds_patients(self) -> bool:
        """Whether a patient surely waits until a clinician admits them.

        Patients join without an account, or with a guest account of the hospital's tenant.
        `organizationExcludingGuests` holds both, and is what we set; `organizer` is stricter still.
        `organization` lets guests in, `organizationAndFederated` other tenants, `everyone` anybody; `invited`
        depends on a list that organizers can change. A value we do not know proves nothing.
        Callers by telephone are held only without the dial-in bypass.
        """
        return self.scope in ("organizationExcludingGuests", "organizer") and not self.dial_in_bypass


def app_url(join_web_url: str) -> str | None:
    """The meeting's address for the Teams app itself, without the page that asks "app or browser?" (Microsoft Teams
    documentation, "Deep links"); None where only that page will do."""
    parts = urlsplit(join_web_url)
    if (parts.scheme, parts.netloc) != ("https", "teams.microsoft.com"):
        return None
    return f"msteams:{parts.path}?{parts.query}"


class Graph:
    """Meetings in the tenants that consented. Raises what GraphHttp does; `graph.no_application_access` says that the
    tenant's Teams administrator must grant the application access policy.

    Every call here may be repeated: reads, full updates, deletion, and createOrGet by its external id.
    """

    def __init__(self, http: GraphHttp) -> None:
        self._http = http

    def create_or_get(
        self,
        tenant_id: str,
        organizer: str,
        *,
        external_id: str,
        subject: str,
        start: datetime,
        end: datetime,
    ) -> OnlineMeeting:
        """The organizer's meeting of that external id, made if need be; safe to repeat.

        A meeting that exists comes back unchanged, whatever times were given. Its lobby is the tenant's
        default until `protect_lobby`: createOrGet takes no lobby settings.
        """
        body = {"externalId": external_id, "subject": subject, **_times(start, end)}
        response = self._http.call("POST", tenant_id, f"{_meetings(organizer)}/createOrGet", body=body)
        meeting = json_object(response)
        found = meeting.get("id"), meeting.get("joinWebUrl")
        if not all(isinstance(value, str) and value for value in found):
            raise unreadable(response)
        return OnlineMeeting(*map(str, found))

    def protect_lobby(
        self, tenant_id: str, organizer: str, meeting_id: str, *, start: datetime, end: datetime
    ) -> None:
        """Everybody from outside the organization waits in the lobby, and only the organization presents.

        Also moves the meeting: Graph wants both times or neither. Success is no proof; read `lobby` back.
        """
        body = {
            **_times(start, end),
            "lobbyBypassSettings": {"scope": "organizationExcludingGuests", "isDialInBypassEnabled": False},
            "allowedPresenters": "organization",
        }
        self._http.call("PATCH", tenant_id, _meeting(organizer, meeting_id), body=body)

    def lobby(self, tenant_id: str, organizer: str, meeting_id: str) -> Lobby:
        """The lobby as it is now. Without the Prefer header Graph hides the scope that we set."""
        response = self._http.call("GET", tenant_id, _meeting(organizer, meeting_id), headers=_EVERY_ENUM_MEMBER)
        settings = json_object(response).get("lobbyBypassSettings")
        if not isinstance(settings, dict):
            raise unreadable(response)
        # Anything but a plain false counts as a bypass.
        return Lobby(str(settings.get("scope")), settings.get("isDialInBypassEnabled") is not False)

    def delete(self, tenant_id: str, organizer: str, meeting_id: str) -> None:
        """Delete the meeting; one that is gone already is as good."""
        try:
            self._http.call("DELETE", tenant_id, _meeting(organizer, meeting_id))
        except PermanentError as error:
            if error.code != "graph.not_found":
                raise

    def browser_join_url(self, tenant_id: str, organizer: str, meeting_id: str) -> str | None:
        """The page where a patient joins by browser alone; None where the tenant does not offer it."""
        path = f"{_meeting(organizer, meeting_id)}/getVirtualAppointmentJoinWebUrl"
        try:
            url = json_object(self._http.call("GET", tenant_id, path)).get("value")
        except PermanentError as error:
            if error.vendor_status in (403, 404):
                return None
            raise
        return url if isinstance(url, str) and url.startswith(("https://", "http://")) else None


def _meetings(organizer: str) -> str:
    return f"/users/{quote(organizer, safe='')}/onlineMeetings"


def _meeting(organizer: str, meeting_id: str) -> str:
    return f"{_meetings(organizer)}/{quote(meeting_id, safe='')}"


def _times(start: datetime, end: datetime) -> dict[str, str]:
    return {
        "startDateTime": start.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "endDateTime": end.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
