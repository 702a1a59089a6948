"""Brakes: what keeps a connection from sending though messages are due, and patients from being told though visits
are new.

Rows beside the messages that they stop, in table `Visits`, partition = connection:
`b.brake`   pause, held kinds, releases, and since when which visits are only remembered (silent baseline)
`b.counts`  how many messages of each kind were planned in each hour of the last days
`b.epoch`   a number that only grows, and when it last did: a storage that was restored shows an older one
and `b.sender.{id}` in partition = tenant: a paused sender.

Everybody:   state = read(scope, connection, now), for each chunk or run
Discover:    state.silent(day, department, updated) -> remember it, tell nobody;  volume.admit(...) before it plans;
             baselined(...) after the first complete scan of a day
Dispatcher:  state.all_stopped, state.stopped(kind) -> rule, "" when free
Workers:     state.stopped(kind): what is stopped stays planned
Admins:      stops.py
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from pydantic import BaseModel

from connector import logs
from connector.adapters.tables import Row, RowChanged, RowExists, Value
from connector.errors import ConnectorError, TransientError
from connector.messages.ledger import TABLE
from connector.tenants import Actor, Connection, TenantScope, record

BRAKE, COUNTS, EPOCH = "b.brake", "b.counts", "b.epoch"
ALL = "all"
"""Every kind; every department."""
RELEASED_FOR = timedelta(hours=24)
"""Whoever released a kind has looked: it is not held again for this long."""
BEAT = timedelta(minutes=10)
GAP = timedelta(hours=1)
"""A process that starts and finds that nobody sent for longer than this assumes that the storage was restored."""
_ATTEMPTS = 10

Rule = Literal["", "off", "paused", "sender_paused", "held_restored", "held_volume", "held_mass_cancellation"]
ITSELF = Actor("connector")
_epochs: dict[str, int] = {}
"""Connection to the highest number that this process saw."""


class BrakeChange(BaseModel):
    """What the tenant's history says of a brake that fell, or was pulled or let go."""

    kind: str | None = None
    rule: str | None = None
    department: str | None = None
    count: int | None = None
    reason: str | None = None
    """As an admin gave it."""


@dataclass(frozen=True)
class Baseline:
    """Since `at`, visits that were there already are only remembered; `done` are the days that were scanned since."""

    at: datetime
    through: date
    done: frozenset[int] = frozenset()
    """Days after the day of `at`."""

    @property
    def second(self) -> datetime:
        """An EHR tells the times of its changes to the second."""
        return self.at.replace(microsecond=0)

    def pending(self, day: date) -> bool:
        return day <= self.through and (day - self.at.date()).days not in self.done


@dataclass(frozen=True)
class State:
    """A connection's brakes as they were read."""

    connection_id: str
    paused: bool = False
    sender_paused: bool = False
    off: bool = False
    held: Mapping[str, str] = field(default_factory=dict)
    """Kind (or `all`) to the rule that holds it."""
    released: Mapping[str, datetime] = field(default_factory=dict)
    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    """By department name, or `all`."""
    locations: frozenset[str] = frozenset()
    """Fingerprints of the Cerner locations that were there: another one begins a baseline of its department."""
    etag: str | None = None
    counts: Row | None = None
    epoch: Row | None = None

    def stopped(self, kind: str) -> str:
        """The rule that keeps messages of this kind from being sent; empty when nothing does."""
        if self.off:
            return "off"
        if self.paused:
            return "paused"
        if self.sender_paused:
            return "sender_paused"
        return self.held.get(ALL) or self.held.get(kind, "")

    @property
    def all_stopped(self) -> str:
        """The rule that stops every kind; empty when some may be sent."""
        return self.stopped(ALL)

    def silent(self, day: date, department: str, updated: datetime | None = None) -> bool:
        """Whether a visit that is new to us was there before the baseline: remembered as told, reminders only.

        `day` is the scan window's; `updated` is the EHR's last change, which proves it for windows scanned before.
        """
        for name in (ALL, department):
            baseline = self.baselines.get(name)
            if baseline and (baseline.pending(day) or (updated is not None and updated < baseline.second)):
                return True
        return False

    def pending(self, day: date) -> bool:
        """Whether the first complete scan of this window is still to come."""
        return any(baseline.pending(day) for baseline in self.baselines.values())


def read(scope: TenantScope, connection: Connection, now: datetime, *, scanning: bool = False) -> State:
    """The brakes of a connection, begun or adjusted when its configuration or its storage changed: then also written.

    `scanning`: `connection` was read just now, so that its locations, or that it is on again, may begin a baseline.
    Two storage operations, and every ten minutes a third: the proof that sending went on. Raises TransientError when
    they cannot be read: then nothing may be sent.
    """
    state = peek(scope, connection)
    if _settle(state, connection, now, scanning) is not state:
        state = change(scope, connection, now, lambda present: _settle(present, connection, now, scanning))
    seen = state.epoch.number("number") if state.epoch else 0
    known = 0 if state.held.get(ALL) == "held_restored" else _epochs.get(connection.id, 0)
    _epochs[connection.id] = max(seen, known)
    at = _time(state.epoch, "at")
    if at is not None and not timedelta() <= now - at < BEAT:
        _stamp(scope, state, now)
    return state


def baselined(scope: TenantScope, connection: Connection, day: date, now: datetime) -> None:
    """A complete scan of this day remembered everything: what is new from now on is told. Call it when pending."""

    def edit(state: State) -> State:
        done = {
            name: replace(b, done=b.done | {(day - b.at.date()).days}) if b.pending(day) else b
            for name, b in state.baselines.items()
        }
        return replace(state, baselines=done)

    change(scope, connection, now, edit)


def note_off(scope: TenantScope, connection: Connection, now: datetime) -> None:
    """Messages are switched off, also for workers that do not know the new configuration yet; the first scan after
    switching them on again begins a new baseline."""
    state = peek(scope, connection)
    if state.etag and not state.off:
        change(scope, connection, now, lambda present: replace(present, off=True), settle=False)


def change(
    scope: TenantScope, connection: Connection, now: datetime, edit: Callable[[State], State], *, settle: bool = True
) -> State:
    """Read, edit and write `b.brake` until nobody was faster. Raises TransientError when somebody always is."""
    for _ in range(_ATTEMPTS):
        present = peek(scope, connection)
        wanted = edit(_settle(present, connection, now) if settle else present)
        if wanted == present and present.etag:
            return present
        row = _row(wanted)
        try:
            written = scope.tables.update(TABLE, row) if row.etag else scope.tables.insert(TABLE, row)
        except (RowChanged, RowExists):
            continue
        _tell(scope, present, wanted)
        resumed = present.held.get(ALL) == "held_restored" and ALL not in wanted.held
        if present.etag is None or (present.off and not wanted.off) or resumed:
            _stamp(scope, present, now)
        return replace(wanted, etag=written.etag)
    raise TransientError("messages.brake_contended")


def _tell(scope: TenantScope, before: State, after: State) -> None:
    """The operator's log and the tenant's history know of what falls by itself."""
    connection_id, old = after.connection_id, {(name, b.at) for name, b in before.baselines.items()}
    for name, baseline in after.baselines.items():
        if (name, baseline.at) not in old:
            logs.event("messages.baseline_begun", connection=connection_id)
            _record(scope, "messages.baseline_begun", connection_id, BrakeChange(department=name))
    for kind, rule in after.held.items():
        if kind not in before.held:
            logs.event("messages.held", connection=connection_id, kind=kind, rule=rule)
            _record(scope, "messages.held", connection_id, BrakeChange(kind=kind, rule=rule))


def _record(scope: TenantScope, action: str, target: str, what: BrakeChange) -> None:
    """A brake holds, whether or not that can be written down."""
    try:
        record(scope, ITSELF, action, target, after=what)
    except ConnectorError as error:
        logs.failure("messages.not_audited", error, connection=target)


def _stamp(scope: TenantScope, state: State, now: datetime) -> None:
    stored = state.epoch.number("number") if state.epoch else 0
    number = max(stored, _epochs.get(state.connection_id, 0)) + 1
    row = Row(
        state.connection_id, EPOCH, {"number": number, "at": now.isoformat()}, state.epoch.etag if state.epoch else None
    )
    try:
        scope.tables.update(TABLE, row) if row.etag else scope.tables.insert(TABLE, row)
    except (RowChanged, RowExists):
        return  # another process did
    _epochs[state.connection_id] = number


def _settle(state: State, connection: Connection, now: datetime, scanning: bool = False) -> State:
    """What the configuration and the epoch demand; the very same object when that is nothing."""
    locations = {name: _fingerprint(name) for name in connection.location_ids}
    known = frozenset(locations.values())
    baseline = Baseline(now, now.astimezone(UTC).date() + _horizon())
    if state.etag is None or (state.off and scanning):
        return replace(state, off=False, locations=known, baselines={ALL: baseline})
    if _restored(state, now):
        held = {**state.held, ALL: "held_restored"}
        return replace(state, held=held, locations=known, baselines={ALL: baseline})
    if known == state.locations or not scanning:
        return state
    new = [d.name for d in connection.departments if {locations[one] for one in d.location_ids} - state.locations]
    return replace(state, locations=known, baselines={**state.baselines, **dict.fromkeys(new, baseline)})


def as_restored(row: Row) -> Row:
    """A row of a backup as it is put back: whoever reads it knows that the storage is not what it was, and holds."""
    if row.key != EPOCH:
        return row
    return Row(row.partition, row.key, {**row.values, "at": datetime(1970, 1, 1, tzinfo=UTC).isoformat()})


def _restored(state: State, now: datetime) -> bool:
    """A number lower than this process saw; or, for a process that saw none, a gap: an outage looks the same, and a
    look at it is due as well."""
    if state.held.get(ALL) == "held_restored":
        return False
    seen, at = _epochs.get(state.connection_id), _time(state.epoch, "at")
    if seen is None:
        return at is not None and now - at > GAP
    return seen > 0 and (state.epoch is None or state.epoch.number("number") < seen)


def peek(scope: TenantScope, connection: Connection) -> State:
    """The brakes as they are stored, for a page: nothing is begun or adjusted."""
    rows = {row.key: row for row in scope.tables.query(TABLE, connection.id, start="b.", end="b/")}
    by = scope.tables.get(TABLE, scope.tenant_id, f"b.sender.{connection.sender_id}") if connection.sender_id else None
    rest = State(
        connection.id,
        sender_paused=bool(by and by.values.get("paused")),
        counts=rows.get(COUNTS),
        epoch=rows.get(EPOCH),
    )
    row = rows.get(BRAKE)
    if row is None:
        return rest
    kept = json.loads(row.text("state"))
    return replace(
        rest,
        paused=row.values.get("paused") is True,
        off=row.values.get("off") is True,
        held=kept["held"],
        released={kind: datetime.fromisoformat(until) for kind, until in kept["released"].items()},
        baselines={
            name: Baseline(datetime.fromisoformat(at), date.fromisoformat(through), frozenset(done))
            for name, (at, through, done) in kept["baselines"].items()
        },
        locations=frozenset(kept["locations"]),
        etag=row.etag,
    )


def _row(state: State) -> Row:
    kept = {
        "held": dict(state.held),
        "released": {kind: until.isoformat() for kind, until in state.released.items()},
        "baselines": {
            name: [b.at.isoformat(), b.through.isoformat(), sorted(b.done)] for name, b in state.baselines.items()
        },
        "locations": sorted(state.locations),
    }
    values: dict[str, Value] = {
        "paused": state.paused,
        "off": state.off,
        "state": json.dumps(kept, separators=(",", ":")),
    }
    return Row(state.connection_id, BRAKE, values, state.etag)


def _horizon() -> timedelta:
    from connector.messages.discover import DAYS  # which imports this module

    return timedelta(days=DAYS - 1)


def _fingerprint(location: str) -> str:
    return hashlib.sha256(location.encode()).hexdigest()[:8]


def _time(row: Row | None, name: str) -> datetime | None:
    return datetime.fromisoformat(row.text(name)) if row else None
