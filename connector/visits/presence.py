"""What our own pages saw of the patient: the link was used to join, and when. Row `p.{visit}` in table Visits."""

from __future__ import annotations

from dataclasses import dataclass

from connector import clock
from connector.adapters.tables import Row, RowExists
from connector.tenants import TenantScope
from connector.visits.meeting import VISITS


@dataclass(frozen=True)
class Presence:
    """`joined_at` is when the patient first tapped Join (ISO 8601, UTC), or None."""

    joined_at: str | None
    etag: str


def record_join(scope: TenantScope, connection_id: str, visit: str) -> None:
    """The first tap counts; later ones (a second device, a rejoin) change nothing."""
    try:
        scope.tables.insert(VISITS, Row(connection_id, f"p.{visit}", {"joined_at": clock.now().isoformat()}))
    except RowExists:
        return


def read_presence(scope: TenantScope, connection_id: str, visit: str) -> Presence:
    row = scope.tables.get(VISITS, connection_id, f"p.{visit}")
    if row is None:
        return Presence(None, '"none"')
    return Presence(row.text("joined_at"), f'"{row.text("joined_at")}"')
