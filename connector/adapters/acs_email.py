"""E-mail by Azure Communication Services, under an operation id of our own and with an honest verdict on each send.

Source: azure-communication-email 1.1.0; REST API "Email - Send" and "Email - Get Send Result" 2025-09-01. The operation
id finds the message again; the repeatability headers are what ACS promises to send only once ("Repeatable requests").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Literal

from connector.adapters import acs
from connector.errors import PermanentError

_VERSION = "api-version=2025-09-01"
Progress = Literal["unknown", "under_way", "succeeded", "failed"]
_PROGRESS: dict[str, Progress] = {
    "NotStarted": "under_way",
    "Running": "under_way",
    "Succeeded": "succeeded",
    "Failed": "failed",
    "Canceled": "failed",
}


@dataclass(frozen=True)
class Email:
    """One message to one person, as plain text and as the same in HTML."""

    subject: str
    text: str
    html: str
    headers: Mapping[str, str]
    """Of the message itself, such as List-Unsubscribe (RFC 8058)."""


class AcsEmail:
    """E-mail from `sender`, an address of a domain linked to one region's resource; safe to share between threads."""

    def __init__(
        self,
        endpoint: str,
        key: str | None,
        identity_client_id: str | None,
        sender: str,
        rate: tuple[int, int] = (30, 100),
    ) -> None:
        self.sender = sender
        self.rate = rate
        """Messages a minute and an hour that the domain may send: "Service limits", unless Microsoft raised them."""
        self._resource = acs.Resource("email", endpoint, key, identity_client_id)

    def send(self, *, to: str, email: Email, operation_id: str, first_sent: datetime) -> str:
        """The operation id, when ACS accepted the message; accepted is not yet delivered.

        `operation_id` is a UUID. Equal arguments make an equal request, so ACS sends a repetition within its window
        only once.
        TransientError: surely not sent (`email.unreachable`, `email.throttled`, which may name when to come back).
        PermanentError: refused (`email.refused`); of this sender everything is (`email.not_allowed`).
        AmbiguousError: this or an earlier try may have been sent (`email.unknown_outcome`, `email.window_passed`,
        `email.other_body`).
        """
        body = {
            "senderAddress": self.sender,
            "content": {"subject": email.subject, "plainText": email.text, "html": email.html},
            "recipients": {"to": [{"address": to}]},
            "headers": dict(email.headers),
            "userEngagementTrackingDisabled": True,
        }
        headers = {
            "Operation-Id": operation_id,
            "Repeatability-Request-Id": operation_id,
            "Repeatability-First-Sent": format_datetime(first_sent.astimezone(UTC), usegmt=True),
        }
        response = self._resource.request("POST", f"/emails:send?{_VERSION}", json=body, headers=headers)
        if response.status == 404:  # DomainNotLinked: the resource has no such domain
            raise PermanentError("email.not_allowed", vendor_status=404, vendor_reference=response.reference)
        if response.status != 202:
            raise acs.verdict(response, disputed=b"repeatab" in response.body.lower())
        return operation_id

    def progress(self, operation_id: str) -> Progress:
        """How far ACS is with a message; `succeeded` is handed over to the recipient's mail server.

        `unknown`: ACS has no such operation. Reading is harmless; raises ConnectorError when there is no verdict.
        """
        response = self._resource.request("GET", f"/emails/operations/{operation_id}?{_VERSION}")
        if response.status == 404:
            return "unknown"
        if response.status != 200:
            raise acs.verdict(response)
        answer = response.json()
        found = _PROGRESS.get(str(answer.get("status"))) if isinstance(answer, dict) else None
        if found is None:
            raise PermanentError("email.unreadable_answer", vendor_reference=response.reference)
        return found
