"""The Teams meeting of a visit: one meeting under any race, and no join URL leaves before its lobby is proven.

Row `o.{visit}` in table Visits. The organizer is recorded first, because Graph's createOrGet is keyed by organizer and
externalId: two callers who meet the same row meet in the same meeting.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from connector import clock, logs
from connector.adapters.tables import Row, RowChanged, RowExists
from connector.ehr import Appointment
from connector.errors import PermanentError, RefusedError
from connector.keys import NotOpened, Sealer, decode, encode
from connector.tenants import Connection, TenantScope

if TYPE_CHECKING:
    from connector.bootstrap import Services

VISITS = "Visits"
SUBJECT = "Video visit"
"""Neutral: Teams shows it to everybody in the call."""
_DEFAULT_LENGTH = timedelta(minutes=30)


@dataclass(frozen=True)
class Meeting:
    """A meeting whose lobby was proven. URLs are for the one who joins now; never stored unsealed, never logged."""

    join_web_url: str
    browser_join_url: str | None
    start: datetime
    end: datetime


def visit_key(scope: TenantScope, connection_id: str, appointment_id: str) -> str:
    """The visit's only name outside a request."""
    return scope.index("visit", connection_id, appointment_id)


def stored(services: Services, scope: TenantScope, connection: Connection, visit: str) -> Meeting | None:
    """The proven meeting of a visit as stored, for when the EHR can not be asked."""
    row = scope.tables.get(VISITS, connection.id, f"o.{visit}")
    return _opened(services.sealer, scope, visit, row) if row else None


def provision(services: Services, scope: TenantScope, connection: Connection, appointment: Appointment) -> Meeting:
    """The visit's meeting, made on first need. Idempotent; a moved appointment moves the meeting.

    Raises RefusedError without organizers; TransientError or PermanentError of Graph, `meeting.lobby_not_proven` when
    Teams does not confirm that guests wait.
    """
    if appointment.start is None:
        raise PermanentError("meeting.no_start")
    start, end = appointment.start, appointment.end or appointment.start + _DEFAULT_LENGTH
    visit = visit_key(scope, connection.id, appointment.id)
    row = scope.tables.get(VISITS, connection.id, f"o.{visit}") or _record_organizer(scope, connection, visit)
    ready = _opened(services.sealer, scope, visit, row)
    if ready is not None and (ready.start, ready.end) == (start, end):
        return ready
    organizer = row.text("organizer")
    tenant_id = scope.tenant_id
    made = services.graph.create_or_get(
        tenant_id,
        organizer,
        external_id=scope.index("meeting", connection.id, appointment.id),
        subject=SUBJECT,
        start=start,
        end=end,
    )
    services.graph.protect_lobby(tenant_id, organizer, made.id, start=start, end=end)
    if not services.graph.lobby(tenant_id, organizer, made.id).holds_patients:
        raise PermanentError("meeting.lobby_not_proven")
    browser = services.graph.browser_join_url(tenant_id, organizer, made.id)
    meeting = Meeting(made.join_web_url, browser, start, end)
    _save(services.sealer, scope, visit, row, made.id, meeting)
    logs.event("meeting.provisioned", connection=connection.id, visit=visit, browser_join=browser is not None)
    return meeting


def _record_organizer(scope: TenantScope, connection: Connection, visit: str) -> Row:
    if not connection.organizers:
        raise RefusedError(
            "meeting.no_organizer",
            "No organizer account is configured for video visits. Your administrator can add one to the connection.",
            status=409,
            title="Not set up yet",
        )
    organizer = connection.organizers[int(visit[:8], 16) % len(connection.organizers)]
    row = Row(connection.id, f"o.{visit}", {"organizer": organizer, "created": clock.now().isoformat()})
    try:
        return scope.tables.insert(VISITS, row)
    except RowExists:
        return scope.tables.get(VISITS, connection.id, f"o.{visit}") or row


def _save(sealer: Sealer, scope: TenantScope, visit: str, row: Row, meeting_id: str, meeting: Meeting) -> None:
    box = json.dumps([meeting_id, meeting.join_web_url, meeting.browser_join_url]).encode()
    values = {
        **row.values,
        "meeting": encode(sealer.seal(box, region=scope.region, purpose="meeting", context=visit)),
        "start": meeting.start.isoformat(),
        "end": meeting.end.isoformat(),
        "lobby_proven": clock.now().isoformat(),
    }
    try:
        scope.tables.update(VISITS, replace(row, values=values))
    except RowChanged:
        return  # a racing caller recorded the same meeting: createOrGet gave both the same


def _opened(sealer: Sealer, scope: TenantScope, visit: str, row: Row) -> Meeting | None:
    if not row.text("meeting"):
        return None
    try:
        box = sealer.open(decode(row.text("meeting")), region=scope.region, purpose="meeting", context=visit)
    except NotOpened:
        return None  # sealed by a key that is gone: createOrGet finds the same meeting again
    _, join_web_url, browser_join_url = json.loads(box)
    return Meeting(join_web_url, browser_join_url, _time(row, "start"), _time(row, "end"))


def _time(row: Row, name: str) -> datetime:
    return datetime.fromisoformat(row.text(name)).astimezone(UTC)
