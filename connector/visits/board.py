"""Today's video visits at a glance: this clinician's, this patient's, a department's for nurses and schedulers.

Read from the EHR as the user of the session; who waits is read from the presence rows. In a chart another patient's
visit is neither named nor opened: a chart never shows somebody else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import azure.functions as func

from connector import clock, web
from connector.ehr import Appointment
from connector.errors import PermanentError, RefusedError, TransientError
from connector.launch import VisitSession
from connector.tenants import TenantScope
from connector.visits.chart import no_ehr, open_chart, pick, picked, reader_of, shown
from connector.visits.find import LIVE, around_today, is_today, practitioner_of
from connector.visits.meeting import visit_key
from connector.visits.presence import Presence, read_presence

if TYPE_CHECKING:
    from connector.bootstrap import Services

AT_MOST = 120
"""Visits on one board; each costs a point read whenever it is looked at."""


def blueprint(services: Callable[[], Services]) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("visit_board")
    @bp.route(route="visits/{session}/board", methods=["GET"])
    @web.answers_with_problem
    def visit_board(req: func.HttpRequest) -> func.HttpResponse:
        session = open_chart(services(), req)
        view, department = web.query_one(req, "view") or "mine", web.query_one(req, "department") or ""
        departments = [one.name for one in session.connection.departments]
        department = department if department in departments else "".join(departments[:1])
        try:
            found, complete = _visits(services(), session, view, department)
        except TransientError:
            raise no_ehr(services()) from None
        names = _names(services(), session, found)
        visits = [visit_key(session.scope, session.connection.id, one.id) for one in found]
        return web.page(
            "board.html",
            view=view,
            department=department,
            departments=departments,
            in_chart=session.context.patient_id is not None,
            rows=[
                shown(one, session)
                | {"pick": pick(services(), session, one), "name": _name(one, session, names)}
                | {"opens_here": _opens_here(one, session), "seen": presence.status()}
                for one, presence in zip(found, presences(session.scope, session.connection.id, visits), strict=True)
            ],
            complete=complete,
            now=clock.now().isoformat(),
        )

    @bp.function_name("visit_board_status")
    @bp.route(route="visits/{session}/board", methods=["POST"])
    @web.answers_with_problem
    def visit_board_status(req: func.HttpRequest) -> func.HttpResponse:
        """The presence of the visits whose picks are sent, in their order; the EHR is not asked."""
        session, body = open_chart(services(), req), web.json_body(req)
        picks = body.get("picks") if isinstance(body, dict) else None
        if not isinstance(picks, list) or len(picks) > AT_MOST:
            raise RefusedError("visit.not_picks", "The list of visits cannot be read.", status=422)
        ids = [picked(services(), session, one) for one in picks]
        visits = [visit_key(session.scope, session.connection.id, one) for one in ids]
        found = presences(session.scope, session.connection.id, visits)
        return web.json_response(
            {"visits": [presence.status() for presence in found]}, headers={"Connector-Time": clock.now().isoformat()}
        )

    return bp


def presences(scope: TenantScope, connection_id: str, visits: Sequence[str]) -> list[Presence]:
    """The presence rows of visits, in their order."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        return list(pool.map(lambda visit: read_presence(scope, connection_id, visit), visits))


def _visits(
    services: Services, session: VisitSession, view: str, department: str
) -> tuple[tuple[Appointment, ...], bool]:
    """Today's live video visits of the view, by start, and whether none can be missing."""
    start, end = around_today()
    reader, context, connection = reader_of(services, session), session.context, session.connection
    user_id = practitioner_of(context.fhir_user)
    locations = [one for d in connection.departments if d.name == department for one in d.location_ids]
    if view == "patient" and context.patient_id:
        found = reader.search_appointments(patient_id=context.patient_id, start=start, end=end)
    elif view == "department" and locations:
        found = reader.search_appointments(location_ids=locations, start=start, end=end)
    elif view == "mine" and user_id:
        found = reader.search_appointments(practitioner_id=user_id, start=start, end=end)
    else:
        raise RefusedError("visit.no_board", "There is no such list of visits here.", status=404, title="No such list")
    fitting = [
        one
        for one in found.items
        if one.is_video(connection.video_codes) and one.status in LIVE and is_today(one, connection)
        and (view != "patient" or context.patient_id in one.patient_ids)
        and (view != "mine" or user_id in one.practitioner_ids)
        and (view != "department" or set(locations) & set(one.location_ids))
    ]  # fmt: skip
    if not fitting and not found.complete:
        raise PermanentError("cerner.unreadable")
    over = clock.now() - timedelta(hours=2)
    fitting.sort(key=lambda one: ((one.end or one.start or start) < over, one.start or start))
    return tuple(fitting[:AT_MOST]), found.complete and len(fitting) <= AT_MOST


def _opens_here(one: Appointment, session: VisitSession) -> bool:
    return session.context.patient_id is None or session.context.patient_id in one.patient_ids


def _names(services: Services, session: VisitSession, found: Sequence[Appointment]) -> dict[str, str]:
    """Names of the patients whose visits may be opened here, by patient id."""
    ids = {one.patient_ids[0] for one in found if len(one.patient_ids) == 1 and _opens_here(one, session)}
    read = reader_of(services, session).patients_by_id(sorted(ids)).items if ids else ()
    return {patient.id: patient.display_name or "" for patient in read}


def _name(one: Appointment, session: VisitSession, names: dict[str, str]) -> str:
    if not _opens_here(one, session):
        return "Another patient"
    return (names.get(one.patient_ids[0]) if len(one.patient_ids) == 1 else None) or "Name not recorded"
