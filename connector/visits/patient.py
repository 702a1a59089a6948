"""The patient's link. Possession of it grants the lobby only; the clinician verifies who is there.

GET never counts as a visit (link previews fetch it); joining is a POST.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

import azure.functions as func

from connector import clock, logs, web
from connector.ehr import Appointment
from connector.errors import PermanentError, RefusedError, TransientError
from connector.join_link import open_join_link, wrong_link
from connector.keys import JoinToken
from connector.launch import open_session
from connector.tenants import Connection, TenantScope, connection
from connector.visits import times
from connector.visits.find import find_visit, zone_of
from connector.visits.meeting import Meeting, provision, stored, visit_key
from connector.visits.presence import first_presence, read_presence

if TYPE_CHECKING:
    from connector.bootstrap import Services

State = Literal["early", "open", "over", "cancelled", "in_person", "unreachable"]


@dataclass(frozen=True)
class Doorway:
    """What the link opens now. `appointment` is None when the EHR did not answer and `meeting` was stored before."""

    scope: TenantScope
    connection: Connection
    visit: str
    state: State
    start: datetime | None
    zone: ZoneInfo
    opens: datetime | None
    appointment: Appointment | None = None
    meeting: Meeting | None = None


def blueprint(services: Callable[[], Services]) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("patient_page")
    @bp.route(route="j/{token}", methods=["GET"])
    @web.answers_with_page
    def patient_page(req: func.HttpRequest) -> func.HttpResponse:
        return _page(req, _doorway(services(), req))

    @bp.function_name("patient_join")
    @bp.route(route="j/{token}/join", methods=["POST"])
    @web.answers_with_page
    def patient_join(req: func.HttpRequest) -> func.HttpResponse:
        web.require_same_origin(req, services().settings.public_url)
        door = _doorway(services(), req)
        if door.state != "open":
            return _page(req, door)
        meeting = door.meeting
        if door.appointment is not None:
            meeting = provision(services(), door.scope, door.connection, door.appointment)
        if meeting is None:
            raise PermanentError("meeting.none")
        now = clock.now().isoformat()
        first_presence(door.scope, door.connection.id, door.visit, end=meeting.end, joined_at=now)
        logs.event("visit.patient_joined", connection=door.connection.id, visit=door.visit)
        # no form-action: Chromium applies it to the redirect of a form, and Teams' addresses are opaque to us
        return web.redirect(
            meeting.browser_join_url or meeting.join_web_url, csp=web.content_security_policy(form_action=None)
        )

    @bp.function_name("patient_launched")
    @bp.route(route="visits/{session}/patient", methods=["GET"])
    @web.answers_with_problem
    def patient_launched(req: func.HttpRequest) -> func.HttpResponse:
        """After a launch from the patient portal: where this patient's visit is."""
        session = open_session(services().directory, req.route_params.get("session", ""), web.bearer(req))
        if session.context.persona != "patient":
            raise RefusedError("visit.not_patient", "This page is for patients.", status=403, title="Not for staff")
        reader = services().ehr.user_reader(session.scope, session.connection, "patient", session.access_token)
        candidates = find_visit(session, reader)
        chosen = candidates.chosen or _next(candidates.others, session.connection)
        if chosen is None:
            raise RefusedError(
                "visit.none",
                f"You have no video visit today. If you expected one, call {session.connection.contact_phone}.",
                status=404,
                title="No video visit today",
            )
        visit = visit_key(session.scope, session.connection.id, chosen.id)
        generation = read_presence(session.scope, session.connection.id, visit).generation
        token = JoinToken(session.connection.id, chosen.id, generation).seal(services().sealer)
        return web.json_response({"location": f"/j/{token}"})

    return bp


def _next(visits: tuple[Appointment, ...], found: Connection) -> Appointment | None:
    """The earliest visit whose door is not closed yet; the last one when all are over."""
    ahead = [visit for visit in visits if visit.start and _window(visit.start, visit.end, found)[0] != "over"]
    return next(iter(ahead or visits[-1:]), None)


def _doorway(services: Services, req: func.HttpRequest) -> Doorway:
    """Raises RefusedError (404) for a link that is not ours, before any I/O."""
    token = open_join_link(req.route_params.get("token", ""), services.sealer)
    scope = services.directory.scope_of_connection(token.connection_id)
    found = connection(scope, token.connection_id).value
    visit = visit_key(scope, found.id, token.appointment_id)
    read_presence(scope, found.id, visit).require_current(token)
    try:
        appointment = services.ehr.reader(scope, found).appointment(token.appointment_id)
    except TransientError:
        return _from_stored(services, scope, found, visit)
    except PermanentError as error:
        if error.code == "cerner.not_found":
            raise wrong_link() from None
        return _from_stored(services, scope, found, visit)
    state, opens = _state(appointment, found)
    return Doorway(scope, found, visit, state, appointment.start, zone_of(appointment, found), opens, appointment)


def _state(appointment: Appointment, found: Connection) -> tuple[State, datetime | None]:
    if appointment.status in ("cancelled", "entered-in-error", "noshow"):
        return "cancelled", None
    if not appointment.is_video(found.video_codes):
        return "in_person", None
    if appointment.start is None:
        return "early", None
    return _window(appointment.start, appointment.end, found)


def _window(start: datetime, end: datetime | None, found: Connection) -> tuple[State, datetime]:
    opens = start - timedelta(minutes=found.join_opens_minutes)
    closes = (end or start) + timedelta(minutes=found.join_closes_minutes)
    now = clock.now()
    return ("early" if now < opens else "over" if now > closes else "open"), opens


def _from_stored(services: Services, scope: TenantScope, found: Connection, visit: str) -> Doorway:
    """The EHR is unreachable: a meeting made before still lets the patient in, within its stored times."""
    meeting = stored(services, scope, found, visit)
    zone = ZoneInfo(found.departments[0].time_zone if found.departments else "UTC")
    if meeting is None:
        return Doorway(scope, found, visit, "unreachable", None, zone, None)
    state, opens = _window(meeting.start, meeting.end, found)
    return Doorway(scope, found, visit, state, meeting.start, zone, opens, None, meeting)


def _page(req: func.HttpRequest, door: Doorway) -> func.HttpResponse:
    status = 503 if door.state == "unreachable" else 200
    return web.page(
        "patient.html",
        status=status,
        state=door.state,
        token=req.route_params["token"],
        clinic=door.connection.clinic_name,
        phone=door.connection.contact_phone,
        when=times.day_and_time(door.start, door.zone) if door.start else None,
        opens=times.day_and_time(door.opens, door.zone) if door.opens else None,
        csp=web.content_security_policy(form_action=None),
    )
