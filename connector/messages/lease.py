"""Who scans a connection, one worker at a time and for a limited real time, and how far each window was scanned.

Row `lease.discover`: holder, end of the lease (real time), and for each window what `Scan` says.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from connector import clock
from connector.adapters.tables import Row, RowChanged, RowExists
from connector.errors import TransientError
from connector.messages.ledger import TABLE, real_now
from connector.tenants import TenantScope

KEY = "lease.discover"
NEAR = "near"
LASTS = timedelta(minutes=2)
"""Longer than the reading and planning of one part of a window take; a worker that died is replaced after this. One
that is slower loses its lease, and stops at its next renewal."""
RENEWED_AFTER = timedelta(seconds=20)


class Counts(NamedTuple):
    appointments: int = 0
    visits: int = 0
    unread: int = 0
    """Parts and records that could not be read."""

    def plus(self, appointments: int, visits: int, unread: int) -> Counts:
        return Counts(self.appointments + appointments, self.visits + visits, self.unread + unread)


NOTHING = Counts()


@dataclass(frozen=True)
class Scan:
    """What is known of one window, in business time."""

    completed: datetime | None = None
    """When it was last read completely."""
    tried: datetime | None = None
    """When the last reading began, complete or not."""
    reached: datetime | None = None
    """Where a reading that ran out of time goes on."""
    appointments: int = 0
    visits: int = 0
    """Video visits that were to take place, at the last complete reading."""
    so_far: Counts = NOTHING
    """Of the reading under way."""


def scans(row: Row | None) -> dict[str, Scan]:
    """By window: `near`, or a day."""
    stored: dict[str, list[Any]] = json.loads(row.text("windows") or "{}") if row else {}
    found = {}
    for name, (completed, tried, reached, appointments, visits, so_far) in stored.items():
        times = _moment(completed), _moment(tried), _moment(reached)
        found[name] = Scan(*times, appointments, visits, Counts(*so_far))
    return found


@dataclass
class Lease:
    """A lease that is held. Raises TransientError where another worker took it: then this one must stop."""

    scope: TenantScope
    partition: str
    holder: str
    scans: dict[str, Scan]
    etag: str | None = None
    renewed: datetime = field(default_factory=real_now)

    @classmethod
    def acquire(cls, scope: TenantScope, partition: str) -> Lease | None:
        """None while another worker has it."""
        row = scope.tables.get(TABLE, partition, KEY)
        until = row.text("until") if row else ""
        if until and datetime.fromisoformat(until) > real_now():
            return None
        lease = cls(scope, partition, secrets.token_hex(8), scans(row), row.etag if row else None)
        try:
            lease._write(lease._row())
        except (RowExists, RowChanged):
            return None
        return lease

    def renew(self) -> None:
        if real_now() - self.renewed > RENEWED_AFTER:
            try:
                self._write(self._row())
            except RowChanged:
                raise TransientError("messages.lease_lost") from None

    def release(self) -> None:
        """Give it back, and write what was scanned; nothing when another worker took it."""
        today = clock.now().date().isoformat()
        self.scans = {name: scan for name, scan in self.scans.items() if name == NEAR or name >= today}
        try:
            self._write(self._row(released=True))
        except RowChanged:
            return

    def _write(self, row: Row) -> None:
        tables = self.scope.tables
        self.etag = (tables.update(TABLE, row) if self.etag else tables.insert(TABLE, row)).etag
        self.renewed = real_now()

    def _row(self, *, released: bool = False) -> Row:
        kept = {
            name: [_text(one.completed), _text(one.tried), _text(one.reached), one.appointments, one.visits, one.so_far]
            for name, one in self.scans.items()
        }
        until = "" if released else (real_now() + LASTS).isoformat()
        windows = json.dumps(kept, separators=(",", ":"))
        return Row(self.partition, KEY, {"holder": self.holder, "until": until, "windows": windows}, self.etag)


def _text(moment: datetime | None) -> str:
    return moment.isoformat() if moment else ""


def _moment(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
