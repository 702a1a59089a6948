"""The whole chain with no patient: a token, one search of the schedule, one meeting with its lobby proven and deleted
again, one text to the admin's own number. Each link is a check; nothing of it is stored."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

from connector import clock, messages
from connector.checks.fhir import schedule_checks, token_checks
from connector.checks.models import Check, found
from connector.errors import ConnectorError, TransientError
from connector.tenants import Actor, Connection, TenantScope

if TYPE_CHECKING:
    from connector.bootstrap import Services

_SUBJECT = "Test"
_LASTS = timedelta(minutes=30)


def self_test(
    services: Services, scope: TenantScope, connection: Connection, number: str, actor: Actor
) -> list[Check]:
    """Each link on its own, whatever became of the others. `number` as typed; empty: no text is sent."""
    made = token_checks(services, scope, connection)
    if made[0].finding == "granted":
        made += schedule_checks(services, scope, connection)
    else:
        made += [found("fhir.locations", "not_asked"), found("fhir.schedule", "not_asked")]
    made += _meeting(services, scope, connection)
    made.append(_text(services, scope, connection, number, actor))
    return made


def _meeting(services: Services, scope: TenantScope, connection: Connection) -> list[Check]:
    not_asked = [found("test.lobby", "not_asked"), found("test.deleted", "not_asked")]
    if not connection.organizers:
        return [found("test.meeting", "no_organizer"), *not_asked]
    graph, tenant_id, organizer = services.graph, scope.tenant_id, connection.organizers[0]
    start = clock.now()
    end = start + _LASTS
    try:
        meeting = graph.create_or_get(
            tenant_id, organizer, external_id=uuid.uuid4().hex, subject=_SUBJECT, start=start, end=end
        )
    except ConnectorError as error:
        return [found("test.meeting", _not_made(error)), *not_asked]
    try:
        graph.protect_lobby(tenant_id, organizer, meeting.id, start=start, end=end)
        proven = graph.lobby(tenant_id, organizer, meeting.id).holds_patients
    except ConnectorError:
        proven = False
    lobby = found("test.lobby", "proven" if proven else "not_proven")
    try:
        graph.delete(tenant_id, organizer, meeting.id)
    except ConnectorError:
        return [found("test.meeting", "made"), lobby, found("test.deleted", "left")]
    return [found("test.meeting", "made"), lobby, found("test.deleted", "deleted")]


def _not_made(error: ConnectorError) -> str:
    if isinstance(error, TransientError):
        return "unanswered"
    return "not_allowed" if error.code == "graph.no_application_access" else "refused"


def _text(services: Services, scope: TenantScope, connection: Connection, number: str, actor: Actor) -> Check:
    if not number.strip():
        return found("test.sms", "skipped")
    try:
        return found("test.sms", messages.send_test(services, scope, connection, number, actor))
    except ConnectorError:
        return found("test.sms", "unanswered")
