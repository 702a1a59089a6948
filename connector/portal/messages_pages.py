"""The portal's page for the messages of one connection: what happens, what is stopped, and the settings as a form.

The same functions as the API; a plain form post each, answered by a redirect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import azure.functions as func
from pydantic import ValidationError

from connector import clock, messages, tenants, web
from connector.errors import RefusedError
from connector.launch import Identity, identity
from connector.portal.access import may_configure, may_see_portal
from connector.tenants import Actor, MessageSettings, TenantScope, Versioned

if TYPE_CHECKING:
    from connector.bootstrap import Services

KINDS = ("confirmation", "reminder", "change", "cancellation")
_SWITCHES = ("confirmations", "reminders", "changes", "cancellations", "include_minors")
_NUMBERS = ("daily_cap", "minor_age")
_LISTS = ("reminder_leads_minutes", "excluded_types", "languages", "allowed_numbers")
_NOTES = {
    "settings": "The settings are saved.",
    "on": "Messages are on. Visits of the next eight days that were booked before get no confirmation.",
    "off": "Messages are off.",
    "pause": "Paused: what comes due waits.",
    "resume": "Sending goes on.",
    "release": "Released: what still waits is sent now, if the EHR still says the same.",
}


def blueprint(services: Callable[[], Services]) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("portal_messages")
    @bp.route(route="portal/messages/{connection}", methods=["GET"])
    @web.answers_with_page
    def portal_messages(req: func.HttpRequest) -> func.HttpResponse:
        who = identity(req, services().sealer, "portal")
        if who is None:
            return web.redirect(services().settings.public_url + "/signin")
        if not may_see_portal(who):
            return web.page("portal_refused.html", status=403, who=who)
        scope, found = _found(services(), who, req)
        return _page(services(), scope, found, who, note=_NOTES.get(web.query_one(req, "done") or "", ""))

    @bp.function_name("portal_messages_post")
    @bp.route(route="portal/messages/{connection}", methods=["POST"])
    @web.answers_with_page
    def portal_messages_post(req: func.HttpRequest) -> func.HttpResponse:
        web.require_same_origin(req, services().settings.public_url)
        who = identity(req, services().sealer, "portal")
        if who is None:
            return web.redirect(services().settings.public_url + "/signin")
        if not may_configure(who):
            return web.page("portal_refused.html", status=403, who=who)
        scope, found = _found(services(), who, req)
        fields = web.form(req)
        done = fields.get("do", "")
        try:
            _act(scope, found, Actor(who.object_id), done, fields)
        except ValidationError as error:
            return _page(services(), scope, found, who, status=422, typed=fields, errors=tenants.faults(error))
        except RefusedError as error:
            if not error.details and error.status != 412:
                raise
            return _page(
                services(),
                scope,
                found,
                who,
                status=error.status,
                typed=fields,
                errors=error.details or {"": str(error.message)},
            )
        where = f"/portal/messages/{found.value.id}?{urlencode({'done': done})}"
        return web.redirect(services().settings.public_url + where)

    return bp


def _act(
    scope: TenantScope, found: Versioned[tenants.Connection], actor: Actor, done: str, fields: Mapping[str, str]
) -> None:
    now, connection, etag = clock.now(), found.value, fields.get("etag", "")
    if done == "settings":
        wanted = tenants.ConnectionPatch(messages=MessageSettings.model_validate(_typed(connection, fields)))
        tenants.change_connection(scope, connection.id, etag, wanted, actor)
    elif done in ("on", "off"):
        wanted = tenants.ConnectionPatch(messages_enabled=done == "on")
        changed = tenants.change_connection(scope, connection.id, etag, wanted, actor)
        messages.configured(scope, changed.value, now)
    elif done == "pause":
        messages.pause(scope, connection, now, actor)
    elif done == "resume":
        messages.resume(scope, connection, now, actor)
    elif done == "release" and fields.get("kind") in (*KINDS, "all"):
        if fields.get("forget"):
            messages.forget_due(scope, connection, now)
        messages.release(scope, connection, fields["kind"], now, actor)
    else:
        raise RefusedError("portal.unknown_action", "This form is not complete. Please open the page again.")


def _typed(connection: tenants.Connection, fields: Mapping[str, str]) -> dict[str, Any]:
    """What the form holds, in the shape of the settings; the model checks it."""
    lists = {name: fields.get(name, "").replace(",", " ").split() for name in _LISTS}
    names = [department.name for department in connection.departments]
    return {
        **{name: name in fields for name in _SWITCHES},
        **{name: fields.get(name, "") for name in (*_NUMBERS, "quiet_from", "quiet_until")},
        **lists,
        "excluded_departments": [name for number, name in enumerate(names) if f"excluded_{number}" in fields],
        "texts": {kind: fields[f"text_{kind}"] for kind in KINDS if fields.get(f"text_{kind}", "").strip()},
    }


def _found(
    services: Services, who: Identity, req: func.HttpRequest
) -> tuple[TenantScope, Versioned[tenants.Connection]]:
    scope = services.directory.scope(who.tenant_id)
    return scope, tenants.connection(scope, str(req.route_params.get("connection", "")))


def _page(
    services: Services,
    scope: TenantScope,
    found: Versioned[tenants.Connection],
    who: Identity,
    *,
    status: int = 200,
    note: str = "",
    typed: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
) -> func.HttpResponse:
    now, shown = clock.now(), found.value.messages.model_dump()
    if typed is not None and typed.get("do") == "settings":
        shown |= _typed(found.value, typed)
    return web.page(
        "messages_status.html",
        status=status,
        who=who,
        may_change=may_configure(who),
        connection=found.value,
        etag=found.etag,
        state=messages.connection_status(scope, found.value, now),
        forecast=messages.connection_forecast(scope, found.value, now),
        settings=shown,
        kinds=KINDS,
        previews=messages.previews(
            found.value, found.value.messages, _sender(scope, found.value), services.settings.public_url, now
        ),
        note=note,
        errors=errors or {},
        lasted=lambda seconds: str(timedelta(seconds=seconds)),
    )


def _sender(scope: TenantScope, connection: tenants.Connection) -> tenants.Sender | None:
    return tenants.sender(scope, connection.sender_id) if connection.sender_id else None

