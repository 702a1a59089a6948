"""The patient's launch from their portal (SMART App Launch, patient persona): it leads to the page of their link.

A proxy (a parent, a carer) is `fhirUser` as a Person or another Patient, while the token's `patient` is whose visit it
is; Cerner leaves sensitive appointments out of what a patient's token may see.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import azure.functions as func

from connector import clock, web
from connector.ehr import Appointment
from connector.errors import PermanentError, RefusedError
from connector.keys import JoinToken
from connector.launch import VisitSession, open_session
from connector.visits.doorway import GONE, closes
from connector.visits.meeting import visit_key
from connector.visits.presence import read_presence

if TYPE_CHECKING:
    from connector.bootstrap import Services

BEHIND, AHEAD = timedelta(hours=26), timedelta(days=60)
"""In one search: today wherever the clinic is, and far enough to test the device days before."""


def blueprint(services: Callable[[], Services]) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("patient_launched")
    @bp.route(route="visits/{session}/patient", methods=["GET"])
    @web.answers_with_problem
    def patient_launched(req: func.HttpRequest) -> func.HttpResponse:
        """Where this patient goes on: the page of the next visit, or the one that says that there is none."""
        session = open_session(services().directory, req.route_params.get("session", ""), web.bearer(req))
        if session.context.persona != "patient":
            raise RefusedError("visit.not_patient", "This page is for patients.", status=403, title="Not for staff")
        chosen = _next_visit(services(), session)
        if chosen is None:
            return web.json_response({"location": f"/j?clinic={session.connection.id}&none=1"})
        visit = visit_key(session.scope, session.connection.id, chosen.id)
        generation = read_presence(session.scope, session.connection.id, visit).generation
        token = JoinToken(session.connection.id, chosen.id, generation).seal(services().sealer)
        return web.json_response({"location": f"/j/{token}"})

    return bp


def _next_visit(services: Services, session: VisitSession) -> Appointment | None:
    """The earliest whose door is not closed yet, else the last of today. Raises RefusedError without a patient."""
    patient_id, now, found = _patient_of(session), clock.now(), session.connection
    reader = services.ehr.user_reader(session.scope, found, "patient", session.access_token)
    seen = reader.search_appointments(patient_id=patient_id, start=now - BEHIND, end=now + AHEAD)
    theirs = [
        (visit.start, visit)
        for visit in seen.items
        if visit.start and patient_id in visit.patient_ids and visit.is_video(found.video_codes)
        and visit.status not in GONE
    ]  # fmt: skip
    theirs.sort(key=lambda one: one[0])  # by the start alone: two may begin at the same time
    ahead = [visit for start, visit in theirs if now <= closes(found, start, visit.end)]
    doubtful = not seen.complete or any(visit.start is None or not visit.patient_ids for visit in seen.items)
    if not ahead and doubtful:
        raise PermanentError("cerner.unreadable")  # what could not be read may be the visit: never "no visit"
    return next(iter(ahead), theirs[-1][1] if theirs else None)


def _patient_of(session: VisitSession) -> str:
    kind, _, user_id = session.context.fhir_user.rpartition("/")
    patient_id = session.context.patient_id or (user_id if kind == "Patient" else None)
    if patient_id is None:
        raise RefusedError(
            "visit.no_patient",
            "Your patient portal did not say whose visit it is. Choose the person there, then open the visit again.",
            status=409,
            title="Whose visit is it?",
        )
    return patient_id
