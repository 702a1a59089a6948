"""What patients reply to our numbers (Americas): STOP and START, C that they come, X that they do not, or else.

C is remembered with the visit for its clinician, and written into the EHR where the hospital chose write-back. X never
cancels: the answer names the clinic's telephone. Anything else, and C or X where they mean nothing, gets a help text
once a day. An answer goes through brakes, opt-outs and limits like every message, and each kind once a day to a number,
so that two machines do not talk to each other.

Whose visit it is follows from the keyed hash of the number that the visit's last message went to: no number is stored.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from connector import clock, ehr, logs
from connector.adapters.acs_events import Reply
from connector.adapters.tables import Row, RowExists, Value, Write
from connector.errors import ConnectorError, PermanentError
from connector.messages import brakes, limits, optouts
from connector.messages.decide import LIVE
from connector.messages.discover import opened
from connector.messages.ledger import TABLE, real_now
from connector.messages.lost_link import visits_of_contact
from connector.messages.reference import reference
from connector.messages.register import Visit, visits_of
from connector.messages.text import Words, compose
from connector.regions import Region
from connector.tenants import Connection, Sender, TenantScope, recent_connections, recent_senders

if TYPE_CHECKING:
    from connector.bootstrap import Services

STOP = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT"})
START = frozenset({"START", "UNSTOP"})
"""The words that carriers act on too (Azure Communication Services, SMS FAQ: opt-out of toll-free numbers)."""
CONFIRM, CALL = frozenset({"C", "CONFIRM", "YES"}), frozenset({"X"})


@dataclass(frozen=True)
class _Asked:
    """A reply, whom it went to, and the visit that it can be about."""

    scope: TenantScope
    sender: Sender
    connection: Connection
    number: str
    visit: Visit | None


def take(services: Services, reply: Reply) -> str:
    """Do what a reply asks for; what was done, in a constant word.

    Raises TransientError when it must be brought again; doing it twice changes nothing.
    """
    owners = [
        (scope, one)
        for scope in services.directory.scopes()
        if scope.region is Region.AMERICAS
        for one in recent_senders(scope).values()
        if one.kind == "phone_number" and one.value == reply.to
    ]
    if not owners:
        return "unknown_number"
    word = reply.text.strip().strip(".!").upper()
    if word in STOP:
        for scope, one in owners:
            optouts.record(scope, one.id, reply.sender, out=True, via="reply")
        return "stop"
    if word in START:
        return _start(services, owners, reply.sender)
    asked = _asked(owners, reply.sender)
    if asked is None:
        return "ignored"
    if asked.connection.messages.replies and asked.visit and word in CONFIRM:
        return _confirm(services, asked, asked.visit)
    if asked.connection.messages.replies and asked.visit and word in CALL:
        return _answer(services, asked, "reply.call", None)
    return _answer(services, asked, "reply.help", None)


def may_start(services: Services, scope: TenantScope, sender: Sender, number: str) -> bool:
    """Whether texts will arrive again: Communication Services, and the carrier behind it, keep lists of their own.

    Asks them to end a block of theirs; some only a START of the person ends. Raises ConnectorError when nobody says.
    """
    if sender.kind != "phone_number":
        return True
    sms = services.sms(scope.region)
    if not sms.opted_out(sender.value, number):
        return True
    sms.opt_in(sender.value, number)
    return not sms.opted_out(sender.value, number)


def _start(services: Services, owners: list[tuple[TenantScope, Sender]], number: str) -> str:
    scope, one = owners[0]
    if not may_start(services, scope, one, number):
        logs.event("messages.start_blocked", tenant=scope.tenant_id, sender=one.id)
        return "start_blocked"
    for scope, one in owners:
        optouts.record(scope, one.id, number, out=False, via="reply")
    return "start"


def _asked(owners: list[tuple[TenantScope, Sender]], number: str) -> _Asked | None:
    """The clinic of the number's next visit, else the first that texts by our number; None: nobody answers."""
    found: list[_Asked] = []
    for scope, one in owners:
        if optouts.opted_out(scope, one.id, [number]):
            continue
        for connection in sorted(recent_connections(scope).values(), key=lambda c: c.id):
            if connection.sender_id == one.id and connection.may_send:
                found.append(_Asked(scope, one, connection, number, _next_visit(scope, connection, number)))
    return min(found, key=lambda a: a.visit.start if a.visit else datetime.max.replace(tzinfo=UTC), default=None)


def _next_visit(scope: TenantScope, connection: Connection, number: str) -> Visit | None:
    soonest = visits_of_contact(scope, connection.id, number, clock.now())[:1]
    return next(iter(visits_of(scope, connection.id, soonest).values()), None)


def _confirm(services: Services, asked: _Asked, visit: Visit) -> str:
    """The visit as the EHR has it now: what was moved or cancelled meanwhile is not confirmed."""
    scope, connection = asked.scope, asked.connection
    appointment_id = opened(scope, services.sealer, visit.key, visit.ref)
    appointment = _appointment(services, asked, appointment_id) if appointment_id else None
    if appointment is None or appointment.status not in LIVE or appointment.start is None:
        return _answer(services, asked, "reply.help", None)
    start, end = appointment.start, appointment.end or appointment.start
    noted: dict[str, Value] = {"confirmed_for": start.isoformat(), "end": end.isoformat()}
    scope.tables.transact(TABLE, [Write("put", Row(connection.id, f"p.{visit.key}", noted))])
    if connection.write_back and appointment.status == "booked":
        _accept(services, asked, appointment)
    return _answer(services, asked, "reply.confirmed", appointment)


def _appointment(services: Services, asked: _Asked, appointment_id: str) -> ehr.Appointment | None:
    try:
        return services.ehr.reader(asked.scope, asked.connection).appointment(appointment_id)
    except PermanentError:
        return None


def _accept(services: Services, asked: _Asked, appointment: ehr.Appointment) -> None:
    """What the EHR does not take (it knew already, or somebody changed the appointment) stays remembered here."""
    try:
        services.ehr.writer(asked.scope, asked.connection).accept(appointment)
    except PermanentError as error:
        logs.event("ehr.write_failed", connection=asked.connection.id, code=error.code, status=error.vendor_status)


def _answer(services: Services, asked: _Asked, rule: str, appointment: ehr.Appointment | None) -> str:
    """Send an answer, if it may be sent; nothing of it is tried again: the patient can write again."""
    scope, connection, number, now = asked.scope, asked.connection, asked.number, clock.now()
    about = asked.visit.key if asked.visit and appointment else scope.index("limit", number)
    if brakes.peek(scope, connection).all_stopped or not limits.reaches(asked.sender, number):
        return "held"
    key = f"{rule}.{about[:16]}"
    try:
        scope.tables.insert(limits.TABLE, Row(limits.replies_partition(scope, now), key, {"at": now.isoformat()}))
    except RowExists:
        return "answered_before"
    by, most = ("help", limits.PER_HELP) if rule == "reply.help" else ("", 0)
    if limits.reserve(scope, [limits.Ask(f"m.{about}..reply.0", number, by, most)], now):
        return "limit"
    department = connection.department_of(appointment.location_ids) if appointment else None
    words = Words(
        clinic=connection.clinic_name,
        start=(appointment.start if appointment else None) or now,
        zone=department.time_zone if department else "UTC",
        link="",
        phone=connection.contact_phone,
        answered=True,
    )
    known_as = reference(connection.id, uuid.uuid4().hex, key)
    try:
        services.sms(scope.region).send(
            sender=asked.sender.value, to=number, text=compose(rule, words, connection.messages),
            repeatability_id=known_as, first_sent=real_now(), tag=known_as,
        )  # fmt: skip
    except ConnectorError as error:
        logs.event("messages.reply_failed", connection=connection.id, code=error.code)
        return "unsent"
    return rule.partition(".")[2]
