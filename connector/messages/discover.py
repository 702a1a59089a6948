"""Finds the video visits of a connection's departments, what became of them, and plans what must be told.

The EHR cannot be asked for video visits, for changes, or by appointment type (Cerner FHIR R4, Appointment search), so
windows of time over all locations are scanned: `near`, the next six hours, in every run of the timer, five minutes
apart; today and tomorrow hourly; the six days after them every six hours.

FHIR calls an hour = (12 of near + 2 of today and tomorrow + 6/6 of the six days) x pages of 50 appointments, at least
one for 50 locations: 15 for a small hospital. With 40 departments (80 locations,
2 searches a window) and 20,000 appointments a day, 400 pages, of which 2,000 are video visits:
near 12 x 100 pages on average (240 in the busiest six hours) = 1,200 (2,880), two days 700, far 6 x 400 / 6 = 400:
2,300 calls an hour on average, 4,000 in the busiest, one at a time. A second look at what is cancelled or missing
costs a call for 50 of them, and one for each cancelled visit (is there a new one in its place?), at most 50 a run.
A large window is read and planned in parts of some 20 pages, which adds a page or two for each; what a run has no time
for goes on in the next one.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from typing import TYPE_CHECKING

from connector import clock, ehr, keys, logs
from connector.errors import TransientError
from connector.messages import brakes, register, volume
from connector.messages.decide import class_of
from connector.messages.lease import NEAR, Counts, Lease, Scan
from connector.messages.plan import Planner
from connector.messages.register import Visit
from connector.tenants import TIMER_S, Connection, TenantScope, recent_connections

if TYPE_CHECKING:
    from connector.adapters.cerner import FhirReader

DAYS = 8
"""Today and the next seven, in UTC."""
NEAR_SPAN = timedelta(hours=6)
HOURLY_DAYS = 2
FAR_EVERY = timedelta(hours=6)
AGAIN = timedelta(minutes=30)
"""A day of which parts could not be read is tried again after this."""
SMALLEST = timedelta(minutes=15)
PART = 1_000
"""Appointments of one part of a window: 20 pages are read and planned well within the lease."""
UNKNOWN = 8 * PART
"""Appointments of a day as long as none was counted."""
OUTAGE = 16
"""So many refused searches in a row are no unreadable record but an EHR that is down."""
RUN_S = 180
"""Nothing is asked of the EHR later in a run; what is left goes on in the next. The host ends a run after five minutes,
and with it whatever else its worker does."""
LOOKUPS = 50


@dataclass(frozen=True)
class Window:
    name: str
    start: datetime
    end: datetime


def sendable(scope: TenantScope) -> Iterator[Connection]:
    """The connections of a tenant whose patients are to get messages."""
    for connection in recent_connections(scope, TIMER_S).values():
        if connection.may_send:
            yield connection


def request_scans(scope: TenantScope, now: datetime) -> int:
    """Ask for a run over each connection; the number of hints put on the region's queue."""
    count = 0
    for connection in sendable(scope):
        scope.queues.send(f"discover-{scope.region}", {"tenant": scope.tenant_id, "connection": connection.id})
        count += 1
    return count


def due_windows(scans: Mapping[str, Scan], now: datetime, pending: Callable[[date], bool]) -> list[Window]:
    """What must be scanned now, the nearest first.

    A day that a silent baseline still waits for is scanned from now on, and at once.
    """
    now = now.replace(microsecond=0)
    windows = [Window(NEAR, now, now + NEAR_SPAN)]
    for offset in range(DAYS):
        day = now.astimezone(UTC).date() + timedelta(days=offset)
        midnight = datetime.combine(day, clock_time(), UTC)
        start = max(midnight, now if pending(day) else now + NEAR_SPAN)
        scan = scans.get(day.isoformat(), Scan())
        fresh = _within(scan.completed, _every(offset), now) and not pending(day)
        failed = scan.tried is not None and (scan.completed is None or scan.tried > scan.completed)
        rests = fresh or (failed and _within(scan.tried, AGAIN, now))
        if start < midnight + timedelta(days=1) and (scan.reached or not rests):
            windows.append(Window(day.isoformat(), start, midnight + timedelta(days=1)))
    return windows


def overdue(scans: Mapping[str, Scan], since: datetime, now: datetime) -> timedelta:
    """By how much the window that waits longest is over its turn; `since`: when messages were switched on."""
    today = now.astimezone(UTC).date()
    waits = [now - (scans.get(NEAR, Scan()).completed or since) - timedelta(minutes=5)]
    for offset in range(DAYS):
        day = today + timedelta(days=offset)
        known = max(since, datetime.combine(day, clock_time(), UTC) - timedelta(days=DAYS - 1))
        if now + NEAR_SPAN < datetime.combine(day, clock_time(), UTC) + timedelta(days=1):
            waits.append(now - (scans.get(day.isoformat(), Scan()).completed or known) - _every(offset))
    return max(timedelta(), *waits)


def _every(offset: int) -> timedelta:
    return timedelta(hours=1) if offset < HOURLY_DAYS else FAR_EVERY


def _within(moment: datetime | None, span: timedelta, now: datetime) -> bool:
    return moment is not None and timedelta() <= now - moment < span


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
        self._begun = time.monotonic()
        self._brakes = brakes.read(scope, connection, now, scanning=True)
        self._first_scan = False
        self._visits = 0
        self._planner = Planner(
            scope, connection, sealer, now, self._silent, self._baseline,
            {key: row.text("likeness") for key, row in register.waiting(scope, connection.id).items()}, self._admit,
        )  # fmt: skip
        self.counts: Counter[str] = Counter()

    def all(self) -> Counter[str]:
        if self._planner.waits:
            self._look_again()
        for window in due_windows(self._lease.scans, self._now, self._brakes.pending):
            self._window(window)
        return self.counts

    @property
    def _late(self) -> bool:
        return time.monotonic() - self._begun > RUN_S

    def _window(self, window: Window) -> None:
        """Read and plan it part by part, from where an earlier run got to."""
        scans, day = self._lease.scans, None if window.name == NEAR else date.fromisoformat(window.name)
        scan = scans.get(window.name, Scan())
        if not self._goes_on(window, scan):
            scan = replace(scan, tried=self._now, reached=None, so_far=Counts())
        self._first_scan = day is not None and scan.completed is None
        for start, end in self._parts(window, scan):
            if self._late:
                self.counts["left_for_next"] += 1
                scans[window.name] = replace(scan, reached=start)
                return
            self._lease.renew()
            self._visits, before = scan.so_far.visits, scan.so_far
            found, unread = self._scan(start, end)
            scan = replace(scan, so_far=before.plus(found, self._visits - before.visits, unread))
        appointments, visits, unread = scan.so_far
        if unread:
            logs.event("messages.scan_incomplete", connection=self._connection.id, window=window.name, unread=unread)
            self.counts["unread"] += unread
            scans[window.name] = replace(scan, reached=None)
            return
        scans[window.name] = Scan(self._now, scan.tried, None, appointments, visits)
        if day and self._brakes.pending(day):
            brakes.baselined(self._scope, self._connection, day, self._now)

    def _goes_on(self, window: Window, scan: Scan) -> bool:
        """Not when a silent baseline began meanwhile: it must see the whole day."""
        if scan.reached is None or scan.tried is None or not window.start < scan.reached < window.end:
            return False
        return all(baseline.at <= scan.tried for baseline in self._brakes.baselines.values())

    def _parts(self, window: Window, scan: Scan) -> list[tuple[datetime, datetime]]:
        length, reached = window.end - window.start, scan.reached or window.start
        days = [one.appointments for name, one in self._lease.scans.items() if name != NEAR and one.completed]
        usual = max(days, default=UNKNOWN) * (length / timedelta(days=1))
        expected = scan.appointments if scan.completed else usual
        count = max(1, min(math.ceil(expected / PART), length // SMALLEST))
        edges = [(window.start + length * n / count).replace(microsecond=0) for n in range(count)]
        parts = zip(edges, [*edges[1:], window.end], strict=True)
        return [(max(start, reached), end) for start, end in parts if end > reached]

    def _scan(self, start: datetime, end: datetime) -> tuple[int, int]:
        """How many appointments a part of a window has, and how much of it could not be read."""
        reading = _Reading()
        self._read(self._connection.location_ids, start, end, reading)
        known = register.visits(self._scope, self._connection.id, (start, end))
        known |= self._unknown(reading.items, known)
        vanished: list[Visit] = []
        if not reading.unread:
            found = {self._planner.key(item.id) for item in reading.items}
            missing = [v for v in known.values() if v.key not in found and v.state == "live" and start <= v.start < end]
            more, vanished = self._by_id(missing)
            reading.items += more
        self.counts += self._planner.plan(reading.items, known, vanished)
        return len(reading.items), reading.unread

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
        if self._late:
            into.unread += 1
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
            if self._late:
                break
            others = self._reader.search_appointments(patient_id=cancelled.patient_ids[0], start=self._now, end=until)
            present += [a for a in others.items if a.is_video(codes) and a.id not in {p.id for p in present}]
        known |= self._unknown(present, known)
        self.counts += self._planner.plan(present, known, vanished)

    def _silent(self, start: datetime, department: str, updated: datetime | None) -> bool:
        return self._brakes.silent(start.astimezone(UTC).date(), department, updated)

    def _baseline(self, department: str) -> datetime | None:
        begun = [self._brakes.baselines[name].at for name in (brakes.ALL, department) if name in self._brakes.baselines]
        return max(begun, default=None)

    def _admit(self, planned: Counter[str], visits: int) -> None:
        """All visits of a day are new when it is scanned for the first time: that alone is nothing abnormal."""
        self._visits += visits
        usual = max((scan.visits for name, scan in self._lease.scans.items() if name != NEAR), default=0)
        volume.admit(
            self._scope, self._connection, planned, clock.now(),
            visits_a_day=max(usual, self._visits), first_scan=self._first_scan,
        )  # fmt: skip


def opened(scope: TenantScope, sealer: keys.Sealer, visit: str, ref: str) -> str | None:
    """The appointment id that a reference seals; None when it cannot be opened any more."""
    try:
        return sealer.open(keys.decode(ref), region=scope.region, purpose="ref", context=visit).decode()
    except keys.NotOpened:
        return None
