"""What is known of a visit while it happens: row `p.{visit}` in table Visits, one point read for every page.

The patient's page, the clinician's page and Graph's notifications each write columns of their own, by merge, so that
nobody overwrites another. docs/data-map.md lists the columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from connector import clock
from connector.adapters.tables import Row, Value, Write
from connector.join_link import wrong_link
from connector.keys import JoinToken, fingerprint
from connector.tenants import TenantScope

VISITS = "Visits"

STATUS = (
    "opened_at", "joined_at", "staff_at", "test", "tested_at", "browser", "lobby", "lobby_since", "guests", "staff",
    "live", "live_at", "late_minutes", "late_at", "ended", "ended_at", "confirmed_for",
)  # fmt: skip
"""Columns that the clinician's page shows; times are ISO 8601, UTC."""


@dataclass(frozen=True)
class Presence:
    values: Mapping[str, Value] = field(default_factory=dict)
    etag: str = '"none"'
    """For HTTP; another after every write."""

    def text(self, name: str) -> str:
        return str(self.values.get(name, ""))

    def number(self, name: str) -> int:
        return int(self.values.get(name, 0))

    @property
    def generation(self) -> int:
        """The generation of patient links that is good now: staff revoke by raising it."""
        return self.number("generation")

    def require_current(self, token: JoinToken) -> None:
        """Raises RefusedError (404) for a link that was revoked. One that is being revoked is good until no message
        with it is on its way any more (`messages.revoke_links`)."""
        until = self.text("previous_until")
        lasts = bool(until) and datetime.now(UTC) < datetime.fromisoformat(until)
        if token.generation != self.generation and not (lasts and token.generation == self.generation - 1):
            raise wrong_link()

    def status(self) -> dict[str, Value | None]:
        """What a page may know; null where nothing is known."""
        return {name: None if self.text(name) == "" else self.values[name] for name in STATUS}


def read_presence(scope: TenantScope, connection_id: str, visit: str) -> Presence:
    row = scope.tables.get(VISITS, connection_id, f"p.{visit}")
    return Presence(row.values, f'"{fingerprint(row.etag or "")[:16]}"') if row else Presence()


def put_presence(scope: TenantScope, connection_id: str, visit: str, *, end: datetime | None, **columns: Value) -> None:
    """Set these columns and leave the others. `end` of the visit, as known, says when the row may be forgotten."""
    row = Row(connection_id, f"p.{visit}", {"end": (end or clock.now()).isoformat(), **columns})
    scope.tables.transact(VISITS, [Write("put", row)])
