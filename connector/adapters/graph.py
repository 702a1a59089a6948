"""Microsoft Graph: the online meetings of organizer accounts, by application permissions.

Source: Microsoft Graph v1.0 reference, "onlineMeeting: createOrGet", "Update onlineMeeting", "Get
onlineMeeting", "virtualAppointment: getVirtualAppointmentJoinWebUrl", "lobbyBypassSettings resource type";
"Allow applications to access online meetings on behalf of a user" (the Teams application access policy).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from connector.adapters.http import Response
from connector.adapters.microsoft import MicrosoftHttp
from connector.errors import PermanentError

_CODE = re.compile(r"[A-Za-z0-9_.]{1,64}")
_REFUSALS = {
    "Authorization_RequestDenied": "graph.not_consented",
    "InvalidAuthenticationToken": "graph.token_refused",
}
"""What a 401 or 403 means by its code; any other is the missing application access policy."""
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


class Graph:
    """Meetings in the tenants that consented; `token` gives the bearer token for a tenant id.

    PermanentError: `graph.no_application_access` (the tenant's Teams administrator must grant the application
    access policy), `graph.not_consented`, `graph.not_found`, `graph.refused`.
    TransientError: 429, 5xx, no answer.
    """

    def __init__(self, url: str, token: Callable[[str], str]) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._http = MicrosoftHttp("graph")

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
        response = self._call("POST", tenant_id, f"{_meetings(organizer)}/createOrGet", body=body)
        meeting = _object(response)
        found = meeting.get("id"), meeting.get("joinWebUrl")
        if not all(isinstance(value, str) and value for value in found):
            raise _unreadable(response)
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
        self._call("PATCH", tenant_id, _meeting(organizer, meeting_id), body=body)

    def lobby(self, tenant_id: str, organizer: str, meeting_id: str) -> Lobby:
        """The lobby as it is now. Without the Prefer header Graph hides the scope that we set."""
        response = self._call("GET", tenant_id, _meeting(organizer, meeting_id), headers=_EVERY_ENUM_MEMBER)
        settings = _object(response).get("lobbyBypassSettings")
        if not isinstance(settings, dict):
            raise _unreadable(response)
        # Anything but a plain false counts as a bypass.
        return Lobby(str(settings.get("scope")), settings.get("isDialInBypassEnabled") is not False)

    def browser_join_url(self, tenant_id: str, organizer: str, meeting_id: str) -> str | None:
        """The page where a patient joins by browser alone; None where the tenant does not offer it."""
        path = f"{_meeting(organizer, meeting_id)}/getVirtualAppointmentJoinWebUrl"
        try:
            url = _object(self._call("GET", tenant_id, path)).get("value")
        except PermanentError as error:
            if error.vendor_status in (403, 404):
                return None
            raise
        return url if isinstance(url, str) and url.startswith(("https://", "http://")) else None

    def _call(
        self,
        method: str,
        tenant_id: str,
        path: str,
        *,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Response:
        """Every call here may be repeated: reads, full updates, and createOrGet by its external id."""
        bearer = {"Authorization": f"Bearer {self._token(tenant_id)}"}
        response = self._http.request(
            method, f"{self._url}/v1.0{path}", repeatable=True, headers=bearer | (headers or {}), json=body
        )
        if response.status < 300:
            return response
        raise _refusal(response)


def _refusal(response: Response) -> PermanentError:
    code = _error_code(response)
    if response.status in (401, 403):
        ours = _REFUSALS.get(code or "", "graph.no_application_access")
    else:
        ours = "graph.not_found" if response.status == 404 else "graph.refused"
    return PermanentError(
        ours, vendor_status=response.status, vendor_code=code, vendor_reference=response.reference
    )


def _error_code(response: Response) -> str | None:
    """`error.code` of Graph's error form, when it looks like one."""
    try:
        code = response.json()["error"]["code"]
    except (PermanentError, KeyError, TypeError):
        return None
    return code if isinstance(code, str) and _CODE.fullmatch(code) else None


def _object(response: Response) -> dict[str, Any]:
    body = response.json()
    if not isinstance(body, dict):
        raise _unreadable(response)
    return body


def _unreadable(response: Response) -> PermanentError:
    return PermanentError(
        "graph.unreadable_answer", vendor_status=response.status, vendor_reference=response.reference
    )


def _meetings(organizer: str) -> str:
    return f"/users/{quote(organizer, safe='')}/onlineMeetings"


def _meeting(organizer: str, meeting_id: str) -> str:
    return f"{_meetings(organizer)}/{quote(meeting_id, safe='')}"


def _times(start: datetime, end: datetime) -> dict[str, str]:
    return {
        "startDateTime": start.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "endDateTime": end.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
