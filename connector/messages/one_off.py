"""What a person sends at once, beside what is planned: the link again, or word of a delay.

Row `l.{visit}.{what}.{contact}` in table Visits, one for each thing sent to each contact of a visit: taken before
anything is sent, so that a double click, a reload or two tabs send once. Sending the same again is possible a minute
later. The order is that of planned messages: claim, reserve in the limits, send, record.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Literal

from connector import clock, ehr, keys, logs
from connector.adapters.tables import Row, RowChanged, RowExists, Write
from connector.errors import AmbiguousError, ConnectorError, PermanentError, RefusedError, TransientError
from connector.messages import brakes, contacts, ledger, limits, optouts
from connector.messages.contacts import Contact
from connector.messages.email_text import compose_email
from connector.messages.phone import typed_mobile
from connector.messages.reference import Awaiting, Sent, reference
from connector.messages.text import Words, answered, compose
from connector.regions import region_of
from connector.tenants import Channel, Connection, Sender, TenantScope, sender

if TYPE_CHECKING:
    from connector.bootstrap import Services

AGAIN = timedelta(minutes=1)
"""Real time in which the same to the same contact is one sending."""
OneOffKind = Literal["link", "late"]


@dataclass(frozen=True)
class OneOff:
    """What became of it. `uncertain`: nobody knows whether it was sent; it is not sent again by itself."""

    state: Literal["sent", "uncertain"]
    to: str
    """The contact, masked."""
    again: bool = False
    """It was sent a moment ago, and not once more."""


@dataclass(frozen=True)
class _Letter:
    """One thing to be sent, with all that decides about it."""

    scope: TenantScope
    connection: Connection
    sender: Sender | None
    contact: Contact
    visit: str
    end: datetime
    rule: str
    """`link`, or `late.{minutes}`."""
    by: str

    @property
    def key(self) -> str:
        contact = self.scope.index("contact", self.visit, self.contact.to)
        return f"l.{self.visit}.{self.rule.replace('.', '-')}.{contact[:16]}"


def reachable(
    services: Services, connection: Connection, appointment: ehr.Appointment, patient: ehr.Patient
) -> list[Contact]:
    """The ways by which this patient can be sent something now, as the record has them; show them `masked`."""
    found = contacts.of_record(connection, appointment, patient, clock.now())
    return [contact for channel, contact in found.items() if _offered(services, connection, channel)]


def send_link(
    services: Services,
    scope: TenantScope,
    connection: Connection,
    appointment: ehr.Appointment,
    patient: ehr.Patient | None,
    *,
    channel: Channel,
    typed: str | None = None,
    kind: OneOffKind = "link",
    late_minutes: int = 0,
    by: str = "",
) -> OneOff:
    """Send the patient's link, or word that the visit begins late, to the record's contact or to one typed now.

    A typed contact is used once and not kept. `by` is the Entra object id of who sends it; empty when it was asked for
    as lost. Raises RefusedError, with a text for whoever asked, when it must not be sent; TransientError when it surely
    was not and may be tried again.
    """
    contact = _contact(services, connection, appointment, patient, channel, typed)
    rule = "link" if kind == "link" else f"late.{late_minutes}"
    by_sender = sender(scope, connection.sender_id) if connection.sender_id else None
    visit = scope.index("visit", connection.id, appointment.id)
    end = appointment.end or appointment.start or clock.now()
    letter = _Letter(scope, connection, by_sender, contact, visit, end, rule, by)
    _permit(letter)
    taken = _take(letter)
    if isinstance(taken, OneOff):
        return taken
    try:
        _reserve(letter)
        words = _words(services, letter, appointment)  # now that the row is taken: whoever revokes links waits for it
        message_id = _send(services, letter, taken, words, patient.language if patient else None)
    except AmbiguousError:
        return _noted(letter, taken, "uncertain")
    except ConnectorError as error:
        if error.code != "link.limit":
            limits.give_back(scope, [_ask(letter)], clock.now())
        _note(letter, taken, "failed", error.code)
        raise _refused_by_vendor(error) from None
    return _noted(letter, taken, "sent", message_id)


def _contact(
    services: Services, connection: Connection, appointment: ehr.Appointment, patient: ehr.Patient | None,
    channel: Channel, typed: str | None,
) -> Contact:  # fmt: skip
    if not connection.may_send or not _offered(services, connection, channel):
        raise _refused("channel_off", "This clinic sends no messages in this way. Your administrator can switch it on.")
    if typed is not None:
        return _typed(connection, appointment, channel, typed)
    recorded = contacts.of_record(connection, appointment, patient, clock.now()) if patient else {}
    if channel in recorded:
        return recorded[channel]
    if channel == "sms":
        raise _refused("no_contact", "The record has no mobile number that may be used now. You can type one.")
    raise _refused("no_contact", "The record has no e-mail address that may be used now. You can type one.")


def _typed(connection: Connection, appointment: ehr.Appointment, channel: Channel, typed: str) -> Contact:
    if channel == "email":
        address = contacts.normal_address(typed)
        if address is None:
            raise _refused("not_an_address", "This is not an e-mail address.", status=422)
        return Contact("email", address)
    number = typed_mobile(typed, contacts.country_for(connection, appointment))
    if number is None:
        raise _refused("not_a_number", "This is not a mobile number. Try it with its country code.", status=422)
    return Contact("sms", number)


def _offered(services: Services, connection: Connection, channel: Channel) -> bool:
    if channel not in connection.messages.channels:
        return False
    return bool(connection.sender_id) if channel == "sms" else services.email(region_of(connection.id)) is not None


def _permit(letter: _Letter) -> None:
    """Raises RefusedError for whom nothing may be sent to, and while nothing is sent at all."""
    scope, connection, to = letter.scope, letter.connection, letter.contact.to
    if not contacts.allowed_in_test(connection, letter.contact):
        raise _refused("not_allowed", "This test connection sends only to the numbers and addresses on its list.")
    if brakes.read(scope, connection, clock.now()).all_stopped:
        raise _refused("paused", "Your administrator has paused messages, or they wait for a release.")
    if letter.contact.channel == "sms" and not (letter.sender and limits.reaches(letter.sender, to)):
        raise _refused("country", "Text messages of this clinic do not reach this country.")
    said_stop_to = optouts.EMAIL if letter.contact.channel == "email" else connection.sender_id or ""
    if optouts.opted_out(scope, said_stop_to, [to]):
        raise _refused("opted_out", "This person asked to get no more messages here. Please call instead.")


def _take(letter: _Letter) -> Row | OneOff:
    """The row, now ours; or what became of the same sending a moment ago, or in another tab right now."""
    scope, connection = letter.scope, letter.connection
    values = {"state": "claimed", "rule": letter.rule, "message_id": "", "at": ledger.real_now().isoformat()}
    row = Row(connection.id, letter.key, {**values, "claim": uuid.uuid4().hex, "end": ledger.instant(letter.end)})
    try:
        return scope.tables.insert(ledger.TABLE, row)
    except RowExists:
        present = scope.tables.get(ledger.TABLE, connection.id, letter.key)
    just_now = present is not None and ledger.real_now() - datetime.fromisoformat(present.text("at")) < AGAIN
    if present is None or (just_now and present.text("state") != "failed"):
        known = present is not None and present.text("state") == "sent"
        return OneOff("sent" if known else "uncertain", letter.contact.masked, again=True)
    try:
        return scope.tables.update(ledger.TABLE, replace(row, etag=present.etag))
    except RowChanged:
        return OneOff("uncertain", letter.contact.masked, again=True)


def _reserve(letter: _Letter) -> None:
    """Raises RefusedError over a limit, TransientError when nothing can be reserved: then nothing may be sent."""
    try:
        rules = limits.reserve(letter.scope, [_ask(letter)], clock.now())
    except AmbiguousError:
        raise TransientError("messages.not_reserved") from None
    if rules:
        logs.event("messages.one_off_limited", connection=letter.connection.id, rule=next(iter(rules.values())))
        raise _refused("limit", "The limit for today is reached. Please call instead.", status=429)


def _ask(letter: _Letter) -> limits.Ask:
    key, to = f"m.{letter.visit}..{letter.rule.partition('.')[0]}.0", letter.contact.to
    by, most = (letter.by, limits.PER_CLINICIAN) if letter.by else (f"lost {to}", limits.PER_STRANGER)
    return limits.Ask(key, to, by, most)


def _send(services: Services, letter: _Letter, taken: Row, words: Words, language: str | None) -> str:
    """One attempt, and one more of the same when its answer is lost, which ACS carries out once.

    Raises AmbiguousError when nobody knows whether it was sent.
    """
    scope, settings, contact = letter.scope, letter.connection.messages, letter.contact
    at, known_as = datetime.fromisoformat(taken.text("at")), _reference(letter, taken)
    attempt: Callable[[], str]
    if contact.channel == "email":
        mailer = services.email(scope.region)
        if mailer is None:
            raise PermanentError("email.not_configured")
        stop = f"{words.link}/stop?e={optouts.stop_token(scope, services.sealer, contact.to)}"
        email = compose_email(letter.rule, words, settings, stop, language)
        attempt = partial(mailer.send, to=contact.to, email=email, operation_id=known_as, first_sent=at)
    else:
        attempt = partial(
            services.sms(scope.region).send,
            sender=letter.sender.value if letter.sender else "",
            to=contact.to,
            text=compose(letter.rule, words, settings, language),
            repeatability_id=known_as,
            first_sent=at,
            tag=known_as,
        )
    try:
        return attempt()
    except AmbiguousError:
        pass
    try:
        return attempt()
    except TransientError:
        raise AmbiguousError("messages.unknown_outcome") from None


def _words(services: Services, letter: _Letter, appointment: ehr.Appointment) -> Words:
    connection = letter.connection
    department = connection.department_of(appointment.location_ids)
    zone = department.time_zone if department else "UTC"
    presence = letter.scope.tables.get(ledger.TABLE, connection.id, f"p.{letter.visit}")
    token = keys.JoinToken(connection.id, appointment.id, presence.number("generation") if presence else 0)
    return Words(
        clinic=connection.clinic_name,
        start=appointment.start or datetime.now(UTC),
        zone=zone,
        link=f"{services.settings.public_url}/j/{token.seal(services.sealer)}",
        phone=connection.contact_phone,
        answered=answered(letter.sender, letter.scope.region),
    )


def _reference(letter: _Letter, taken: Row) -> str:
    return reference(letter.connection.id, taken.text("claim"), letter.key)


def _noted(letter: _Letter, taken: Row, state: Literal["sent", "uncertain"], message_id: str = "") -> OneOff:
    """Also for the report of the delivery, which finds the row by what is noted here."""
    _note(letter, taken, state, letter.rule, message_id)
    known_as = _reference(letter, taken) if letter.contact.channel == "email" else message_id
    sent = Sent(letter.key, known_as, letter.contact.channel, state == "sent")
    awaiting = Awaiting.new(letter.connection.id, taken.text("claim"), [sent]).stored()
    try:
        letter.scope.tables.transact(ledger.TABLE, [Write("upsert", awaiting)])
    except ConnectorError as error:
        logs.failure("messages.record_failed", error, connection=letter.connection.id)
    return OneOff(state, letter.contact.masked)


def _note(letter: _Letter, taken: Row, state: str, rule: str, message_id: str = "") -> None:
    """What cannot be written is only missing in the counts: the row was taken before anything was sent."""
    logs.event("messages.one_off", connection=letter.connection.id, visit=letter.visit, state=state, rule=rule)
    values = {**taken.values, "state": state, "rule": rule, "message_id": message_id}
    try:
        letter.scope.tables.update(ledger.TABLE, replace(taken, values=values))
    except ConnectorError as error:
        logs.failure("messages.record_failed", error, connection=letter.connection.id)


def _refused_by_vendor(error: ConnectorError) -> ConnectorError:
    if isinstance(error, RefusedError | TransientError):
        return error
    return _refused("not_sent", "The message service refused to send this. Your administrator can find out why.")


def _refused(code: str, message: str, *, status: int = 409) -> RefusedError:
    return RefusedError(f"link.{code}", message, status=status, title="Nothing was sent")
