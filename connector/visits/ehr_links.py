"""What a hospital may choose to have written into its EHR: the visit's two links, and that the patient arrived.

Row `e.{visit}` in Visits remembers what the EHR refused, so that it is not asked again every five minutes. Links of
another vendor are never overwritten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector import logs
from connector.adapters.tables import Row, Value, Write
from connector.ehr import Appointment
from connector.errors import ConnectorError, TransientError
from connector.keys import JoinToken
from connector.tenants import Connection, TenantScope
from connector.visits.presence import VISITS, Presence

if TYPE_CHECKING:
    from connector.bootstrap import Services

FINAL = ("foreign", "refused")
"""States in which nothing is tried again unless the visit moves."""


def write(
    services: Services, scope: TenantScope, found: Connection, visit: str, appointment: Appointment, presence: Presence
) -> bool:
    """Bring the EHR up to date with this reading of the appointment; whether that should be tried again. Raises
    nothing of the EHR: the visit goes on without."""
    try:
        if found.write_back:
            _links(services, scope, found, visit, appointment, presence)
        if found.arrived_on_join and presence.text("joined_at") and appointment.status == "booked":
            # read again: the links above made a new version
            current = services.ehr.reader(scope, found).appointment(appointment.id) if found.write_back else appointment
            services.ehr.writer(scope, found).set_status(current, "arrived")
            logs.event("ehr.arrived", connection=found.id, visit=visit)
    except ConnectorError as error:
        logs.event("ehr.write_failed", connection=found.id, visit=visit, code=error.code, status=error.vendor_status)
        return isinstance(error, TransientError) or error.code == "cerner.version_changed"
    return False


def _links(
    services: Services, scope: TenantScope, found: Connection, visit: str, appointment: Appointment, presence: Presence
) -> None:
    if appointment.start is None:
        return
    public_url, sealer = services.settings.public_url, services.sealer
    wanted = {
        "provider": f"{public_url}/p/{JoinToken(found.id, appointment.id).seal(sealer, 'staff')}",
        "patient": f"{public_url}/j/{JoinToken(found.id, appointment.id, presence.generation).seal(sealer)}",
    }
    if any(not link.url.startswith(f"{public_url}/") for link in appointment.room_links):
        _remember(scope, found.id, visit, appointment, "foreign")
        return
    present = {(link.room, link.url, link.start, link.end) for link in appointment.room_links}
    if present == {(room, url, appointment.start, appointment.end) for room, url in wanted.items()}:
        _remember(scope, found.id, visit, appointment, "written")
        return
    known = scope.tables.get(VISITS, found.id, f"e.{visit}")
    start = appointment.start.isoformat()
    if known is not None and known.text("state") in FINAL and known.text("start") == start:
        return
    try:
        services.ehr.writer(scope, found).link_rooms(appointment, **wanted)
    except TransientError:
        raise
    except ConnectorError as error:
        if error.code != "cerner.version_changed":
            _remember(scope, found.id, visit, appointment, "refused")
        raise
    _remember(scope, found.id, visit, appointment, "written")
    logs.event("ehr.links_written", connection=found.id, visit=visit)


def _remember(scope: TenantScope, connection_id: str, visit: str, appointment: Appointment, state: str) -> None:
    start, end = appointment.start, appointment.end or appointment.start
    values: dict[str, Value] = {
        "state": state, "start": start.isoformat() if start else "", "end": end.isoformat() if end else ""
    }  # fmt: skip
    scope.tables.transact(VISITS, [Write("upsert", Row(connection_id, f"e.{visit}", values))])
