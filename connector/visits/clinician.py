"""The clinician's visit page. The page itself holds no PHI; its script asks for the content with the bearer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import azure.functions as func

from connector import logs, web
from connector.ehr import Appointment
from connector.errors import RefusedError
from connector.keys import JoinToken
from connector.launch import (
    VisitSession,
    add_link,
    begin_hand_off,
    find_link,
    open_session,
    redeem_code,
    release_link,
)
from connector.tenants import connection
from connector.visits import times
from connector.visits.find import Candidates, find_visit, zone_of
from connector.visits.meeting import provision, visit_key
from connector.visits.presence import read_presence

if TYPE_CHECKING:
    from connector.bootstrap import Services


def blueprint(services: Callable[[], Services]) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("visit_shell")
    @bp.route(route="visits/{session}", methods=["GET"])
    @web.answers_with_page
    def visit_shell(req: func.HttpRequest) -> func.HttpResponse:
        session_id = req.route_params.get("session", "")
        scope = services().directory.scope_of_connection(session_id.partition("-")[0])
        framed_by = connection(scope, session_id.partition("-")[0]).value.framed_by
        return web.page("visit_shell.html", framed_by=framed_by)

    @bp.function_name("visit_page")
    @bp.route(route="visits/{session}/page", methods=["GET"])
    @web.answers_with_problem
    def visit_page(req: func.HttpRequest) -> func.HttpResponse:
        return _page(services(), req, _session(services(), req))

    @bp.function_name("visit_status")
    @bp.route(route="visits/{session}/status", methods=["GET"])
    @web.answers_with_problem
    def visit_status(req: func.HttpRequest) -> func.HttpResponse:
        session = _session(services(), req)
        if session.context.appointment_id is None:
            raise _no_visit()
        visit = visit_key(session.scope, session.connection.id, session.context.appointment_id)
        presence = read_presence(session.scope, session.connection.id, visit)
        if req.headers.get("If-None-Match") == presence.etag:
            return web.respond(status=304, headers={"ETag": presence.etag})
        return web.json_response(presence.status(), headers={"ETag": presence.etag})

    @bp.function_name("visit_join")
    @bp.route(route="visits/{session}/join", methods=["POST"])
    @web.answers_with_problem
    def visit_join(req: func.HttpRequest) -> func.HttpResponse:
        web.require_same_origin(req, services().settings.public_url)
        # a missing link never keeps a clinician from a patient: Teams asks who they are anyway
        session = _session(services(), req)
        candidates = find_visit(session, _reader(services(), session))
        if candidates.chosen is None:
            raise _no_visit()
        _require_live(candidates.chosen)
        meeting = provision(services(), session.scope, session.connection, candidates.chosen)
        logs.event(
            "visit.clinician_joined",
            connection=session.connection.id,
            visit=visit_key(session.scope, session.connection.id, candidates.chosen.id),
        )
        return web.json_response({"join_url": meeting.join_web_url})

    @bp.function_name("visit_handoff")
    @bp.route(route="visits/{session}/handoff", methods=["POST"])
    @web.answers_with_problem
    def visit_handoff(req: func.HttpRequest) -> func.HttpResponse:
        """A one-time link for the Microsoft sign-in, to be opened in a window of its own."""
        web.require_same_origin(req, services().settings.public_url)
        session = _session(services(), req)
        linked = find_link(session.scope, session.connection.id, session.context.user) is not None
        token = begin_hand_off(services().sealer, session, "release" if linked else "link")
        return web.json_response({"url": f"{services().settings.public_url}/signin/{token}"})

    @bp.function_name("visit_link")
    @bp.route(route="visits/{session}/link", methods=["POST"])
    @web.answers_with_problem
    def visit_link(req: func.HttpRequest) -> func.HttpResponse:
        """Make, or release, the user link by the code that the sign-in window shows."""
        web.require_same_origin(req, services().settings.public_url)
        session = _session(services(), req)
        body = web.json_body(req)
        code = body.get("code") if isinstance(body, dict) else None
        account = redeem_code(services().sealer, session, code if isinstance(code, str) else "")
        change = add_link if account.purpose == "link" else release_link
        change(session.scope, session.connection.id, session.context.user, account.object_id)
        logs.event("link.added" if account.purpose == "link" else "link.released", connection=session.connection.id)
        user = session.context.user
        return web.json_response(
            {
                "linked": account.purpose == "link",
                "microsoft": account.name or account.username,
                "ehr": user.name or user.fhir_user,
            }
        )

    return bp


def _session(services: Services, req: func.HttpRequest) -> VisitSession:
    session = open_session(services.directory, req.route_params.get("session", ""), web.bearer(req))
    if session.context.persona != "provider":
        raise RefusedError("visit.not_provider", "This page is for clinicians.", status=403, title="Not for patients")
    return session


def _reader(services: Services, session: VisitSession) -> Any:
    return services.ehr.user_reader(session.scope, session.connection, session.context.persona, session.access_token)


def _page(services: Services, req: func.HttpRequest, session: VisitSession) -> func.HttpResponse:
    candidates = find_visit(session, _reader(services, session), _picked(services, session, req))
    session.remember(candidates.chosen.id if candidates.chosen else None)
    link = find_link(session.scope, session.connection.id, session.context.user)
    shown = candidates.chosen
    visit = visit_key(session.scope, session.connection.id, shown.id) if shown else ""
    presence = read_presence(session.scope, session.connection.id, visit) if shown else None
    return web.page(
        "visit.html",
        banner=_banner(candidates, session),
        visit=_shown(shown, session) if shown else None,
        presence=presence,
        choices=[_shown(other, session) | {"pick": _pick(services, session, other)} for other in candidates.others],
        linked=link is not None,
        clinic=session.connection.clinic_name,
        phone=session.connection.contact_phone,
        patient_link=_patient_link(services, session, shown, presence.generation) if shown and presence else None,
    )


def _banner(candidates: Candidates, session: VisitSession) -> dict[str, str] | None:
    patient = candidates.patient
    if session.context.patient_id is None or not session.context.need_patient_banner:
        return None
    if patient is None:
        return {"name": "The patient's record could not be read. Check in the chart who this is."}
    return {
        "name": patient.display_name or "Name not recorded",
        "born": patient.birth_date.isoformat() if patient.birth_date else "not recorded",
        "sex": patient.gender or "not recorded",
        "mrn": patient.medical_record_number or "not recorded",
    }


def _shown(appointment: Appointment, session: VisitSession) -> dict[str, Any]:
    zone = zone_of(appointment, session.connection)
    department = session.connection.department_of(appointment.location_ids)
    start: datetime | None = appointment.start
    return {
        "when": times.day_and_time(start, zone) if start else "time not set",
        "until": times.time_of_day(appointment.end, zone) if appointment.end else "",
        "department": department.name if department else "",
        "status": appointment.status,
        "zone": zone.key,
        "live": appointment.status not in ("cancelled", "noshow", "entered-in-error"),
    }


def _pick(services: Services, session: VisitSession, appointment: Appointment) -> str:
    """Names a choice to the page: our own sealed token, never the appointment id."""
    return JoinToken(session.connection.id, appointment.id).seal(services.sealer)


def _picked(services: Services, session: VisitSession, req: func.HttpRequest) -> str | None:
    from connector.keys import NotOpened

    pick = web.query_one(req, "pick")
    if pick is None:
        return None
    try:
        token = JoinToken.open(pick, services.sealer)
    except NotOpened:
        raise _no_visit() from None
    if token.connection_id != session.connection.id:
        raise _no_visit()
    return token.appointment_id


def _patient_link(services: Services, session: VisitSession, appointment: Appointment, generation: int) -> str:
    token = JoinToken(session.connection.id, appointment.id, generation).seal(services.sealer)
    return f"{services.settings.public_url}/j/{token}"


def _require_live(appointment: Appointment) -> None:
    if appointment.status in ("cancelled", "noshow", "entered-in-error"):
        raise RefusedError(
            "visit.cancelled",
            "This appointment is cancelled in the EHR. Rebook it there, then reload this page.",
            status=409,
            title="The visit is cancelled",
        )


def _no_visit() -> RefusedError:
    return RefusedError(
        "visit.none",
        "There is no video visit to join here. Reload the page, or choose the visit from the list.",
        status=409,
        title="No video visit",
    )
