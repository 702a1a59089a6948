"""The clinician's visit page. The page itself holds no PHI; its script asks for the content with the bearer."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import azure.functions as func

from connector import clock, logs, messages, web
from connector.ehr import Patient
from connector.errors import TransientError
from connector.keys import JoinToken
from connector.launch import VisitSession, add_link, begin_hand_off, find_link, redeem_code, release_link
from connector.tenants import connection
from connector.visits import times
from connector.visits.actions import LATE_MINUTES, patient_link
from connector.visits.chart import no_ehr, open_chart, pick, picked, reader_of, remembered_visit, shown
from connector.visits.find import Candidates, find_visit, zone_named
from connector.visits.meeting import stored, visit_key
from connector.visits.presence import Presence, read_presence

if TYPE_CHECKING:
    from connector.bootstrap import Services


def blueprint(services: Callable[[], Services]) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("visit_shell")
    @bp.route(route="visits/{session}", methods=["GET"])
    @web.answers_with_page
    def visit_shell(req: func.HttpRequest) -> func.HttpResponse:
        connection_id = req.route_params.get("session", "").partition("-")[0]
        scope = services().directory.scope_of_connection(connection_id)
        return web.page("visit_shell.html", framed_by=connection(scope, connection_id).value.framed_by)

    @bp.function_name("visit_page")
    @bp.route(route="visits/{session}/page", methods=["GET"])
    @web.answers_with_problem
    def visit_page(req: func.HttpRequest) -> func.HttpResponse:
        session = open_chart(services(), req)
        wanted = web.query_one(req, "pick")
        appointment_id = picked(services(), session, wanted) if wanted is not None else None
        try:
            found = find_visit(session, reader_of(services(), session), appointment_id)
        except TransientError:
            page = _page_without_ehr(services(), session) if wanted is None else None
            if page is None:
                raise no_ehr(services()) from None
            return page
        return _page(services(), session, found)

    @bp.function_name("visit_status")
    @bp.route(route="visits/{session}/status", methods=["GET"])
    @web.answers_with_problem
    def visit_status(req: func.HttpRequest) -> func.HttpResponse:
        """One point read beside the session's. `Connector-Time`: our clock, for a workstation's may be wrong."""
        session = open_chart(services(), req)
        presence = read_presence(session.scope, session.connection_id, remembered_visit(session))
        headers = {"ETag": presence.etag, "Connector-Time": clock.now().isoformat()}
        if req.headers.get("If-None-Match") == presence.etag:
            return web.respond(status=304, headers=headers)
        return web.json_response(presence.status(), headers=headers)

    @bp.function_name("visit_appointment")
    @bp.route(route="visits/{session}/appointment", methods=["GET"])
    @web.answers_with_problem
    def visit_appointment(req: func.HttpRequest) -> func.HttpResponse:
        """When the page's visit is and whether it still is, read now: an open page shows it as it was."""
        session = open_chart(services(), req)
        remembered_visit(session)
        seen = shown(reader_of(services(), session).appointment(str(session.context.appointment_id)), session)
        return web.json_response({"when": seen["when"], "live": seen["live"]})

    @bp.function_name("visit_handoff")
    @bp.route(route="visits/{session}/handoff", methods=["POST"])
    @web.answers_with_problem
    def visit_handoff(req: func.HttpRequest) -> func.HttpResponse:
        """A one-time link for the Microsoft sign-in, to be opened in a window of its own."""
        session = open_chart(services(), req)
        linked = find_link(session.scope, session.connection.id, session.context.user) is not None
        token = begin_hand_off(services().sealer, session, "release" if linked else "link")
        return web.json_response({"url": f"{services().settings.public_url}/signin/{token}"})

    @bp.function_name("visit_link")
    @bp.route(route="visits/{session}/link", methods=["POST"])
    @web.answers_with_problem
    def visit_link(req: func.HttpRequest) -> func.HttpResponse:
        """Make, or release, the user link by the code that the sign-in window shows."""
        session = open_chart(services(), req)
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


def _page(services: Services, session: VisitSession, found: Candidates) -> func.HttpResponse:
    session.remember(found.chosen.id if found.chosen else None)
    instead = {name: getattr(found, name) for name in ("cancelled", "in_person", "ahead")}
    content: dict[str, Any] = {
        "banner": _banner(found, session),
        "choices": [shown(other, session) | {"pick": pick(services, session, other)} for other in found.others],
        "instead": {name: shown(other, session) if other else None for name, other in instead.items()},
        "types": found.in_person.service_types if found.in_person else (),
    }
    if found.chosen is None:
        return web.page("visit.html", visit=None, **content, **_always(session))
    visit = visit_key(session.scope, session.connection.id, found.chosen.id)
    presence = read_presence(session.scope, session.connection.id, visit)
    contacts = messages.reachable(services, session.connection, found.chosen, found.patient) if found.patient else []
    return web.page(
        "visit.html",
        visit=shown(found.chosen, session),
        ehr_down=False,
        seen=presence.status(),
        contacts=contacts,
        phones=_phones(found.patient),
        link=patient_link(services, session, found.chosen, presence.generation),
        **content,
        **_always(session),
    )


def _page_without_ehr(services: Services, session: VisitSession) -> func.HttpResponse | None:
    """The visit as stored, while the EHR does not answer; None when there is nothing stored."""
    appointment_id, found = session.context.appointment_id, session.connection
    if appointment_id is None:
        return None
    visit = remembered_visit(session)
    ready = stored(services, session.scope, found, visit)
    if ready is None:
        return None
    presence: Presence = read_presence(session.scope, found.id, visit)
    zone, token = zone_named(ready.department, found), JoinToken(found.id, appointment_id, presence.generation)
    return web.page(
        "visit.html",
        visit={
            "when": times.day_and_time(ready.start, zone), "until": times.time_of_day(ready.end, zone),
            "start": ready.start.isoformat(), "opens": "", "department": ready.department, "status": "",
            "zone": zone.key, "live": True, "today": True, "colleagues": False,
        },
        ehr_down=True,
        seen=presence.status(),
        banner={"name": "The EHR does not answer. Check in the chart whose visit this is."},
        choices=[],
        instead={},
        contacts=[],
        phones=[],
        link=f"{services.settings.public_url}/j/{token.seal(services.sealer)}",
        **_always(session),
    )  # fmt: skip


def _always(session: VisitSession) -> dict[str, Any]:
    found = session.connection
    return {
        "linked": find_link(session.scope, found.id, session.context.user) is not None,
        "in_chart": session.context.patient_id is not None,
        "clinic": found.clinic_name,
        "departments": [department.name for department in found.departments],
        "channels": found.messages.channels if found.may_send else [],
        "late_minutes": LATE_MINUTES,
        "now": clock.now().isoformat(),
    }


def _banner(found: Candidates, session: VisitSession) -> dict[str, str] | None:
    """Who it is: where the EHR asks for it, and always where no chart shows it."""
    patient = found.patient
    if session.context.patient_id is None and found.chosen is None:
        return None
    if session.context.patient_id is not None and not session.context.need_patient_banner:
        return None
    if patient is None:
        return {"name": "The patient's record could not be read. Check in the chart who this is."}
    return {
        "name": patient.display_name or "Name not recorded",
        "born": patient.birth_date.isoformat() if patient.birth_date else "not recorded",
        "sex": patient.gender or "not recorded",
        "mrn": patient.medical_record_number or "not recorded",
    }


def _phones(patient: Patient | None) -> list[dict[str, str]]:
    """The numbers of the record that are good now, mobile first: for the call that takes the video's place."""
    now: datetime = clock.now()
    numbers = [
        contact
        for contact in (patient.contacts if patient else ())
        if contact.system == "phone"
        and (contact.valid_from is None or contact.valid_from <= now)
        and (contact.valid_until is None or contact.valid_until > now)
    ]
    numbers.sort(key=lambda contact: (contact.use != "mobile", contact.rank or 99))
    once = {re.sub(r"\D", "", contact.value)[-9:]: contact for contact in reversed(numbers)}
    kept = [contact for contact in numbers if contact in once.values()]
    return [{"use": contact.use or "phone", "number": contact.value} for contact in kept[:3]]
