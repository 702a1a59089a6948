"""Sends a chunk of due messages, in this order: read the EHR again, claim, send one by one, record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from connector import clock, keys, logs
from connector.adapters.tables import TRANSACTION_LIMIT
from connector.errors import AmbiguousError, ConnectorError, PermanentError, TransientError
from connector.messages import brakes, ledger, limits, optouts, pace
from connector.messages.compare import Kind
from connector.messages.decide import Case, Decision, Later, Send, Skip, decide
from connector.messages.discover import opened
from connector.messages.ledger import Claim, Item, Message, Outcome
from connector.messages.plan import contact_key, person_key
from connector.messages.reference import reference
from connector.messages.revoke import Generations
from connector.messages.text import answered
from connector.tenants import Channel, Connection, Sender, TenantScope

if TYPE_CHECKING:
    from connector.adapters.acs_email import AcsEmail
    from connector.adapters.acs_sms import AcsSms
    from connector.adapters.cerner import FhirReader

WORK = timedelta(seconds=45)
"""No first attempt begins later after the claim: one that hangs must end before ACS forgets."""
BACK, LONGEST = timedelta(minutes=1), timedelta(hours=1)
"""How soon, and how late at most, what was refused for now is tried again, whatever the answer asks for."""
_SENDER_REFUSED = ("sms.not_allowed", "email.not_allowed")
"""The resource or the sender may not send at all: no verdict on this one message."""
RealTime = Callable[[], datetime]


@dataclass(frozen=True)
class Desk:
    """Everything needed to send for one connection."""

    scope: TenantScope
    connection: Connection
    sender: Sender | None
    """None where no SMS is sent."""
    reader: FhirReader
    sms: AcsSms
    sealer: keys.Sealer
    public_url: str
    email: AcsEmail | None = None
    """None where no e-mail is sent."""

    @property
    def offered(self) -> list[Channel]:
        """The channels by which something can be sent from here."""
        able = {"sms": self.sender, "email": self.email}
        return [channel for channel in self.connection.messages.channels if able[channel]]

    def sender_of(self, send: Send) -> str:
        return (self.email.sender if self.email else "") if send.email else self.sender.value if self.sender else ""

    def body_hash(self, send: Send) -> str:
        """Keyed, for the body holds a telephone number or an address."""
        return self.scope.index("body", self.sender_of(send), send.to, send.text)

    def attempt(self, claim: Claim, message: Message, send: Send) -> str:
        """One POST to ACS; repeating it is the same request to the byte. Returns ACS's message id."""
        known_as = reference(self.connection.id, claim.id, message.key)
        if send.email and self.email:
            return self.email.send(to=send.to, email=send.email, operation_id=known_as, first_sent=claim.at)
        return self.sms.send(
            sender=self.sender_of(send),
            to=send.to,
            text=send.text,
            tag=known_as,
            first_sent=claim.at,
            repeatability_id=known_as,
        )


def send_range(desk: Desk, first: str, last: str, *, real: RealTime = ledger.real_now) -> dict[str, int]:
    """Deal with a chunk of the planned messages of a range of d keys; how many came to each state, and whether the
    range has `more`.

    Running it twice, or at once in two places, sends nothing twice: one claim wins.
    """
    partition, now = desk.connection.id, clock.now()
    found = ledger.due_between(desk.scope, partition, first, last)
    planned = found[: ledger.CHUNK]
    if not planned:
        return {}
    decisions = _reserved(desk, _paced(desk, judge(desk, planned, now), now), now)
    sends = {message: d for message, d in decisions.items() if isinstance(d, Send)}
    skips = {message: d.rule for message, d in decisions.items() if isinstance(d, Skip)}
    waits = {m: Outcome("planned", d.rule, due=d.due) for m, d in decisions.items() if isinstance(d, Later)}
    wanted = Claim.new(real(), [_item(desk, message, send) for message, send in sends.items()])
    held = ledger.claim(desk.scope, partition, wanted, skips, waits)
    writes = 1 + 2 * len(sends) + 3 * (len(skips) + len(waits))
    more = len(found) > len(planned) or writes > TRANSACTION_LIMIT
    counts = {"skipped": len(skips), "later": len(waits), "more": int(more)}
    for rule, count in Counter(skips.values()).items():
        logs.event("messages.skipped", connection=partition, rule=rule, count=count)
    if held is None:
        _give_back(desk, sends, now)
        return counts | {"not_claimed": len(sends)}
    outcomes = _deliver(desk, held, list(sends.items()), real)
    if not _record(desk, held, outcomes):
        return counts | {"left_to_sweep": len(sends)}
    _give_back(desk, {m: send for m, send in sends.items() if m.key in outcomes and outcomes[m.key].due}, now)
    for outcome in outcomes.values():
        counts[outcome.state] = counts.get(outcome.state, 0) + 1
    return counts | {"left_to_sweep": len(sends) - len(outcomes)}


def _record(desk: Desk, held: Claim, outcomes: dict[str, Outcome]) -> bool:
    """A result that cannot be written is found again by the sweep, which ACS answers with the same one."""
    try:
        return ledger.record(desk.scope, desk.connection.id, held, outcomes)
    except ConnectorError as error:
        logs.failure("messages.record_failed", error, connection=desk.connection.id, claim=held.id)
        return False


def _item(desk: Desk, message: Message, send: Send) -> Item:
    contact = contact_key(desk.scope, message.visit, send.to)
    others = " ".join(contact_key(desk.scope, message.visit, to)[: ledger.OTHER] for to in send.others)
    return Item(message, desk.body_hash(send), contact, send.tells, send.rule, send.channel, others)


def _paced(desk: Desk, decisions: dict[Message, Decision], now: datetime) -> dict[Message, Decision]:
    """The same with those e-mails put off that the domain may not send yet."""
    emails = [m for m, d in decisions.items() if isinstance(d, Send) and d.email]
    if not emails or desk.email is None:
        return decisions
    delays = pace.reserve(desk.scope, desk.email.rate, len(emails))
    late = {m: Later("email_rate", now + delay) for m, delay in zip(emails, delays, strict=True) if delay}
    return {**decisions, **late}


def _reserved(desk: Desk, decisions: dict[Message, Decision], now: datetime) -> dict[Message, Decision]:
    """The same with what the limits refuse skipped. Raises TransientError when nothing can be reserved."""
    asks = [limits.Ask(m.key, d.to) for m, d in decisions.items() if isinstance(d, Send)]
    rules = limits.reserve(desk.scope, asks, now)
    return {m: Skip(rules[m.key]) if m.key in rules else d for m, d in decisions.items()}


def _give_back(desk: Desk, unsent: Mapping[Message, Send], now: datetime) -> None:
    try:
        limits.give_back(desk.scope, [limits.Ask(m.key, send.to) for m, send in unsent.items()], now)
    except ConnectorError as error:
        logs.failure("messages.not_given_back", error, connection=desk.connection.id)


def judge(desk: Desk, messages: Sequence[Message], now: datetime) -> dict[Message, Decision]:
    """Decide on each message from a fresh reading: two upstream calls, whatever the number of messages."""
    state = brakes.read(desk.scope, desk.connection, now)
    held = {message: state.stopped(message.kind) for message in messages}
    ids = {m: opened(desk.scope, desk.sealer, m.visit, m.ref) for m in messages if not held[m]}
    wanted = sorted({found for found in ids.values() if found})
    appointments = {a.id: a for a in desk.reader.appointments_by_id(wanted).items} if wanted else {}
    people = sorted({a.patient_ids[0] for a in appointments.values() if len(a.patient_ids) == 1})
    patients = {p.id: p for p in desk.reader.patients_by_id(people).items} if people else {}
    replies = answered(desk.sender, desk.scope.region)
    decisions: dict[Message, Decision] = {}
    for message in messages:
        appointment_id = ids.get(message)
        if appointment_id is None and not held[message]:
            decisions[message] = Skip("reference_unreadable")
            continue
        appointment = appointments.get(appointment_id or "")
        only = appointment.patient_ids[0] if appointment and len(appointment.patient_ids) == 1 else ""
        case = Case(
            appointment=appointment, patient=patients.get(only), planned_start=message.start,
            planned_for=partial(_is_for, desk, message), told_before=partial(_reached, desk.scope, message),
            link=_link(desk, message, appointment_id or ""), kind=_kind(message), lead=message.lead,
            told=message.told, held=held[message], stop=partial(_stop, desk, message, appointment_id or ""),
        )  # fmt: skip
        decisions[message] = decide(desk.connection, replies, case, now, desk.offered)
    return _permitted(desk, decisions)


def _permitted(desk: Desk, decisions: dict[Message, Decision]) -> dict[Message, Decision]:
    sends = [d for d in decisions.values() if isinstance(d, Send)]
    stopped = optouts.opted_out(desk.scope, optouts.EMAIL, {d.to for d in sends if d.email})
    if desk.sender:
        stopped |= optouts.opted_out(desk.scope, desk.sender.id, {d.to for d in sends if not d.email})
    for message, decision in decisions.items():
        if isinstance(decision, Send) and decision.to in stopped:
            decisions[message] = Skip("opted_out")
        elif isinstance(decision, Send) and not decision.email and not _reaches(desk, decision.to):
            decisions[message] = Skip("country_not_reached")
    return decisions


def _reaches(desk: Desk, number: str) -> bool:
    return desk.sender is not None and limits.reaches(desk.sender, number)


def _link(desk: Desk, message: Message, appointment_id: str) -> str:
    token = keys.JoinToken(desk.connection.id, appointment_id, message.generation).seal(desk.sealer)
    return f"{desk.public_url}/j/{token}"


def _stop(desk: Desk, message: Message, appointment_id: str, address: str) -> str:
    return f"{_link(desk, message, appointment_id)}/stop?e={optouts.stop_token(desk.scope, desk.sealer, address)}"


def _kind(message: Message) -> Kind:
    known: dict[str, Kind] = {"reminder": "reminder", "change": "change", "cancellation": "cancellation"}
    return known.get(message.kind, "confirmation")


def _is_for(desk: Desk, message: Message, patient_id: str) -> bool:
    return person_key(desk.scope, desk.connection.id, patient_id) == message.person


def _reached(scope: TenantScope, message: Message, number: str) -> bool:
    return contact_key(scope, message.visit, number) == message.contact


def _deliver(desk: Desk, held: Claim, sends: Sequence[tuple[Message, Send]], real: RealTime) -> dict[str, Outcome]:
    """Send one by one; a message without an outcome may have been sent and stays in the claim."""
    outcomes: dict[str, Outcome] = {}
    refused: dict[Channel, Outcome] = {}
    links = Generations(desk.scope, desk.connection.id)
    for message, send in sends:
        if send.channel in refused:
            outcomes[message.key] = refused[send.channel]
            continue
        outcome: Outcome | None
        try:
            good = links.of(message.visit)
            if good != message.generation:
                outcome = Outcome("planned", "link_revoked", due=clock.now(), generation=good)
            elif real() - held.at > WORK:
                outcome = Outcome("planned", "out_of_time", due=clock.now() + BACK)
            else:
                outcome = _send_once(desk, held, message, send)
        except ConnectorError as error:
            wait = timedelta(seconds=min(getattr(error, "retry_after_s", None) or 0, LONGEST.total_seconds()))
            outcome = refused[send.channel] = Outcome("planned", error.code, due=clock.now() + max(BACK, wait))
        if outcome is not None:
            outcomes[message.key] = outcome
    return outcomes


def _send_once(desk: Desk, held: Claim, message: Message, send: Send) -> Outcome | None:
    """The first attempt, and one replay when its answer is lost.

    Raises TransientError when it was surely not sent, PermanentError when ACS refuses the sender altogether.
    """
    try:
        return Outcome("sent", send.rule, desk.attempt(held, message, send))
    except AmbiguousError:
        return replay(desk, held, message, send)
    except PermanentError as error:
        if error.code in _SENDER_REFUSED:
            raise
        return Outcome("failed", error.code)


def replay(desk: Desk, held: Claim, message: Message, send: Send) -> Outcome | None:
    """Repeat an attempt of unknown outcome within ACS's memory; None when the outcome is still unknown."""
    try:
        return Outcome("sent", send.rule, desk.attempt(held, message, send))
    except TransientError:
        return None
    except PermanentError as error:
        if error.code in _SENDER_REFUSED:
            return None
        return Outcome("failed", error.code)
