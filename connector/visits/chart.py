"""What the requests of a page in the chart have in common: its session, its reader, and the visit that it is about."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import azure.functions as func

from connector import web
from connector.ehr import Appointment
from connector.errors import RefusedError
from connector.keys import JoinToken, NotOpened
from connector.launch import VisitSession, open_session
from connector.visits import times
from connector.visits.find import GONE, Candidates, find_visit, is_today, practitioner_of, zone_of
from connector.visits.meeting import visit_key
from connector.zones import zone_name

if TYPE_CHECKING:
    from connector.adapters.cerner import FhirReader
    from connector.bootstrap import Services


def open_chart(services: Services, req: func.HttpRequest) -> VisitSession:
    """The clinician's session of this request; one that changes something must come from our own page.

    Raises RefusedError (401, 403).
    """
    if req.method != "GET":
        web.require_same_origin(req, services.settings.public_url)
    session = open_session(services.directory, req.route_params.get("session", ""), web.bearer(req))
    if session.context.persona != "provider":
        raise RefusedError("visit.not_provider", "This page is for clinicians.", status=403, title="Not for patients")
    return session


def reader_of(services: Services, session: VisitSession) -> FhirReader:
    """Reads as the EHR user of the session."""
    return services.ehr.user_reader(session.scope, session.connection, session.context.persona, session.access_token)


def chosen_visit(services: Services, session: VisitSession) -> tuple[Appointment, Candidates]:
    """The page's visit, read now. Raises RefusedError (409) when there is none; TransientError of the EHR."""
    found = find_visit(session, reader_of(services, session))
    if found.chosen is None:
        raise no_visit()
    return found.chosen, found


def remembered_visit(session: VisitSession) -> str:
    """The visit key of the page's visit without asking anybody. Raises RefusedError (409)."""
    if session.context.appointment_id is None:
        raise no_visit()
    return visit_key(session.scope, session.connection_id, session.context.appointment_id)


def pick(services: Services, session: VisitSession, appointment: Appointment) -> str:
    """Names a visit to the page: our own sealed token, never the appointment id, and no patient's link."""
    return JoinToken(session.connection.id, appointment.id).seal(services.sealer, "staff")


def picked(services: Services, session: VisitSession, token: object) -> str:
    """The appointment id of a pick. Raises RefusedError (409)."""
    try:
        opened = JoinToken.open(token, services.sealer, "staff") if isinstance(token, str) else None
    except NotOpened:
        opened = None
    if opened is None or opened.connection_id != session.connection.id:
        raise no_visit()
    return opened.appointment_id


def shown(appointment: Appointment, session: VisitSession) -> dict[str, Any]:
    """An appointment as the page says it; times in the department's zone."""
    connection, start = session.connection, appointment.start
    zone = zone_of(appointment, connection)
    department = connection.department_of(appointment.location_ids)
    user = practitioner_of(session.context.fhir_user)
    opens: datetime | None = start - timedelta(minutes=connection.join_opens_minutes) if start else None
    return {
        "when": times.day_and_time(start, zone) if start else "time not set",
        "time": f"{times.time_of_day(start, zone)} {zone_name(start.astimezone(zone))}" if start else "",
        "until": times.time_of_day(appointment.end, zone) if appointment.end else "",
        "start": start.isoformat() if start else "",
        "opens": opens.isoformat() if opens else "",
        "department": department.name if department else "",
        "status": appointment.status,
        "zone": zone.key,
        "live": appointment.status not in GONE,
        "today": is_today(appointment, connection),
        "colleagues": bool(appointment.practitioner_ids) and user not in appointment.practitioner_ids,
    }


def no_visit() -> RefusedError:
    return RefusedError(
        "visit.none",
        "There is no video visit to join here. Reload the page, or choose the visit from the list.",
        status=409,
        title="No video visit",
    )


def no_ehr(services: Services) -> RefusedError:
    return RefusedError(
        "visit.ehr_unavailable",
        "The EHR does not answer. Try again in a moment. Until it does, today's visits are at "
        f"{services.settings.public_url}/board for whoever has linked a Microsoft account.",
        status=503,
        title="The EHR does not answer",
        retry_after_s=5,
    )
