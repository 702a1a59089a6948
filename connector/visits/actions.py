"""What a clinician does about a visit: join it, send or revoke the patient's link, tell of a delay, end it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, get_args

import azure.functions as func

from connector import clock, logs, messages, web
from connector.adapters.graph import app_url
from connector.ehr import Appointment
from connector.errors import ConnectorError, RefusedError, TransientError
from connector.keys import JoinToken
from connector.launch import VisitSession, find_link
from connector.tenants import Channel
from connector.visits import ahead
from connector.visits.chart import chosen_visit, no_visit, open_chart, remembered_visit
from connector.visits.find import GONE, Candidates
from connector.visits.meeting import Meeting, no_meeting, provision, staff_joined, stored, visit_key
from connector.visits.presence import put_presence

if TYPE_CHECKING:
    from connector.bootstrap import Services

LATE_MINUTES = (5, 10, 15, 20, 30, 45, 60)


def blueprint(services: Callable[[], Services]) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("visit_join")
    @bp.route(route="visits/{session}/join", methods=["POST"])
    @web.answers_with_problem
    def visit_join(req: func.HttpRequest) -> func.HttpResponse:
        # a missing user link never keeps a clinician from a patient: Teams asks who they are anyway
        session = open_chart(services(), req)
        meeting = _meeting(services(), session)
        return web.json_response({"join_url": meeting.join_web_url, "app_url": app_url(meeting.join_web_url)})

    @bp.function_name("visit_send")
    @bp.route(route="visits/{session}/send", methods=["POST"])
    @web.answers_with_problem
    def visit_send(req: func.HttpRequest) -> func.HttpResponse:
        """Send the patient's link to the record's contact, or to one typed now, which is not kept."""
        session, asked = open_chart(services(), req), _asked(req)
        return web.json_response(_send(services(), session, asked, kind="link"))

    @bp.function_name("visit_late")
    @bp.route(route="visits/{session}/late", methods=["POST"])
    @web.answers_with_problem
    def visit_late(req: func.HttpRequest) -> func.HttpResponse:
        """The patient's page says how late it is; a message says so too where it can. 0 takes it back."""
        session, asked = open_chart(services(), req), _asked(req)
        minutes = asked.get("minutes")
        if minutes not in (0, *LATE_MINUTES):
            raise RefusedError("visit.not_minutes", "Choose how many minutes late it will be.", status=422)
        appointment, _ = _live(services(), session)
        at = clock.now().isoformat() if minutes else ""
        _note(session, appointment, late_minutes=int(minutes), late_at=at)
        told: dict[str, object] = {}
        if asked.get("channel"):
            try:
                told = _send(services(), session, asked, kind="late", late_minutes=int(minutes))
            except RefusedError as refused:  # the patient's page says it all the same
                told = {"not_sent": refused.message}
        return web.json_response({"late_minutes": minutes, **told})

    @bp.function_name("visit_revoke")
    @bp.route(route="visits/{session}/revoke", methods=["POST"])
    @web.answers_with_problem
    def visit_revoke(req: func.HttpRequest) -> func.HttpResponse:
        """Every link to this visit that was given out stops; a new one is made."""
        session = open_chart(services(), req)
        appointment, _ = chosen_visit(services(), session)
        visit = visit_key(session.scope, session.connection.id, appointment.id)
        end = appointment.end or appointment.start or clock.now()
        generation = messages.revoke_links(session.scope, session.connection.id, visit, end)
        logs.event("visit.link_revoked", connection=session.connection.id, visit=visit)
        ahead.hint(session.scope, session.connection.id, visit)
        return web.json_response({"link": patient_link(services(), session, appointment, generation)})

    @bp.function_name("visit_end")
    @bp.route(route="visits/{session}/end", methods=["POST"])
    @web.answers_with_problem
    def visit_end(req: func.HttpRequest) -> func.HttpResponse:
        """Close the patient's link, as over or as completed by phone, or open it again. Works without the EHR."""
        session, how = open_chart(services(), req), _asked(req).get("how")
        if how not in ("closed", "phone", "open"):
            raise RefusedError("visit.not_an_end", "Say how the visit ended.", status=422)
        visit = remembered_visit(session)
        ready = stored(services(), session.scope, session.connection, visit)
        ended = {"ended": "", "ended_at": ""} if how == "open" else {"ended": how, "ended_at": clock.now().isoformat()}
        put_presence(session.scope, session.connection.id, visit, end=ready.end if ready else None, **ended)
        logs.event("visit.ended", connection=session.connection.id, visit=visit, state=how)
        return web.json_response(ended)

    return bp


def patient_link(services: Services, session: VisitSession, appointment: Appointment, generation: int) -> str:
    token = JoinToken(session.connection.id, appointment.id, generation).seal(services.sealer)
    return f"{services.settings.public_url}/j/{token}"


def _meeting(services: Services, session: VisitSession) -> Meeting:
    """The visit's meeting; while the EHR does not answer, one that was made before."""
    scope, connection = session.scope, session.connection
    try:
        appointment, _ = _live(services, session)
    except TransientError:
        ready = stored(services, scope, connection, remembered_visit(session))
        if ready is None:
            raise
        meeting, visit = ready, remembered_visit(session)
    else:
        visit = visit_key(scope, connection.id, appointment.id)
        try:
            meeting = provision(services, scope, connection, appointment)
        except ConnectorError as error:
            raise no_meeting(error) from None
    staff_joined(scope, connection.id, visit, meeting)
    return meeting


def _live(services: Services, session: VisitSession) -> tuple[Appointment, Candidates]:
    """The visit, which is neither cancelled nor over in the EHR. Raises RefusedError (409)."""
    appointment, found = chosen_visit(services, session)
    if appointment.status in GONE:
        raise RefusedError(
            "visit.cancelled",
            "This appointment is cancelled in the EHR. Rebook it there, then reload this page.",
            status=409,
            title="The visit is cancelled",
        )
    return appointment, found


def _send(
    services: Services,
    session: VisitSession,
    asked: dict[str, Any],
    *,
    kind: Literal["link", "late"],
    late_minutes: int = 0,
) -> dict[str, object]:
    typed = asked.get("typed")
    channel = next((known for known in get_args(Channel) if known == asked.get("channel")), None)
    if channel is None or not isinstance(typed, str | None):
        raise RefusedError("visit.not_a_channel", "Choose text message or e-mail.", status=422)
    appointment, found = _live(services, session)
    link = find_link(session.scope, session.connection.id, session.context.user)
    sent = messages.send_link(
        services,
        session.scope,
        session.connection,
        appointment,
        found.patient,
        channel=channel,
        typed=typed,
        kind=kind,
        late_minutes=late_minutes,
        by=link.object_id if link else session.scope.index("sender", session.context.issuer, session.context.fhir_user),
    )
    return {"state": sent.state, "to": sent.to, "again": sent.again}


def _note(session: VisitSession, appointment: Appointment, **columns: str | int) -> None:
    visit = visit_key(session.scope, session.connection.id, appointment.id)
    end = appointment.end or appointment.start
    put_presence(session.scope, session.connection.id, visit, end=end, **columns)


def _asked(req: func.HttpRequest) -> dict[str, Any]:
    body = web.json_body(req)
    if not isinstance(body, dict):
        raise no_visit()
    return body
