"""The portal's page for the messages of one connection: what happens, what is stopped, and the settings as a form.

The same functions as the API; a plain form post each, answered by a redirect.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import azure.functions as func
from pydantic import ValidationError

from connector import clock, messages, tenants
from connector.errors import RefusedError
from connector.languages import N_
from connector.portal import entrance, forms
from connector.portal.entrance import Route, Visit
from connector.portal.message_rules import words_of
from connector.portal.settings import meanwhile
from connector.tenants import MessageSettings, TenantScope, Versioned

KINDS = ("confirmation", "reminder", "change", "cancellation")
_SWITCHES = ("confirmations", "reminders", "changes", "cancellations", "replies", "include_minors")
_NUMBERS = ("daily_cap", "minor_age")
_LISTS = ("reminder_leads_minutes", "excluded_types", "languages", "allowed_numbers", "allowed_addresses")
_NOTES = {
    "settings": N_("The settings are saved."),
    "preview": N_("This is how the texts would look. Nothing is saved yet."),
    "stop": N_("Noted: this person gets no more messages from this sender."),
    "start": N_("Noted: this person gets messages again."),
    "on": N_("Messages are on. Visits of the next eight days that were booked before get no confirmation."),
    "off": N_("Messages are off."),
    "pause": N_("Paused: what comes due waits."),
    "resume": N_("Messages are being sent again."),
    "pause_sender": N_("The sender is paused, for every FHIR base URL that uses it."),
    "resume_sender": N_("The sender sends again."),
    "release": N_("Released: what still waits is sent now, if the EHR still says the same."),
}


def show(visit: Visit) -> func.HttpResponse:
    """The page, and where its forms are posted to."""
    found = tenants.connection(visit.scope, visit.part("connection"))
    if not visit.posted:
        return _page(visit, found, note=_NOTES.get(visit.asked("done"), ""))
    done, _, kind = visit.fields.get("do", "").partition(".")
    try:
        if done == "preview":
            typed = MessageSettings.model_validate(_typed(found.value, visit.fields))
            return _page(visit, found, note=_NOTES[done], typed=visit.fields, preview=typed)
        _act(visit, found, done, kind)
    except ValidationError as error:
        return _page(visit, found, status=422, typed=visit.fields, errors=_placed(tenants.faults(error)))
    except RefusedError as error:
        if not error.details and error.status != 412:
            raise
        errors = _placed(error.details) or {"": error.message}
        present = tenants.connection(visit.scope, found.value.id)
        return _page(visit, present, status=error.status, typed=visit.fields, errors=errors)
    return visit.go(visit.path, done="release" if done == "forget" else done)


ROUTES = (Route("portal_messages", "portal/messages/{connection}", show, ("GET", "POST")),)


def _act(visit: Visit, found: Versioned[tenants.Connection], done: str, kind: str) -> None:
    scope, actor, fields = visit.scope, visit.actor, visit.fields
    now, connection, etag = clock.now(), found.value, fields.get("etag", "")
    reason = " ".join(fields.get("reason", "").split())[:200] or None
    if done == "settings":
        wanted = tenants.ConnectionPatch(messages=MessageSettings.model_validate(_typed(connection, fields)))
        tenants.change_connection(scope, connection.id, etag, wanted, actor)
    elif done in ("on", "off"):
        wanted = tenants.ConnectionPatch(messages_enabled=done == "on")
        changed = tenants.change_connection(scope, connection.id, etag, wanted, actor)
        messages.configured(scope, changed.value, now)
    elif done == "pause":
        messages.pause(scope, connection, now, actor, reason)
    elif done == "resume":
        messages.resume(scope, connection, now, actor, reason)
    elif done in ("pause_sender", "resume_sender") and connection.sender_id:
        messages.pause_sender(scope, connection.sender_id, now, actor, paused=done == "pause_sender", reason=reason)
    elif done in ("release", "forget") and kind in (*KINDS, "all"):
        if done == "forget":
            messages.forget_due(scope, connection, now, actor, reason)
        messages.release(scope, connection, kind, now, actor, reason)
    elif done in ("stop", "start"):
        typed = fields.get("contact", "").strip()
        by = messages.EMAIL if "@" in typed or not connection.sender_id else connection.sender_id
        messages.enter_opt_out(visit.services, scope, by, typed, actor, out=done == "stop")
    else:
        raise entrance.unknown_action()


def _placed(details: Mapping[str, str]) -> dict[str, str]:
    """Messages at the fields of the form."""
    texts = {f"texts.{kind}": f"text_{kind}" for kind in KINDS}
    bare = {path.removeprefix("messages."): said for path, said in details.items()}
    names = texts | {"number": "contact", "address": "contact"}
    named = {names.get(path, path): said for path, said in bare.items()}
    return forms.on_fields(named, (*_LISTS, *_NUMBERS, *texts.values()))


def _typed(connection: tenants.Connection, fields: Mapping[str, str]) -> dict[str, Any]:
    """What the form holds, in the shape of the settings; the model checks it."""
    lists = {name: fields.get(name, "").replace(",", " ").split() for name in _LISTS}
    names = [department.name for department in connection.departments]
    return {
        **{name: name in fields for name in _SWITCHES},
        **{name: fields.get(name, "") for name in (*_NUMBERS, "quiet_from", "quiet_until")},
        **lists,
        "channels": [channel for channel in ("sms", "email") if f"channel_{channel}" in fields],
        "excluded_departments": [name for number, name in enumerate(names) if f"excluded_{number}" in fields],
        "texts": {kind: fields[f"text_{kind}"] for kind in KINDS if fields.get(f"text_{kind}", "").strip()},
    }


def _page(
    visit: Visit,
    found: Versioned[tenants.Connection],
    *,
    status: int = 200,
    note: str = "",
    typed: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
    preview: MessageSettings | None = None,
) -> func.HttpResponse:
    now, scope, shown = clock.now(), visit.scope, found.value.messages.model_dump()
    if typed is not None and typed.get("do") in ("settings", "preview"):
        shown |= _typed(found.value, typed)
    worded, public_url = preview or found.value.messages, visit.services.settings.public_url
    return visit.page(
        "portal/messages.html",
        status=status,
        connection=found.value,
        tab="messages",
        etag=typed.get("etag", "") if typed and preview else found.etag,  # who previews still has the form of then
        state=messages.connection_status(scope, found.value, now),
        forecast=messages.connection_forecast(scope, found.value, now),
        settings=shown,
        kinds=KINDS,
        previews=messages.previews(
            found.value, worded, messages.answered(_sender(scope, found.value), scope.region), public_url, now
        ),
        email_previews=messages.email_previews(found.value, worded, public_url, now),
        previewed=preview is not None,
        typed=typed or {},
        note=note,
        errors=errors or {},
        **meanwhile(visit, found.value.id, status),
        words_of=words_of,
        lasted=lambda seconds: str(timedelta(seconds=seconds)),
    )


def _sender(scope: TenantScope, connection: tenants.Connection) -> tenants.Sender | None:
    return tenants.sender(scope, connection.sender_id) if connection.sender_id else None

