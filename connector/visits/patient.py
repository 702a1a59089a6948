"""The patient's page `/j/{token}` and what it does.

GET never counts as a visit (link previews fetch it); joining is a POST, and so is saying that a person opened the page.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import azure.functions as func

from connector import clock, logs, web
from connector.errors import ConnectorError, TransientError
from connector.visits import ahead, times
from connector.visits.calendar import calendar_entry
from connector.visits.doorway import Doorway, doorway, here, language_of, link_of, seen
from connector.visits.meeting import provision

if TYPE_CHECKING:
    from connector.bootstrap import Services

SOON = timedelta(hours=1)
"""From then on a page left open opens the door by itself, and keeps the screen on."""
NOBODY_CAME = timedelta(minutes=15)
"""After the time at which the clinic was expected: then the patient is told to call."""


def blueprint(services: Callable[[], Services]) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("patient_page")
    @bp.route(route="j/{token}", methods=["GET"])
    @web.page_errors("patient", "patient_error.html")
    def patient_page(req: func.HttpRequest) -> func.HttpResponse:
        return _page(services(), req, doorway(services(), req))

    @bp.function_name("patient_join")
    @bp.route(route="j/{token}/join", methods=["POST"])
    @web.page_errors("patient", "patient_error.html")
    def patient_join(req: func.HttpRequest) -> func.HttpResponse:
        return _join(services(), req)

    @bp.function_name("patient_presence")
    @bp.route(route="j/{token}/presence", methods=["POST"])
    @web.answers_with_problem
    def patient_presence(req: func.HttpRequest) -> func.HttpResponse:
        return _presence(services(), req)

    @bp.function_name("patient_calendar")
    @bp.route(route="j/{token}/calendar", methods=["GET"])
    @web.page_errors("patient", "patient_error.html")
    def patient_calendar(req: func.HttpRequest) -> func.HttpResponse:
        return _calendar(services(), req)

    return bp


def _join(services: Services, req: func.HttpRequest) -> func.HttpResponse:
    web.require_same_origin(req, services.settings.public_url)
    door = doorway(services, req, doing="join")
    if not door.joinable:
        return _page(services, req, door)
    meeting = door.meeting
    if door.appointment is not None:
        try:
            meeting = provision(services, door.scope, door.connection, door.appointment)
        except ConnectorError as error:  # whatever it is, the patient can only call
            logs.event("visit.patient_not_joined", connection=door.connection.id, visit=door.visit, code=error.code)
    if meeting is None:
        return _page(services, req, door, trouble=True)
    _joined(door)
    logs.event("visit.patient_joined", connection=door.connection.id, visit=door.visit)
    address = meeting.browser_join_url
    if address is None or web.form(req).get("with") == "app":
        address = meeting.join_web_url
    # no form-action: Chromium applies it to the redirect of a form, and Teams' addresses are opaque to us
    return web.redirect(address, csp=web.content_security_policy(form_action=None))


def _presence(services: Services, req: func.HttpRequest) -> func.HttpResponse:
    """An open page says that somebody looks at it, and hears when to look again: a point read."""
    web.require_same_origin(req, services.settings.public_url)
    open_page = link_of(services, req)
    said = web.json_body(req)
    old = isinstance(said, dict) and said.get("browser") == "old"
    if not open_page.presence.text("opened_at") or (old and not open_page.presence.text("browser")):
        _opened(doorway(services, req), old)
    return web.json_response({"look": open_page.look, "in_call": open_page.in_call})


def _calendar(services: Services, req: func.HttpRequest) -> func.HttpResponse:
    door = doorway(services, req)
    if door.start is None or not (door.stage == "early" or door.joinable):
        return web.redirect(here(req))
    language = language_of(services, req, door)
    entry = calendar_entry(
        title=language.gettext("Video visit"),
        note=language.gettext("Join here:"),
        link=services.settings.public_url + here(req),
        start=door.start,
        end=door.end,
        now=clock.now(),
    )
    disposition = {"Content-Disposition": 'attachment; filename="video-visit.ics"'}
    return web.respond(entry, mimetype="text/calendar", headers=disposition)


def _opened(door: Doorway, old_browser: bool) -> None:
    columns: dict[str, str] = {"browser": "old"} if old_browser else {}
    if not door.presence.text("opened_at"):
        columns["opened_at"] = clock.now().isoformat()
    seen(door, **columns)


def _joined(door: Doorway) -> None:
    """The first tap counts, of this time of the visit. Not to be remembered keeps nobody out."""
    if door.opens and door.presence.text("joined_at") >= door.opens.isoformat():
        return
    try:
        seen(door, joined_at=clock.now().isoformat())
        if door.connection.arrived_on_join:
            ahead.hint(door.scope, door.connection.id, door.visit)
    except TransientError as error:
        logs.event("visit.presence_not_written", connection=door.connection.id, visit=door.visit, code=error.code)


def _page(services: Services, req: func.HttpRequest, door: Doorway, *, trouble: bool = False) -> func.HttpResponse:
    language = language_of(services, req, door)
    now, start, since = clock.now(), door.start, door.since
    opens, expected = door.opens, door.expected

    def at(moment: datetime) -> str:
        """The time alone when it is today where the clinic is; the weekday with it on the day that the page names."""
        today, named, day = (one.astimezone(door.zone).date() for one in (now, start or now, moment))
        if day == today:
            return times.time_of_day(moment, door.zone, language.tag)
        return (times.weekday_and_time if day == named else times.day_and_time)(moment, door.zone, language.tag)

    def minutes(span: timedelta) -> str:
        n = max(1, -(-int(span.total_seconds()) // 60))
        return language.ngettext("%(num)s minute", "%(num)s minutes", n) % {"num": n}

    due = max(filter(None, (start, expected, since)), default=now)
    soon = opens is not None and timedelta() < opens - now < SOON
    return web.page(
        "patient.html",
        status=503 if trouble or door.stage == "unreachable" else 200,
        csp=web.content_security_policy(form_action=None),
        cookies=(web.cookie("language", language.tag, max_age_s=30 * 24 * 3600, path=here(req)),),
        language=language,
        here=here(req),
        address=here(req),
        link=services.settings.public_url + here(req),
        clinic=door.connection.clinic_name,
        phone=door.connection.contact_phone,
        texts=door.connection.sender_id is not None,
        stage=door.stage,
        trouble=trouble,
        checked=door.appointment is not None,
        moved=door.moved,
        look=door.look,
        live=door.presence.text("live"),
        ended=door.presence.text("ended"),
        zone=door.zone.key,
        now=now.isoformat(),
        opens_at=opens.isoformat() if opens and soon else "",
        starts_at=start.isoformat() if start else "",
        since_at=since.isoformat() if since else "",
        when=times.day_and_time(start, door.zone, language.tag) if start else "",
        day=times.day(start, door.zone, language.tag) if start else "",
        time=times.time_and_zone(start, door.zone, language.tag) if start else "",
        opens=at(opens) if opens else "",
        soon=soon,
        starts_in=minutes(start - now) if start and start > now else "",
        waited=minutes(now - since) if since else "",
        expected=at(expected) if expected else "",
        expected_ahead=expected is not None and expected > now,
        call_after=at(due + NOBODY_CAME),
    )
