"""The Teams meeting of a visit: one meeting under any race, and no join URL leaves before its lobby is proven.

Row `o.{visit}` in table Visits. The organizer is recorded first, because Graph's createOrGet is keyed by organizer and
externalId: two callers who meet the same row meet in the same meeting.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING

from connector import clock, logs
from connector.adapters.tables import Row, RowChanged, RowExists, Value, Write
from connector.ehr import Appointment
from connector.errors import ConnectorError, PermanentError, RefusedError, TransientError
from connector.keys import NotOpened, Sealer, decode, encode
from connector.tenants import Connection, TenantScope
from connector.visits import live, organizers
from connector.visits.presence import VISITS, put_presence

if TYPE_CHECKING:
    from connector.bootstrap import Services

SUBJECT = "Video visit"
"""Neutral: Teams shows it to everybody in the call."""
FOLLOWED_WITHIN_S = 2.5
PROOF_LASTS = timedelta(hours=1)
"""An organizer may change the lobby in Teams."""
_DEFAULT_LENGTH = timedelta(minutes=30)


@dataclass(frozen=True)
class Meeting:
    """A meeting whose lobby was proven. URLs are for the one who joins now; never stored unsealed, never logged."""

    id: str
    join_web_url: str
    browser_join_url: str | None
    start: datetime
    end: datetime
    department: str = ""
    """Its name; empty for a location of no department."""


def visit_key(scope: TenantScope, connection_id: str, appointment_id: str) -> str:
    """The visit's only name outside a request."""
    return scope.index("visit", connection_id, appointment_id)


def stored(services: Services, scope: TenantScope, connection: Connection, visit: str) -> Meeting | None:
    """The proven meeting of a visit as stored, for when the EHR cannot be asked."""
    row = scope.tables.get(VISITS, connection.id, f"o.{visit}")
    return _opened(services.sealer, scope, visit, row) if row else None


def provision(services: Services, scope: TenantScope, connection: Connection, appointment: Appointment) -> Meeting:
    """The visit's meeting, made on first need. Idempotent; a moved appointment moves the meeting, one that was deleted
    in Teams is made again. A lobby that was proven over an hour ago is proven anew, if Graph answers.

    Raises RefusedError without organizers; TransientError or PermanentError of Graph, `meeting.lobby_not_proven` when
    Teams does not confirm that guests wait.
    """
    if appointment.start is None:
        raise PermanentError("meeting.no_start")
    start, end = appointment.start, _end_of(appointment, appointment.start)
    visit = visit_key(scope, connection.id, appointment.id)
    row = scope.tables.get(VISITS, connection.id, f"o.{visit}") or expect(
        services, scope, connection, visit, appointment
    )
    ready = _opened(services.sealer, scope, visit, row)
    if ready is not None and (ready.start, ready.end) == (start, end) and _still_proven(services, scope, row, ready):
        return ready
    tenant_id = scope.tenant_id
    create = partial(
        services.graph.create_or_get,
        tenant_id,
        external_id=scope.index("meeting", connection.id, appointment.id),
        subject=SUBJECT,
        start=start,
        end=end,
    )
    try:
        made = create(row.text("organizer"))
    except PermanentError:
        if row.text("organizer") in connection.organizers:
            raise
        row = _other_organizer(scope, connection, visit, row)
        made = create(row.text("organizer"))
    organizer = row.text("organizer")
    other = ready is not None and ready.join_web_url != made.join_web_url
    following = Thread(
        target=_follow, args=(services, scope, connection, visit, made.join_web_url, end, other), daemon=True
    )
    following.start()
    services.graph.protect_lobby(tenant_id, organizer, made.id, start=start, end=end)
    if not services.graph.lobby(tenant_id, organizer, made.id).holds_patients:
        raise PermanentError("meeting.lobby_not_proven")
    browser = services.graph.browser_join_url(tenant_id, organizer, made.id)
    about = _about(services.sealer, scope, connection, visit, appointment)
    meeting = Meeting(made.id, made.join_web_url, browser, start, end, str(about["department"]))
    _save(services.sealer, scope, visit, replace(row, values={**row.values, **about}), meeting)
    following.join(FOLLOWED_WITHIN_S)
    logs.event("meeting.provisioned", connection=connection.id, visit=visit, browser_join=browser is not None)
    return meeting


def no_meeting(error: ConnectorError) -> ConnectorError:
    """What staff are told when `provision` failed; what was refused says it already."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, TransientError):
        status, title = 503, "Teams does not answer"
        message = "Microsoft Teams does not answer, so the meeting cannot be opened. Try again in a moment."
    else:
        status, title = 502, "No meeting from Teams"
        message = (
            "Microsoft Teams did not give a meeting in which patients surely wait in the lobby. An administrator finds "
            "the cause in the portal, under the checks of the connection."
        )
    return RefusedError(
        error.code,
        f"{message} If the patient waits, call them.",
        status=status,
        title=title,
        retry_after_s=5 if status == 503 else None,
        vendor_code=error.vendor_code,
        vendor_reference=error.vendor_reference,
    )


def staff_joined(scope: TenantScope, connection_id: str, visit: str, meeting: Meeting) -> None:
    """Staff got the meeting's address. Not to be remembered keeps nobody out."""
    logs.event("visit.clinician_joined", connection=connection_id, visit=visit)
    try:
        put_presence(scope, connection_id, visit, end=meeting.end, staff_at=clock.now().isoformat())
    except TransientError as error:
        logs.event("visit.presence_not_written", connection=connection_id, visit=visit, code=error.code)


def _follow(
    services: Services,
    scope: TenantScope,
    connection: Connection,
    visit: str,
    join_web_url: str,
    end: datetime,
    other: bool,
) -> None:
    """In a thread of its own: Teams tells only of calls that begin after its subscription, so this begins at once and
    is waited for briefly. `other`: the visit had another meeting, whose subscription tells nothing of this one."""
    try:
        if other:
            live.unfollow(services, scope, connection.id, visit)
        live.follow(services, scope, connection, visit, join_web_url, end)
    except Exception as error:
        logs.failure("live.failed", error, connection=connection.id, visit=visit)


def _still_proven(services: Services, scope: TenantScope, row: Row, meeting: Meeting) -> bool:
    """False when the meeting must be made or its lobby set again."""
    if clock.now() - _time(row, "lobby_proven") < PROOF_LASTS:
        return True
    try:
        lobby = services.graph.lobby(scope.tenant_id, row.text("organizer"), meeting.id)
    except TransientError:
        return True
    except PermanentError as error:
        if error.code == "graph.not_found":
            return False
        raise
    if lobby.holds_patients:
        proven = {"lobby_proven": clock.now().isoformat()}
        scope.tables.transact(VISITS, [Write("merge", Row(row.partition, row.key, proven))])
    return lobby.holds_patients


def expect(services: Services, scope: TenantScope, connection: Connection, visit: str, appointment: Appointment) -> Row:
    """Record a visit that is to have a meeting, and in whose name: its `o` row, whoever was first.

    Raises RefusedError (409) without organizers, or when they have made as many as Teams allows.
    """
    organizer = organizers.least_used(scope, connection.organizers, visit)
    about = _about(services.sealer, scope, connection, visit, appointment)
    row = Row(connection.id, f"o.{visit}", {"organizer": organizer, "created": clock.now().isoformat(), **about})
    try:
        made = scope.tables.insert(VISITS, row)
    except RowExists:
        return scope.tables.get(VISITS, connection.id, f"o.{visit}") or row
    organizers.count(scope, organizer)
    return made


def _other_organizer(scope: TenantScope, connection: Connection, visit: str, row: Row) -> Row:
    """In place of an account that makes no meeting and that an administrator took off the list."""
    organizer = organizers.least_used(scope, connection.organizers, visit)
    try:
        changed = scope.tables.update(VISITS, replace(row, values={**row.values, "organizer": organizer}))
    except RowChanged:  # somebody else was faster
        return scope.tables.get(VISITS, row.partition, row.key) or row
    organizers.count(scope, organizer)
    return changed


def _about(
    sealer: Sealer, scope: TenantScope, connection: Connection, visit: str, appointment: Appointment
) -> dict[str, Value]:
    """What its row keeps of a visit."""
    start = appointment.start or clock.now()
    department = connection.department_of(appointment.location_ids)
    ref = sealer.seal(appointment.id.encode(), region=scope.region, purpose="ref", context=visit)
    return {
        "ref": encode(ref),
        "department": department.name if department else "",
        "start": start.isoformat(),
        "end": _end_of(appointment, start).isoformat(),
    }


def _end_of(appointment: Appointment, start: datetime) -> datetime:
    """Graph takes no meeting that ends before it begins."""
    return appointment.end if appointment.end and appointment.end > start else start + _DEFAULT_LENGTH


def _save(sealer: Sealer, scope: TenantScope, visit: str, row: Row, meeting: Meeting) -> None:
    box = json.dumps([meeting.id, meeting.join_web_url, meeting.browser_join_url]).encode()
    values = {
        **row.values,
        "meeting": encode(sealer.seal(box, region=scope.region, purpose="meeting", context=visit)),
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
    meeting_id, join_web_url, browser_join_url = json.loads(box)
    start, end, department = _time(row, "start"), _time(row, "end"), row.text("department")
    return Meeting(meeting_id, join_web_url, browser_join_url, start, end, department)


def _time(row: Row, name: str) -> datetime:
    return datetime.fromisoformat(row.text(name)).astimezone(UTC)
