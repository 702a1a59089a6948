"""Stop and start by patients on the page of their link, and the watch of the queues.

Only for the number that the EHR has for the patient of the link at that moment: nothing is typed, so nobody can
stop another person's messages.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import azure.functions as func

from connector import clock, flood, logs, web
from connector.errors import PermanentError, RefusedError
from connector.join_link import connection_of, open_join_link, scope_of, wrong_link
from connector.keys import JoinToken, NotOpened
from connector.languages import N_
from connector.messages import brakes, limits, optouts
from connector.messages.inbound import may_start
from connector.messages.ledger import TABLE
from connector.messages.phone import country_of_number, mobile_number
from connector.messages.status import watch
from connector.tenants import Connection, TenantScope, connections, recent_senders
from connector.zones import country_of

if TYPE_CHECKING:
    from connector.bootstrap import Services

_STARTS = 3
"""Of one link in a minute: who plays with it fills no history."""
_ONE_CLICK = b"List-Unsubscribe=One-Click"
"""The body of a request that the reader's mail provider makes for them, without a page of ours (RFC 8058)."""


def blueprint(services: Callable[[], Services]) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("patient_stop_page")
    @bp.route(route="j/{token}/stop", methods=["GET"])
    @web.page_errors("patient", "patient_error.html")
    def patient_stop_page(req: func.HttpRequest) -> func.HttpResponse:
        by_mail = _by_mail(services(), req)
        found = by_mail[1] if by_mail else _opened(services(), req)[2]
        return _page(req, found, "ask")

    @bp.function_name("patient_stop")
    @bp.route(route="j/{token}/stop", methods=["POST"])
    @web.page_errors("patient", "patient_error.html")
    def patient_stop(req: func.HttpRequest) -> func.HttpResponse:
        return _stop(services(), req)

    @bp.function_name("messages_watch")
    @bp.timer_trigger(arg_name="timer", schedule="45 */5 * * * *")
    def messages_watch(timer: func.TimerRequest) -> None:
        for scope in services().directory.scopes():
            with logs.contained("messages.watch_failed", tenant=scope.tenant_id):
                _watch(scope, clock.now())
        for region, queues in services().storage.queues.items():
            with logs.contained("messages.watch_failed", region=region):
                for queue, count in queues.poisoned().items():
                    logs.event("queues.alarm_poisoned", queue=queue, count=count)

    return bp


def configured(scope: TenantScope, changed: Connection, now: datetime) -> None:
    """A connection's configuration changed: look at its schedule at once, so that a silent baseline is short."""
    if changed.may_send:
        scope.queues.send(f"discover-{scope.region}", {"tenant": scope.tenant_id, "connection": changed.id})
    elif not changed.messages_enabled:
        brakes.note_off(scope, changed, now)


def _watch(scope: TenantScope, now: datetime) -> None:
    for stored in connections(scope):
        if stored.value.messages_enabled:
            watch(scope, stored.value, now)
        else:
            brakes.note_off(scope, stored.value, now)
    if now.minute < 5:
        limits.purge(scope, now)


def _stop(services: Services, req: func.HttpRequest) -> func.HttpResponse:
    out, by_mail = web.form(req).get("do") != "start", _by_mail(services, req)
    if not (by_mail and _ONE_CLICK in req.get_body()):
        web.require_same_origin(req, services.settings.public_url)
    if by_mail:
        scope, found, reader = by_mail
        try:
            optouts.record_token(scope, services.sealer, reader, out=out)
        except NotOpened:
            raise wrong_link() from None
    else:
        token, scope, found = _opened(services, req)
        if not out:
            flood.reserve(f"start.{found.id}.{token.appointment_id}", _STARTS)
        number = _number(services, scope, found, token.appointment_id)
        by = recent_senders(scope).get(found.sender_id or "")
        if by and not out and not may_start(services, scope, by, number):
            raise RefusedError(
                "optout.carrier",
                N_("Your phone company still blocks these texts. Reply START to the last one to get them again."),
                status=409,
                title=N_("Still stopped"),
            )
        optouts.record(scope, found.sender_id or "", number, out=out, via="link")
    logs.event("messages.opted_out" if out else "messages.opted_in", connection=found.id, via="link")
    return _page(req, found, "stopped" if out else "started")


def _by_mail(services: Services, req: func.HttpRequest) -> tuple[TenantScope, Connection, str] | None:
    """Tenant, connection and reader of an e-mail's own link to stop: it holds whatever became of the visit.

    None for the link of a text message. Raises RefusedError as `_token`.
    """
    reader = web.query_one(req, "e")
    if reader is None:
        return None
    token = _token(services, req)
    scope = scope_of(services.directory, token)
    return scope, connection_of(scope, token), reader


def _token(services: Services, req: func.HttpRequest) -> JoinToken:
    """Raises RefusedError, before any I/O: 404 for a link that is not ours, 429 for one that is used too often."""
    token = open_join_link(req.route_params.get("token", ""), services.sealer)
    flood.reserve(f"{token.connection_id}.{token.appointment_id}")
    return token


def _opened(services: Services, req: func.HttpRequest) -> tuple[JoinToken, TenantScope, Connection]:
    """Raises RefusedError as `_token`, and 404 for a link that was revoked."""
    token = _token(services, req)
    scope = scope_of(services.directory, token)
    found = connection_of(scope, token)
    presence = scope.tables.get(TABLE, found.id, f"p.{scope.index('visit', found.id, token.appointment_id)}")
    if token.generation != (presence.number("generation") if presence else 0):
        raise wrong_link()  # staff revoked it
    if not found.sender_id:
        raise RefusedError(
            "optout.no_sender",
            N_("This clinic sends no text messages."),
            status=409,
            title=N_("No messages are sent"),
        )
    return token, scope, found


def _number(services: Services, scope: TenantScope, found: Connection, appointment_id: str) -> str:
    """The number that a message of this visit would go to now."""
    reader = services.ehr.reader(scope, found)
    try:
        appointment = reader.appointment(appointment_id)
    except PermanentError as error:
        raise wrong_link() if error.code == "cerner.not_found" else error from None
    patients = reader.patients_by_id(appointment.patient_ids).items if len(appointment.patient_ids) == 1 else ()
    department = found.department_of(appointment.location_ids)
    country = (country_of(department.time_zone) if department else None) or country_of_number(found.contact_phone)
    number = mobile_number(patients[0].contacts, country, clock.now()) if patients else None
    if number is None:
        raise RefusedError(
            "optout.no_number",
            N_("Your clinic has no mobile number for you, so it can send you no text messages."),
            status=409,
            title=N_("No messages are sent"),
        )
    return number


def _page(req: func.HttpRequest, found: Connection, state: str) -> func.HttpResponse:
    here, reader = f"/j/{req.route_params['token']}", web.query_one(req, "e") or ""
    return web.page(
        "stop.html",
        language=web.language_of(req, "patient"),
        state=state,
        here=here,
        address=f"{here}/stop" + (f"?e={reader}" if reader else ""),
        reader=reader,
        clinic=found.clinic_name,
        phone=found.contact_phone,
    )
