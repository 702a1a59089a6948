"""What the reports of deliveries say about a sender as a whole: that carriers or Microsoft block what it sends.

Row `b.health.{sender}` in table Visits, partition = tenant: for each fault when it was seen first and last, and how
often in a row of days without a day free of it. Source of the codes: "Troubleshooting, SMS error codes".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta

from pydantic import BaseModel

from connector.adapters.tables import Row, RowChanged, RowExists
from connector.messages.ledger import TABLE
from connector.tenants import TenantScope

MEANINGS = {
    "4001": "the message has a wrong form",
    "4002": "the number has a wrong form",
    "4003": "the number cannot be reached from here",
    "4004": "there is no such number",
    "4005": "carriers block these messages",
    "4006": "the phone cannot be reached",
    "4007": "the person asked the carrier to stop",
    "4008": "the sender sends more than it may",
    "4009": "the resource may not send to this country or by this kind of number",
    "4010": "the toll-free number is not verified: every message is blocked",
    "5000": "the message service failed",
    "5001": "the message service failed",
    "5002": "no report came from the carrier",
    "bounced": "the mail server refused it: usually there is no such address",
    "suppressed": "the address refused mail before, so the mail service sends no more",
    "quarantined": "the mail server keeps it as suspicious",
    "filteredspam": "the mail server takes it for spam",
}
FAULTS = frozenset({"4005", "4008", "4009", "4010"})
"""Codes that are about the sender, not about one message."""
PRESENT = timedelta(hours=24)
"""A fault that was not seen for so long is over."""
_ATTEMPTS = 3


class SenderFault(BaseModel):
    """A fault of a sender that was seen in the last 24 hours."""

    code: str
    meaning: str
    first: datetime
    last: datetime
    count: int


def faults(scope: TenantScope, sender_id: str, now: datetime) -> list[SenderFault]:
    """One storage operation."""
    row = scope.tables.get(TABLE, scope.tenant_id, f"b.health.{sender_id}")
    return [
        SenderFault(code=code, meaning=MEANINGS[code], first=first, last=last, count=count)
        for code, (first, last, count) in sorted(_stored(row, now).items())
    ]


def note(scope: TenantScope, sender_id: str, seen: Mapping[str, int], now: datetime) -> None:
    """Two storage operations. Only a sign: where others are faster again and again, theirs stands."""
    for _ in range(_ATTEMPTS):
        row = scope.tables.get(TABLE, scope.tenant_id, f"b.health.{sender_id}")
        kept = _stored(row, now)
        for code, number in seen.items():
            first, _last, count = kept.get(code, (now, now, 0))
            kept[code] = first, now, count + number
        text = json.dumps({code: [first.isoformat(), last.isoformat(), n] for code, (first, last, n) in kept.items()})
        changed = Row(scope.tenant_id, f"b.health.{sender_id}", {"faults": text}, row.etag if row else None)
        try:
            scope.tables.update(TABLE, changed) if row else scope.tables.insert(TABLE, changed)
        except (RowChanged, RowExists):
            continue
        return


def _stored(row: Row | None, now: datetime) -> dict[str, tuple[datetime, datetime, int]]:
    found: dict[str, list[str | int]] = json.loads(row.text("faults")) if row else {}
    read = {
        code: (datetime.fromisoformat(str(first)), datetime.fromisoformat(str(last)), int(count))
        for code, (first, last, count) in found.items()
    }
    return {code: one for code, one in read.items() if now - one[1] < PRESENT}
