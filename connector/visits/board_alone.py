"""Today's visits by Microsoft sign-in alone, for when the EHR is down: times and departments, and the way into meetings
that were made before. Only for an account that some launch has linked with an EHR user of the connection.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import azure.functions as func

from connector import clock, messages, web
from connector.errors import RefusedError
from connector.launch import StaffAccount, begin_staff_sign_in, is_linked, staff_account
from connector.tenants import Connection, TenantScope, connections
from connector.visits import times
from connector.visits.ahead import expected
from connector.visits.board import AT_MOST, presences
from connector.visits.meeting import staff_joined, stored
from connector.visits.presence import VISITS

if TYPE_CHECKING:
    from connector.bootstrap import Services
    from connector.messages import Upcoming

BEFORE, AFTER = timedelta(hours=3), timedelta(hours=18)
_NAME = re.compile(r"([aep][a-z2-7]{8})\.([0-9a-f]{32})")
"""How this page names a visit: connection and visit key."""


def blueprint(services: Callable[[], Services]) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("board_alone")
    @bp.route(route="board", methods=["GET"])
    @web.answers_with_page
    def board_alone(req: func.HttpRequest) -> func.HttpResponse:
        account, other = staff_account(req, services().sealer), web.query_one(req, "account") == "other"
        if account is None or other:
            return begin_staff_sign_in(services(), "/board", other=other)
        rows = [row for scope, found in _connections(services(), account) for row in _rows(scope, found)]
        rows.sort(key=lambda row: str(row["start"]))
        return web.page(
            "board_alone.html",
            csp=web.content_security_policy(form_action=None),
            rows=rows[:AT_MOST],
            complete=len(rows) <= AT_MOST,
            now=clock.now().isoformat(),
        )

    @bp.function_name("board_alone_status")
    @bp.route(route="board/status", methods=["POST"])
    @web.answers_with_problem
    def board_alone_status(req: func.HttpRequest) -> func.HttpResponse:
        web.require_same_origin(req, services().settings.public_url)
        allowed = {found.id: scope for scope, found in _connections(services(), _account(services(), req))}
        body = web.json_body(req)
        asked = body.get("picks") if isinstance(body, dict) else None
        named = [_named(one, allowed) for one in asked] if isinstance(asked, list) and len(asked) <= AT_MOST else []
        seen: dict[tuple[str, str], object] = {}
        for connection, scope in allowed.items():
            visits = [visit for its, visit in named if its == connection]
            found = presences(scope, connection, visits)
            seen |= {(connection, visit): one.status() for visit, one in zip(visits, found, strict=True)}
        return web.json_response(
            {"visits": [seen[one] for one in named]}, headers={"Connector-Time": clock.now().isoformat()}
        )

    @bp.function_name("board_alone_join")
    @bp.route(route="board/join", methods=["POST"])
    @web.answers_with_page
    def board_alone_join(req: func.HttpRequest) -> func.HttpResponse:
        web.require_same_origin(req, services().settings.public_url)
        allowed = {found.id: (scope, found) for scope, found in _connections(services(), _account(services(), req))}
        connection_id, visit = _named(web.form(req).get("visit"), allowed)
        scope, found = allowed[connection_id]
        ready = stored(services(), scope, found, visit)
        if ready is None:
            raise RefusedError(
                "board.no_meeting",
                "No meeting was made for this visit yet. One is made an hour ahead, or when the patient taps Join.",
                status=409,
                title="No meeting yet",
            )
        staff_joined(scope, connection_id, visit, ready)
        # no form-action: Chromium applies it to the redirect of a form, and Teams' addresses are opaque to us
        return web.redirect(ready.join_web_url, csp=web.content_security_policy(form_action=None))

    return bp


def _account(services: Services, req: func.HttpRequest) -> StaffAccount:
    account = staff_account(req, services.sealer)
    if account is None:
        raise RefusedError(
            "board.signed_out", "Your sign-in is over. Load the page again.", status=401, title="Please sign in again"
        )
    return account


def _connections(services: Services, account: StaffAccount) -> list[tuple[TenantScope, Connection]]:
    """The connections in which the account is linked. Raises RefusedError (403) when there is none."""
    scope = services.directory.find(account.tenant_id)
    known = [one.value for one in connections(scope) if one.value.active] if scope else []
    linked = [(scope, one) for one in known if scope and is_linked(scope, one.id, account.object_id)]
    if not linked:
        raise RefusedError(
            "board.not_linked",
            "This page is for clinicians who have linked their Microsoft account: open a video visit from the chart "
            "once, and sign in there.",
            status=403,
            title="Not linked yet",
        )
    return linked


def _rows(scope: TenantScope, found: Connection) -> list[dict[str, Any]]:
    now = clock.now()
    coming = _coming(scope, found, now)
    zones = {department.name: ZoneInfo(department.time_zone) for department in found.departments}
    fallback = next(iter(zones.values()), ZoneInfo("UTC"))
    today = [one for one in coming if _is_today(one, zones.get(one.department, fallback))]
    seen = presences(scope, found.id, [one.visit for one in today])
    return [
        {
            "name": f"{found.id}.{one.visit}",
            "start": one.start.isoformat(),
            "opens": (one.start - timedelta(minutes=found.join_opens_minutes)).isoformat(),
            "when": times.day_and_time(one.start, zones.get(one.department, fallback)),
            "zone": zones.get(one.department, fallback).key,
            "department": one.department,
            "clinic": found.clinic_name,
            "seen": presence.status(),
        }
        for one, presence in zip(today, seen, strict=True)
    ]


def _coming(scope: TenantScope, found: Connection, now: datetime) -> list[Upcoming]:
    """What the last scan knew; where messages are off nothing is scanned, and the meetings that were made are known."""
    window = now - BEFORE, now + AFTER
    if found.may_send:
        return list(messages.upcoming(scope, found.id, window).values())
    rows = scope.tables.query(VISITS, found.id, start="o.", end="o/")
    made = [one for row in rows if row.text("meeting") and (one := expected(row))]
    return [one for one in made if window[0] <= one.start <= window[1]]


def _is_today(one: Upcoming, zone: ZoneInfo) -> bool:
    return one.start.astimezone(zone).date() == clock.now().astimezone(zone).date()


def _named(name: object, allowed: dict[str, Any]) -> tuple[str, str]:
    """Connection and visit that a row names. Raises RefusedError (404) for what this account may not see."""
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None or match[1] not in allowed:
        raise RefusedError("board.unknown", "There is no such visit.", status=404, title="Not found")
    return match[1], match[2]
