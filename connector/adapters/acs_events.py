"""What Event Grid brings from Azure Communication Services, in our own words.

Source: Event Grid schema 1.0, "Communication Services SMS events" and "... email events"; delivery status codes:
"Troubleshooting, SMS error codes". Numbers may lack their plus sign, and the tag is written `Tag` or `tag`.
Whoever can call the trigger could have made an event up: nothing here is proof of anything by itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

RECEIVED = "Microsoft.Communication.SMSReceived"
SMS_REPORT = "Microsoft.Communication.SMSDeliveryReportReceived"
EMAIL_REPORT = "Microsoft.Communication.EmailDeliveryReportReceived"
_WORDS = {"bounced", "suppressed", "quarantined", "filteredspam", "failed"}


@dataclass(frozen=True)
class Reply:
    """A text message to one of our numbers."""

    id: str
    sender: str
    """E.164, of the person."""
    to: str
    text: str


@dataclass(frozen=True)
class Report:
    """What became of one message after it was accepted."""

    message_id: str
    tag: str
    """As it was given when an SMS was sent; e-mail has none, but its message id is ours."""
    delivered: bool
    code: str
    """The vendor's status code (`4010`) or word (`bounced`); never free text."""
    at: datetime
    sender: str = ""
    to: str = ""


def reply(data: Any) -> Reply | None:
    """None for what is no text message."""
    given = data if isinstance(data, dict) else {}
    found = {name: given.get(name) for name in ("messageId", "from", "to", "message")}
    if not all(isinstance(value, str) and value for value in found.values()):
        return None
    number, to = plus(str(found["from"])), plus(str(found["to"]))
    return Reply(str(found["messageId"]), number, to, str(found["message"]))


def report(event_type: str, data: Any) -> Report | None:
    """None for what is no report of a delivery."""
    given: dict[str, Any] = data if isinstance(data, dict) else {}
    message_id = given.get("messageId")
    if not isinstance(message_id, str) or not message_id:
        return None
    if event_type == SMS_REPORT:
        return sms_report(given)
    if event_type == EMAIL_REPORT:
        status = str(given.get("status", "")).lower()
        code = status if status in _WORDS else "" if status == "delivered" else "failed"
        at = moment(given.get("deliveryAttemptTimeStamp") or given.get("deliveryAttemptTimestamp"))
        return Report(message_id, "", status in ("delivered", "expanded"), code, at)
    return None


def sms_report(given: dict[str, Any]) -> Report:
    """Of an event, or of the answer to "Delivery Reports - Get", which has the same form."""
    delivered, details = given.get("deliveryStatus") == "Delivered", str(given.get("deliveryStatusDetails", ""))
    code = re.match(r"\s*(\d{4})\b", details)
    blocked = "4007" if "sender blocked" in details.lower() else "failed"
    return Report(
        message_id=str(given.get("messageId", "")),
        tag=str(given.get("Tag") or given.get("tag") or ""),
        delivered=delivered,
        code="" if delivered else code[1] if code else blocked,
        at=moment(given.get("receivedTimestamp")),
        sender=plus(str(given.get("from", ""))),
        to=plus(str(given.get("to", ""))),
    )


def moment(text: Any) -> datetime:
    """A time of the vendor's, UTC; the beginning of time for what is none."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def plus(number: str) -> str:
    return number if number.startswith("+") else f"+{number}"
