"""The one id that a message has at Azure Communication Services, and the way back from it to our row.

A reference is a UUID (RFC 9562, version 8) of the connection, the claim and a hash of the message's row key: the
repeatability id of an SMS and its tag, and the operation id of an e-mail. It names no visit. Reports of deliveries
bring it back, and row `r.{claim}.{message}` in table Visits, written with what became of the claim, says which rows
were meant: one row for all messages of a claim.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import datetime

from connector import clock
from connector.adapters.tables import Row, Value
from connector.regions import Region

_CLAIM = 12
"""Hex digits of a claim's id, itself random: enough to tell claims of one connection apart for a day."""
_FORM = re.compile(r"([0-9a-f]{10})([0-9a-f]{2})8([0-9a-f]{3})8([0-9a-f]{7})([0-9a-f]{8})")


def reference(connection_id: str, claim_id: str, row_key: str) -> str:
    connection = base64.b32decode(connection_id[1:].upper()).hex()
    first, second, third = claim_id[:2], claim_id[2:5], claim_id[5:_CLAIM]
    return str(uuid.UUID(f"{connection}{first}8{second}8{third}{_message(row_key)}"))


@dataclass(frozen=True)
class Reference:
    """A reference that was read; whether there is such a message only the rows say."""

    connection_id: str
    claim: str
    message: str

    @classmethod
    def parse(cls, text: str, region: Region) -> Reference | None:
        """None for what is none of ours."""
        found = _FORM.fullmatch(text.replace("-", "").lower())
        if found is None:
            return None
        connection = base64.b32encode(bytes.fromhex(found[1])).decode().lower()
        return cls(region.letter + connection, found[2] + found[3] + found[4], found[5])


@dataclass(frozen=True)
class Sent:
    """One message that was accepted, or perhaps was."""

    key: str
    """Of its m or l row."""
    message_id: str
    """Empty for an SMS of unknown outcome."""
    channel: str
    certain: bool = True
    """It was accepted; False: nobody knows."""

    @property
    def message(self) -> str:
        return _message(self.key)


@dataclass(frozen=True)
class Awaiting:
    """An r row: messages of one claim whose reports are still to come."""

    row: Row
    at: datetime
    looked: int
    """How often the vendor was asked."""
    sent: tuple[Sent, ...]

    @classmethod
    def new(cls, partition: str, claim_id: str, sent: Sequence[Sent]) -> Awaiting:
        return cls(Row(partition, f"r.{claim_id[:_CLAIM]}.{sent[0].message}"), clock.now(), 0, tuple(sent))

    @classmethod
    def of(cls, row: Row) -> Awaiting:
        sent = tuple(Sent(*one[:4]) for one in json.loads(row.text("sent")))
        return cls(row, datetime.fromisoformat(row.text("at")), row.number("looked"), sent)

    def stored(self) -> Row:
        sent = json.dumps([list(astuple(one)) for one in self.sent], separators=(",", ":"))
        values: dict[str, Value] = {"at": self.at.isoformat(), "looked": self.looked, "sent": sent}
        return Row(self.row.partition, self.row.key, values, self.row.etag)


def _message(row_key: str) -> str:
    return hashlib.sha256(row_key.encode()).hexdigest()[:8]
