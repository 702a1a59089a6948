"""Who scans a connection: one worker at a time, for a limited real time, and when each window was scanned.

`lease.discover`  holder, end of the lease (real time) and the last complete scan of each window
`s.{window}`      the same for the operator: last complete scan, last attempt, how many appointments
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from connector import clock
from connector.adapters.tables import Row, RowChanged, RowExists, Write
from connector.errors import TransientError
from connector.messages.ledger import TABLE, real_now
from connector.tenants import TenantScope

KEY = "lease.discover"
LASTS = timedelta(minutes=2)
"""Longer than the pages of one search take as a rule; a worker that died is replaced after this. One that is slower
loses its lease, and stops at its next renewal."""
RENEWED_AFTER = timedelta(seconds=20)


@dataclass
class Lease:
    """A lease that is held. Raises TransientError where another worker took it: then this one must stop."""

    scope: TenantScope
    partition: str
    holder: str
    scans: dict[str, datetime]
    etag: str | None = None
    renewed: datetime = field(default_factory=real_now)
    _tried: dict[str, int] = field(default_factory=dict)

    @classmethod
    def acquire(cls, scope: TenantScope, partition: str) -> Lease | None:
        """None while another worker has it."""
        row = scope.tables.get(TABLE, partition, KEY)
        until = row.text("until") if row else ""
        if until and datetime.fromisoformat(until) > real_now():
            return None
        scans = json.loads(row.text("scans") or "{}") if row else {}
        times = {name: datetime.fromisoformat(at) for name, at in scans.items()}
        lease = cls(scope, partition, secrets.token_hex(8), times, row.etag if row else None)
        try:
            lease._write()
        except (RowExists, RowChanged):
            return None
        return lease

    def renew(self) -> None:
        if real_now() - self.renewed > RENEWED_AFTER:
            try:
                self._write()
            except RowChanged:
                raise TransientError("messages.lease_lost") from None

    def scanned(self, window: str, completed: datetime | None, found: int) -> None:
        """Note a scan of a window; `completed` is None when parts of it could not be read."""
        self._tried[window] = found
        if completed:
            self.scans[window] = completed

    def release(self) -> None:
        """Give it back, and write what was scanned; nothing when another worker took it."""
        today = clock.now().date().isoformat()
        past = [name for name in self.scans if name != "near" and name < today]
        for name in past:
            del self.scans[name]
        writes = [Write("update", self._row(released=True))]
        writes += [Write("upsert", self._state(name, found)) for name, found in self._tried.items() if name not in past]
        try:
            self.scope.tables.transact(TABLE, writes)
        except RowChanged:
            return
        for name in past:
            try:
                self.scope.tables.delete(TABLE, Row(self.partition, f"s.{name}"))
            except RowChanged:
                continue

    def _state(self, name: str, found: int) -> Row:
        completed = self.scans.get(name)
        values = {"completed_at": completed.isoformat() if completed else "", "tried_at": clock.now().isoformat()}
        return Row(self.partition, f"s.{name}", {**values, "appointments": found})

    def _write(self) -> None:
        row, tables = self._row(), self.scope.tables
        self.etag = (tables.update(TABLE, row) if self.etag else tables.insert(TABLE, row)).etag
        self.renewed = real_now()

    def _row(self, *, released: bool = False) -> Row:
        scans = json.dumps({name: at.isoformat() for name, at in self.scans.items()}, separators=(",", ":"))
        until = "" if released else (real_now() + LASTS).isoformat()
        return Row(self.partition, KEY, {"holder": self.holder, "until": until, "scans": scans}, self.etag)
