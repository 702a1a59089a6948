"""Messages: status, forecast, settings, brakes, and opt-outs that staff enter.

Brakes take no If-Match: whoever stops something must not lose a race.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from connector import clock, messages, tenants
from connector.messages import Forecast, MessageStatus
from connector.portal.api.operations import Call, Registry
from connector.tenants import Connection, EmailAddress, MessageSettings, Page, Sender
from connector.tenants import Versioned as V

api = Registry()
OF_ONE = "/connections/{connection}/messages"


class OptOutInput(BaseModel):
    """A patient told staff to stop, or restart, the texts of one sender, or all e-mail (sender `email`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    number: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=30)] | None = None
    address: EmailAddress | None = None
    """An e-mail address, where the sender is `email`; else a number."""
    out: bool = True


class OptOut(BaseModel):
    """What was recorded; the number or address is stored as a keyed hash and never shown again."""

    sender_id: str
    out: bool


Reason = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]
"""For the history; nothing about a patient."""


class Why(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    reason: Reason | None = None


class HoldRelease(Why):
    kind: Literal["all", "confirmation", "reminder", "change", "cancellation"] = "all"
    forget_due: bool = False
    """Send nothing of what is due now: after a restore it may have been sent already."""


class MessagePreview(BaseModel):
    text: str
    segments: int
    """Of the SMS, as carriers count and bill it."""


class EmailPreview(BaseModel):
    subject: str
    text: str
    """Its plain form."""


class MessagePreviews(BaseModel):
    previews: dict[str, MessagePreview]
    """By kind, in the first language."""
    emails: dict[str, EmailPreview]
    """The same; empty where e-mail is not offered."""


@api.operation("GET", "/messages/status", "Messages of every connection: counts, brakes, alarms")
def messages_all(call: Call) -> Page[MessageStatus]:
    page = call.page((one.value.id, one.value) for one in tenants.connections(call.scope))
    return Page([messages.connection_status(call.scope, one, clock.now()) for one in page.items], page.after)


@api.operation("GET", f"{OF_ONE}/status", "Messages of a connection")
def messages_status(call: Call) -> MessageStatus:
    return messages.connection_status(call.scope, call.connection, clock.now())


@api.operation("GET", f"{OF_ONE}/forecast", "Who would be texted in the next 24 hours: counts by hour, kind and rule")
def messages_forecast(call: Call) -> Forecast:
    return messages.connection_forecast(call.scope, call.connection, clock.now())


@api.operation("GET", f"{OF_ONE}/previews", "What each kind of text looks like, with a made-up visit")
def messages_previews(call: Call) -> MessagePreviews:
    return _previews(call, call.connection.messages)


@api.operation("POST", f"{OF_ONE}/previews", "The same under other settings; nothing is saved")
def messages_previews_of(call: Call, body: MessageSettings) -> MessagePreviews:
    return _previews(call, body)


def _previews(call: Call, wanted: MessageSettings) -> MessagePreviews:
    found, public_url, now = call.connection, call.services.settings.public_url, clock.now()
    sender = tenants.sender(call.scope, found.sender_id) if found.sender_id else None
    texts = messages.previews(found, wanted, messages.answered(sender, call.scope.region), public_url, now)
    emails = messages.email_previews(found, wanted, public_url, now)
    return MessagePreviews(
        previews={kind: MessagePreview(text=one.text, segments=one.segments) for kind, one in texts.items()},
        emails={kind: EmailPreview(subject=one.subject, text=one.text) for kind, one in emails.items()},
    )


@api.operation("GET", f"{OF_ONE}/settings", "What patients are told, when, and who is left out")
def messages_settings(call: Call) -> V[MessageSettings]:
    present = tenants.connection(call.scope, call.connection_id)
    return V(present.value.messages, present.etag)


@api.operation("PUT", f"{OF_ONE}/settings", "Replace the settings", if_match=True)
def messages_settings_set(call: Call, body: MessageSettings) -> V[Connection]:
    wanted = tenants.ConnectionPatch(messages=body)
    return call.configured(tenants.change_connection(call.scope, call.connection_id, call.etag, wanted, call.actor))


@api.operation("POST", f"{OF_ONE}/pause", "Pause a connection")
def messages_pause(call: Call, body: Why | None) -> MessageStatus:
    messages.pause(call.scope, call.connection, clock.now(), call.actor, _reason(body))
    return messages_status(call)


@api.operation("POST", f"{OF_ONE}/resume", "Resume a connection")
def messages_resume(call: Call, body: Why | None) -> MessageStatus:
    messages.resume(call.scope, call.connection, clock.now(), call.actor, _reason(body))
    return messages_status(call)


@api.operation("POST", f"{OF_ONE}/release", "Release what is held, of a kind or all")
def messages_release(call: Call, body: HoldRelease | None) -> MessageStatus:
    wanted = body or HoldRelease()
    if wanted.forget_due:
        messages.forget_due(call.scope, call.connection, clock.now(), call.actor, wanted.reason)
    messages.release(call.scope, call.connection, wanted.kind, clock.now(), call.actor, wanted.reason)
    return messages_status(call)


def _reason(body: Why | None) -> str | None:
    return body.reason if body else None


@api.operation("POST", "/senders/{sender}/opt-outs", "Stop, or restart, messages to a number or address", status=201)
def sender_opt_outs(call: Call, body: OptOutInput) -> OptOut:
    sender_id = call.param("sender")
    by_mail = sender_id == messages.EMAIL
    typed = _given(body.address, "address") if by_mail else _given(body.number, "number")
    messages.enter_opt_out(call.services, call.scope, sender_id, typed, call.actor, out=body.out)
    return OptOut(sender_id=sender_id, out=body.out)


def _given(value: str | None, name: str) -> str:
    if value is None:
        raise tenants.invalid({name: "is missing"})
    return value


@api.operation("POST", "/senders/{sender}/pause", "Pause a sender, of every connection")
def sender_pause(call: Call, body: Why | None) -> Sender:
    return _pause(call, body, paused=True)


@api.operation("POST", "/senders/{sender}/resume", "Resume a sender")
def sender_resume(call: Call, body: Why | None) -> Sender:
    return _pause(call, body, paused=False)


def _pause(call: Call, body: Why | None, *, paused: bool) -> Sender:
    found = tenants.versioned_sender(call.scope, call.param("sender")).value
    messages.pause_sender(call.scope, found.id, clock.now(), call.actor, paused=paused, reason=_reason(body))
    return found
