"""The patient's launch from their portal (SMART App Launch, patient persona): it leads to the page of their link."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import azure.functions as func

from connector import web
from connector.errors import RefusedError
from connector.keys import JoinToken
from connector.launch import open_session
from connector.visits.doorway import next_of
from connector.visits.find import find_visit
from connector.visits.meeting import visit_key
from connector.visits.presence import read_presence

if TYPE_CHECKING:
    from connector.bootstrap import Services


def blueprint(services: Callable[[], Services]) -> func.Blueprint:
    bp = func.Blueprint()

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
        chosen = candidates.chosen or next_of(candidates.others, session.connection)
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
