"""What operators and admins see of a connection's messages: counts, times and rules, never a person.

status(scope, connection, now)    what waits, what became of the last day's messages, which brakes are on
forecast(scope, connection, now)  who would be texted in the next 24 hours, as counts by hour, kind and rule
watch(scope, connection, now)     the same for the operator's alerts: one log line, and another for each alarm
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel

from connector import logs
from connector.adapters.tables import Row
from connector.languages import N_
from connector.messages import brakes, lease
from connector.messages.discover import overdue
from connector.messages.health import MEANINGS, SenderFault, faults
from connector.messages.ledger import TABLE, instant, stamp
from connector.tenants import Connection, TenantScope

DAY = timedelta(hours=24)
LATE = timedelta(minutes=15)
"""Due for longer than this and not stopped: the operator is told."""
LOOK = timedelta(minutes=5)
"""A worker that finds a message stopped puts it off by this."""
UNSCANNED = timedelta(minutes=30)
RECENT = timedelta(hours=1)
ENOUGH = 1_000
"""What `watch` counts up to: a page of storage."""


class Brake(BaseModel):
    kind: str
    """Or `all`."""
    rule: str


class Undelivered(BaseModel):
    """Messages that were accepted and did not arrive, for one reason."""

    code: str
    """Of Azure Communication Services."""
    meaning: str
    count: int


class MessageStatus(BaseModel):
    """A connection's messages now, and of the last 24 hours."""

    connection: str
    enabled: bool
    paused: bool
    sender_paused: bool
    holds: list[Brake]
    baseline_pending: bool
    """The first complete scans are still to come: what was booked already is only remembered."""
    last_complete_scan: datetime | None
    scan_overdue_seconds: int
    """By how much the part of the schedule that waits longest for a complete scan is over its turn."""
    queue_age_seconds: int
    """How long the oldest message that nothing stops has been due."""
    due: int
    """Due, unsent and stopped by nothing."""
    held: int
    """Due, unsent and stopped by a brake."""
    planned: int
    """Planned for later."""
    sent: int
    failed: int
    uncertain: int
    skipped: int
    claimed: int
    delivered: int
    """Of those sent: on the phone, or in the mailbox, as far as carriers and mail servers say."""
    handed_over: int
    """E-mails that the mail service passed on; nothing more is known of them outside of the Americas."""
    unreported: int
    """Sent, and no word of their delivery yet."""
    undelivered: list[Undelivered]
    sender_faults: list[SenderFault]
    """What is wrong with the sender itself."""
    rules: dict[str, int]
    """Why messages were skipped, failed or are uncertain."""
    lost_visits: int
    """Visits that the EHR no longer returns, and that were not cancelled."""


class ForecastEntry(BaseModel):
    hour: datetime
    kind: str
    rule: str
    """`due`: it would be sent, if the EHR still says the same then; else what stops it."""
    count: int


class Forecast(BaseModel):
    """Who would be texted in the next 24 hours, as planned now; bookings and changes to come are not in it."""

    connection: str
    entries: list[ForecastEntry]
    total: int


def status(scope: TenantScope, connection: Connection, now: datetime) -> MessageStatus:
    """Reads all that is planned and the last day's messages: for people, not for every minute."""
    state = brakes.peek(scope, connection)
    due, held, later, oldest = 0, 0, 0, now
    for row in _planned(scope, connection):
        stopped = state.stopped(_kind(row))
        if _due(row) > (now + LOOK if stopped else now):
            later += 1
        elif stopped:
            held += 1
        else:
            due += 1
            oldest = min(oldest, _due(row))
    since = (instant(now - DAY), instant(now + DAY))
    states: Counter[str] = Counter()
    rules: Counter[str] = Counter()
    deliveries: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for row in scope.tables.query(TABLE, connection.id, start="m.", end="m/", where=("at", *since)):
        states[row.text("state")] += 1
        if row.text("state") in ("skipped", "failed", "uncertain"):
            rules[row.text("rule")] += 1
        elif row.text("state") == "sent":
            deliveries[row.text("delivery")] += 1
            reasons[row.text("delivery_code")] += row.text("delivery") == "undelivered"
    lost = scope.tables.query(TABLE, connection.id, start="v.", end="v/", where=("class", "lost", "lost!"))
    scans = lease.scans(scope.tables.get(TABLE, connection.id, lease.KEY))
    return MessageStatus(
        connection=connection.id,
        enabled=connection.messages_enabled,
        paused=state.paused,
        sender_paused=state.sender_paused,
        holds=[Brake(kind=kind, rule=rule) for kind, rule in sorted(state.held.items())],
        baseline_pending=connection.may_send and _baseline_pending(state, now),
        last_complete_scan=max((at for scan in scans.values() if (at := scan.completed)), default=None),
        scan_overdue_seconds=_overdue(scans, state, now),
        queue_age_seconds=int((now - oldest).total_seconds()),
        due=due,
        held=held,
        planned=later,
        sent=states["sent"],
        failed=states["failed"],
        uncertain=states["uncertain"],
        skipped=states["skipped"],
        claimed=states["claimed"],
        delivered=deliveries["delivered"],
        handed_over=deliveries["handed_over"],
        unreported=deliveries[""],
        undelivered=[
            Undelivered(code=code, meaning=MEANINGS.get(code, N_("not delivered")), count=count)
            for code, count in sorted((+reasons).items())
        ],
        sender_faults=faults(scope, connection.sender_id, now) if connection.sender_id else [],
        rules=dict(sorted(rules.items())),
        lost_visits=sum(1 for _ in lost),
    )


def forecast(scope: TenantScope, connection: Connection, now: datetime) -> Forecast:
    state = brakes.peek(scope, connection)
    counts: Counter[tuple[datetime, str, str]] = Counter()
    for row in _planned(scope, connection, until=now + DAY):
        hour = max(_due(row), now).replace(minute=0, second=0, microsecond=0)
        counts[hour, _kind(row), _rule(connection, state, _kind(row))] += 1
    entries = [ForecastEntry(hour=h, kind=k, rule=r, count=n) for (h, k, r), n in sorted(counts.items())]
    return Forecast(connection=connection.id, entries=entries, total=counts.total())


def watch(scope: TenantScope, connection: Connection, now: datetime) -> None:
    """Five storage operations and a few log lines: `messages.queue` always, the alarms by name when there is a cause.

    `messages.alarm_late`, `messages.alarm_unscanned`, `messages.alarm_held`, `messages.alarm_sender`
    """
    state = brakes.peek(scope, connection)
    rows = list(_planned(scope, connection, until=now + LOOK, limit=ENOUGH))
    free = [row for row in rows if not state.stopped(_kind(row)) and _due(row) <= now]
    age = int((now - min((_due(row) for row in free), default=now)).total_seconds())
    free_count, held_count = len(free), sum(1 for row in rows if state.stopped(_kind(row)))
    scans = lease.scans(scope.tables.get(TABLE, connection.id, lease.KEY))
    unscanned = _overdue(scans, state, now) if connection.may_send else 0
    logs.event("messages.queue", connection=connection.id, age_s=age, due=free_count, held=held_count)
    if age > LATE.total_seconds():
        logs.event("messages.alarm_late", connection=connection.id, age_s=age, due=free_count)
    if unscanned > UNSCANNED.total_seconds():
        logs.event("messages.alarm_unscanned", connection=connection.id, age_s=unscanned)
    for kind, rule in state.held.items():
        logs.event("messages.alarm_held", connection=connection.id, kind=kind, rule=rule)
    for fault in faults(scope, connection.sender_id, now) if connection.sender_id else []:
        if now - fault.last < RECENT:
            logs.event("messages.alarm_sender", connection=connection.id, sender=connection.sender_id, code=fault.code)


def _planned(
    scope: TenantScope, connection: Connection, *, until: datetime | None = None, limit: int | None = None
) -> list[Row]:
    end = f"d.{stamp(until)}/" if until else "d/"
    return list(scope.tables.query(TABLE, connection.id, start="d.", end=end, limit=limit))


def _due(row: Row) -> datetime:
    return datetime.strptime(row.key.split(".")[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def _kind(row: Row) -> str:
    """`d.{due}.m.{visit}.{recipient}.{kind}.{n}`"""
    return row.key.split(".")[5]


def _rule(connection: Connection, state: brakes.State, kind: str) -> str:
    wanted = connection.messages
    on = {
        "confirmation": wanted.confirmations,
        "reminder": wanted.reminders,
        "change": wanted.changes,
        "cancellation": wanted.cancellations,
    }
    if not connection.may_send:
        return "off"
    return state.stopped(kind) or ("due" if on.get(kind, True) else "disabled_kind")


def _overdue(scans: Mapping[str, lease.Scan], state: brakes.State, now: datetime) -> int:
    """Seconds; 0 before the silent baseline begins, which it does in the first minute."""
    begun = state.baselines.get(brakes.ALL)
    return int(overdue(scans, begun.at, now).total_seconds()) if begun and not state.off else 0


def _baseline_pending(state: brakes.State, now: datetime) -> bool:
    today = now.astimezone(UTC).date()
    return (
        state.etag is None
        or state.off
        or any(
            baseline.pending(today + timedelta(days=ahead))
            for baseline in state.baselines.values()
            for ahead in range((baseline.through - today).days + 1)
        )
    )
