"""Repeatable requests of simulated Communication Services: what an id and its first-sent promise, and for how long.

Source: REST API "Repeatable requests" (OASIS Repeatable Requests 1.0), for e-mail as headers, for SMS in the body.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

WINDOW = timedelta(minutes=5)
BAD_FIRST_SENT = (
    "Request sent with Invalid DateTime value for repeatability-first-sent. "
    "Expected is DateTime ,RFC1123 pattern."
)


class Rejected(Exception):
    """A message is refused because of its repeatability id or first-sent."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def repeatable(repeat_id: str, first_sent: Any) -> tuple[str, datetime]:
    """The id is remembered for five minutes after first-sent; an older one proves nothing any more."""
    now = datetime.now(UTC)
    try:
        key, moment = str(uuid.UUID(repeat_id)), parsedate_to_datetime(first_sent).astimezone(UTC)
    except (AttributeError, TypeError, ValueError):
        raise Rejected(400, BAD_FIRST_SENT) from None
    if moment - now > WINDOW:
        raise Rejected(400, BAD_FIRST_SENT)  # a caller whose clock runs ahead would outlive the window
    if now - moment > WINDOW:
        raise Rejected(412, "The repeatability-first-sent is older than the tracked window.")
    return key, moment
