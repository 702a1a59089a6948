"""Finds the video visits of a connection's departments, what became of them, and plans what must be told.

The EHR cannot be asked for video visits, for changes, or by appointment type (Cerner FHIR R4, Appointment search), so
windows of time over all locations are scanned: NEAR, the next six hours, in every run of the timer, five minutes
apart; today and tomorrow hourly; the six days after them every six hours.

FHIR calls an hour = (12 of near + 2 of today and tomorrow + 6/6 of the six days) x pages of 50 appointments, at least
one for 50 locations: 15 for a small hospital. With 40 departments (80 locations,
2 searches a window) and 20,000 appointments a day, 400 pages, of which 2,000 are video visits:
near 12 x 100 pages on average (240 in the busiest six hours) = 1,200 (2,880), two days 700, far 6 x 400 / 6 = 400:
2,300 calls an hour on average, 4,000 in the busiest, one at a time. A second look at what is cancelled or missing
costs a call for 50 of them, and one for each cancelled visit (is there a new one in its place?), at most 50 a run.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from typing import TYPE_CHECKING

from connector import clock, ehr, keys, logs
from connector.errors import TransientError
from connector.messages import brakes, register, volume
from connector.messages.decide import class_of
from connector.messages.lease import Lease
from connector.messages.plan import Planner
from connector.messages.register import Visit
from connector.tenants import Connection, TenantScope, recent_connections

if TYPE_CHECKING:
    from connector.adapters.cerner import FhirReader

DAYS = 8
"""Today and the next seven, in UTC."""
NEAR = timedelta(hours=6)
HOURLY_DAYS = 2
FAR_EVERY = timedelta(hours=6)
SMALLEST = timedelta(minutes=15)
OUTAGE = 16
"""So many refused searches in a row are no unreadable record but an EHR that is down."""
RUN_S = 240
"""No window is begun later in a run; what is left is due in the next."""
LOOKUPS = 50


@dataclass(frozen=True)
class Window:
    name: str
    start: datetime
    end: datetime


def sendable(scope: TenantScope) -> Iterator[Connection]:
    """The connections of a tenant whose patients are to get messages."""
    for connection in recent_connections(scope).values():
        if connection.may_send:
            yield connection


def request_scans(scope: TenantScope, now: datetime) -> int:
    """Ask for a run over each connection; the number of hints put on the region's queue."""
    count = 0
    for connection in sendable(scope):
        scope.queues.send(f"discover-{scope.region}", {"tenant": scope.tenant_id, "connection": connection.id})
        count += 1
    return count


def due_windows(scans: Mapping[str, datetime], now: datetime, pending: Callable[[date], bool]) -> list[Window]:
    """What must be scanned now, the nearest first; `scans`: when each window was last scanned completely.

    A day that a silent baseline still waits for is scanned from now on, and at once.
    """
    now = now.replace(microsecond=0)
    windows = [Window("near", now, now + NEAR)]
    for offset in range(DAYS):
        day = now.astimezone(UTC).date() + timedelta(days=offset)
        midnight = datetime.combine(day, clock_time(), UTC)
        start = max(midnight, now if pending(day) else now + NEAR)
        every = timedelta(hours=1) if offset < HOURLY_DAYS else FAR_EVERY
        last = scans.get(day.isoformat())
        fresh = last is not None and timedelta() <= now - last < every and not pending(day)
        if start < midnight + timedelta(days=1) and not fresh:
            windows.append(Window(day.isoformat(), start, midnight + timedelta(days=1)))
    return windows


def run(
    scope: TenantScope, connection: Connection, reader: FhirReader, sealer: keys.Sealer, now: datetime
) -> Counter[str]:
    """Scan what is due, unless another worker does; counts of what was done.

    Raises ConnectorError when the EHR cannot be read; what was scanned until then counts.
    """
    if not connection.location_ids:
        return Counter()
    lease = Lease.acquire(scope, connection.id)
    if lease is None:
        return Counter(busy=1)
    try:
        return _Run(scope, connection, reader, sealer, now, lease).all()
    finally:
        lease.release()


@dataclass
class _Reading:
    """The appointments of a window, and the parts of it that could not be read."""

    items: list[ehr.Appointment] = field(default_factory=list)
    unread: int = 0
    refused: int = 0
    """Refused searches in a row."""


class _Run:
    def __init__(self, scope: TenantScope, connection: Connection, reader: FhirReader, sealer: keys.Sealer,
                 now: datetime, lease: Lease) -> None:  # fmt: skip
        self._scope, self._connection, self._reader, self._sealer = scope, connection, reader, sealer
        self._lease = lease
        self._now = now
        self._brakes = brakes.read(scope, connection, now, scanning=True)
        self._first_scan = False
        self._planner = Planner(
            scope, connection, sealer, now, self._silent, self._baseline,
            {key: row.text("likeness") for key, row in register.waiting(scope, connection.id).items()}, self._admit,
        )  # fmt: skip
        self.counts: Counter[str] = Counter()

    def all(self) -> Counter[str]:
        begun = time.monotonic()
        if self._planner.waits:
            self._look_again()
        for window in due_windows(self._lease.scans, self._now, self._brakes.pending):
            if time.monotonic() - begun > RUN_S:
                self.counts["left_for_next"] += 1
                continue
            self._lease.renew()
            self._first_scan = window.name != "near" and window.name not in self._lease.scans
            complete, found = self._scan(window)
            self._lease.scanned(window.name, self._now if complete else None, found)
            day = None if window.name == "near" else date.fromisoformat(window.name)
            if complete and day and self._brakes.pending(day):
                brakes.baselined(self._scope, self._connection, day, self._now)
        return self.counts

    def _scan(self, window: Window) -> tuple[bool, int]:
        """Whether it was read completely, and how many appointments it has."""
        reading = _Reading()
        self._read(self._connection.location_ids, window.start, window.end, reading)
        known = register.visits(self._scope, self._connection.id, (window.start, window.end))
        known |= self._unknown(reading.items, known)
        vanished: list[Visit] = []
        if not reading.unread:
            found = {self._planner.key(item.id) for item in reading.items}
            missing = [v for v in known.values() if v.key not in found and v.state == "live"
                       and window.start <= v.start < window.end]  # fmt: skip
            more, vanished = self._by_id(missing)
            reading.items += more
        self.counts += self._planner.plan(reading.items, known, vanished)
        if reading.unread:
            logs.event("messages.scan_incomplete", connection=self._connection.id, window=window.name,
                       unread=reading.unread)  # fmt: skip
            self.counts["unread"] += reading.unread
        return not reading.unread, len(reading.items)

    def _unknown(self, items: Sequence[ehr.Appointment], known: Mapping[str, Visit]) -> dict[str, Visit]:
        """What is remembered of the video visits that were not in this window: they moved here, or are new."""
        codes = self._connection.video_codes
        found = [self._planner.key(item.id) for item in items if class_of(item, codes) == "live"]
        return register.visits_of(self._scope, self._connection.id, [key for key in found if key not in known])

    def _read(self, locations: Sequence[str], start: datetime, end: datetime, into: _Reading) -> None:
        """One search; where the EHR answers 5xx again and again, or has more pages than are read, two of half its time,
        then of half its locations."""
        try:
            found = self._reader.search_appointments(location_ids=locations, start=start, end=end)
        except TransientError as error:
            if error.vendor_status is None or error.vendor_status < 500:
                raise
            into.refused += 1
            if into.refused >= OUTAGE:
                raise
        else:
            into.refused = 0
            into.items += found.items
            if found.complete or found.unreadable:
                into.unread += found.unreadable
                return
        self._lease.renew()
        middle = start + (end - start) / 2
        if middle - start >= SMALLEST:
            self._read(locations, start, middle.replace(microsecond=0), into)
            self._read(locations, middle.replace(microsecond=0), end, into)
        elif len(locations) > 1:
            half = len(locations) // 2
            self._read(locations[:half], start, end, into)
            self._read(locations[half:], start, end, into)
        else:
            into.unread += 1

    def _by_id(self, visits: Sequence[Visit]) -> tuple[list[ehr.Appointment], list[Visit]]:
        """The appointments of visits, and the visits that are not there any more, or in none of our departments."""
        ids = {found: v for v in visits if (found := opened(self._scope, self._sealer, v.key, v.ref))}
        if not ids:
            return [], []
        answer = self._reader.appointments_by_id(sorted(ids))
        present = [a for a in answer.items if self._connection.department_of(a.location_ids)]
        here = {a.id for a in present}
        return present, [v for found, v in ids.items() if found not in here] if answer.complete else []

    def _look_again(self) -> None:
        """At what was cancelled or missing in an earlier run, and at what may have taken its place."""
        waits = list(self._planner.waits)
        known = register.visits_of(self._scope, self._connection.id, waits)
        gone = [key for key in waits if key not in known]
        register.forget_waits(self._scope, self._connection.id, gone)
        for key in gone:
            del self._planner.waits[key]
        present, vanished = self._by_id([v for v in known.values() if v.state != "lost"])
        codes, until = self._connection.video_codes, self._now + timedelta(days=DAYS)
        called_off = [a for a in present if a.status == "cancelled" and len(a.patient_ids) == 1]
        for cancelled in called_off if len(called_off) <= LOOKUPS else []:
            others = self._reader.search_appointments(patient_id=cancelled.patient_ids[0], start=self._now, end=until)
            present += [a for a in others.items if a.is_video(codes) and a.id not in {p.id for p in present}]
        known |= self._unknown(present, known)
        self.counts += self._planner.plan(present, known, vanished)

    def _silent(self, start: datetime, department: str) -> bool:
        return self._brakes.silent(start.astimezone(UTC).date(), department)

    def _baseline(self, department: str) -> datetime | None:
        begun = [self._brakes.baselines[name].at for name in (brakes.ALL, department) if name in self._brakes.baselines]
        return max(begun, default=None)

    def _admit(self, planned: Counter[str], cancelled: int, visits: int) -> None:
        """All visits of a day are new when it is scanned for the first time: that alone is nothing abnormal."""
        volume.admit(
            self._scope, self._connection, planned, clock.now(),
            visits_a_day=visits * (volume.BUSY_HOURS if self._first_scan else 1),
            cancelled=cancelled, day_visits=visits,
        )  # fmt: skip


def opened(scope: TenantScope, sealer: keys.Sealer, visit: str, ref: str) -> str | None:
    """The appointment id that a reference seals; None when it cannot be opened any more."""
    try:
        return sealer.open(keys.decode(ref), region=scope.region, purpose="ref", context=visit).decode()
    except keys.NotOpened:
        return None
