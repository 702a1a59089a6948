"""Many messages through the real host while workers die, vendors fail and storage restarts; then the verdict.

The clock is moved a minute at a time, as fast as timers and workers follow; leases (75 s) run in real time. What is
judged is what lies in the ledger and what arrived on the patients' phones, nothing that the app says of itself.
"""

from __future__ import annotations

import os
import random
import re
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from connector import keys, tenants
from connector.adapters.tables import Row
from connector.errors import ConnectorError
from connector.messages import brakes, ledger
from sandbox.cerner.bulk import book_many
from sandbox.supervisor import Sandbox
from tests.running import Live

HOSPITAL = "nordlys"
MINUTE = timedelta(minutes=1)
OVERDUE = timedelta(seconds=60)
"""Real age of a claim whose worker can no longer be sending: it begins no attempt after 45 s."""
_LINK = re.compile(r"/j/(\S+)")


@dataclass(frozen=True)
class Plan:
    """What is to happen; the same seed means the same moments, counted in requests to the vendors."""

    count: int
    kills: int = 0
    fault_rate: float = 0.0
    restart_storage: bool = False
    slow_worker: bool = False
    repeatability_off: bool = False
    seed: int = 1
    workers: int = 3
    latency_s: float = 0.0
    within_s: float = 240.0


@dataclass
class Verdict:
    """What was found afterwards."""

    count: int
    sent: int = 0
    duplicates: int = 0
    lost: int = 0
    uncertain: int = 0
    unexplained: int = 0
    """Uncertain messages without a fault of their own."""
    kills: int = 0
    faults: int = 0
    in_flight: int = 0
    """Messages in claims that lost their worker."""
    rules: Counter[str] = field(default_factory=Counter)
    """Why messages were not sent."""
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        return (
            f"sent={self.sent} duplicates={self.duplicates} lost={self.lost} uncertain={self.uncertain} "
            f"kills={self.kills} faults={self.faults}"
        )


@contextmanager
def running(folder: Path, workers: int) -> Iterator[Live]:
    """A sandbox with several workers and an empty schedule."""
    made = Sandbox(folder, workers=workers)
    made.app_environment_overrides["SANDBOX_QUEUE_LEASE_S"] = "10"
    with made as sandbox:
        live = Live(sandbox)
        live.world.brings_events = False  # receipts have a cost of their own
        for kept in live.world.resources.values():
            for kind, identity in list(kept):
                if kind == "Appointment":
                    del kept[kind, identity]
        live.world.sms_per_minute = dict.fromkeys(live.world.sms_per_minute, 1_000_000)  # a minute lasts a second here
        yield live


class Run:
    """One plan carried out in a running sandbox."""

    def __init__(self, live: Live, plan: Plan) -> None:
        self.live, self.plan, self.world = live, plan, live.world
        self.scope, self.connection = live.scope(HOSPITAL), live.connection_id(HOSPITAL)
        self.booked: list[str] = []
        self.kills: list[datetime] = []
        self.claims: dict[str, tuple[datetime, int]] = {}
        """When each claim seen was made, in real time, and how many messages were left in it."""
        self._dice = random.Random(plan.seed)  # noqa: S311 - repeatable, no secret
        self.looks = 0
        """Storage operations of the harness itself while it waits."""
        self._slow: int | None = None
        self._pause = threading.Event()
        self._events: list[tuple[int, Callable[[], None]]] = []
        self._stopped_storage: list[datetime] = []

    # what happens

    def wake(self) -> None:
        """No quiet hours, and the silent baseline of the first activation over."""
        token, path = self.live.token(HOSPITAL), f"/connections/{self.connection}"
        etag = self.live.api("GET", path, token=token).headers["ETag"]
        loud = {"messages": {"quiet_from": "00:00", "quiet_until": "00:00", "reminders": False}}
        self.live.api("PATCH", path, loud, token=token, etag=etag).raise_for_status()
        self._until(self._baselined, step=timedelta(minutes=5), every_s=2)

    def _baselined(self) -> bool:
        state = brakes.peek(self.scope, tenants.connection(self.scope, self.connection).value)
        days = [self.world.now().date() + timedelta(days=n) for n in range(8)]
        return bool(state.baselines) and not any(state.pending(day) for day in days)

    def book(self, location_ids: list[str] | None = None) -> None:
        """The visits of one day, far enough ahead that the moved clock does not reach them."""
        day = (self.world.now() + timedelta(days=6)).replace(hour=0, minute=0, second=0, microsecond=0)
        every = timedelta(hours=23) / self.plan.count
        self.booked = book_many(
            self.world, HOSPITAL, self.plan.count, start=day, every=every, location_ids=location_ids or ()
        )

    def discover(self) -> None:
        """Returns when every visit has a message."""
        step = timedelta(minutes=20)  # far days are scanned every few hours; a longer leap would look like an outage
        self._until(self._planned, step=step, every_s=2, look_s=0.5 + self.plan.count / 2000)
        path = f"/connections/{self.connection}/messages/release"  # an admin expects so many: the breaker holds them
        token = self.live.token(HOSPITAL)
        self.live.api("POST", path, {"kind": "confirmation"}, token=token).raise_for_status()

    def send(self) -> None:
        """Returns when nothing is due and nothing is claimed any more."""
        self._until(self.settled, step=MINUTE, every_s=1)

    def carry_out(self) -> Verdict:
        plan, world = self.plan, self.world
        world.repeatability_off = plan.repeatability_off
        world.latency_s = dict.fromkeys(("acs", "cerner"), plan.latency_s)
        world.fault_rates = dict.fromkeys(("acs", "cerner"), plan.fault_rate)
        world.patience_s = 0.5
        self.wake()
        self.book()
        early = min(1, plan.kills // 10)  # the lease of a killed scan lasts five real minutes: not in the short run
        self._events = [(self._requests() + 10, self._kill)] * early
        self.discover()
        self._events = self._script(plan.kills - early)
        self.send()
        if self._slow is not None:
            os.kill(self._slow, signal.SIGCONT)  # finds that its claims are somebody else's now
            self._slow = None
        self.live.sandbox.stop_app()
        world.fault_rates = {}
        return self.judge()

    def _script(self, kills: int) -> list[tuple[int, Callable[[], None]]]:
        """Moments, counted in requests from now, and what happens then."""
        plan, now = self.plan, self._requests()
        script: list[tuple[int, Callable[[], None]]] = [
            (now + at, self._kill) for at in self._dice.sample(range(5, plan.count), kills)
        ]
        if plan.restart_storage:
            script.append((now + plan.count // 2, self._restart_storage))
        if plan.slow_worker:
            script.append((now + plan.count * 7 // 10, self._stop_a_worker))
        return sorted(script, key=lambda one: one[0])

    def _kill(self) -> None:
        self._pause.wait(self._dice.random() * 0.05)
        victims = [pid for pid in self.live.sandbox.worker_pids if pid != self._slow]
        os.kill(self._dice.choice(victims), signal.SIGKILL)
        self.kills.append(datetime.now(UTC))

    def _restart_storage(self) -> None:
        self._stopped_storage.append(datetime.now(UTC))
        self.live.sandbox.restart_azurite()

    def _stop_a_worker(self) -> None:
        """Not the one that runs the timers: in Azure its lease would go to another instance, here it would not."""
        self._slow = next(pid for pid in self.live.sandbox.worker_pids if pid != self._leader())
        os.kill(self._slow, signal.SIGSTOP)

    def _leader(self) -> int:
        lock = Path(self.live.sandbox.environment["SANDBOX_HOST_DIR"]) / "timers.lock"
        inode = f":{lock.stat().st_ino}"
        held = (line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines())
        return next(int(parts[4]) for parts in held if parts[1] != "->" and parts[5].endswith(inode))

    def _until(self, done: Callable[[], bool], *, step: timedelta, every_s: float, look_s: float = 0.5) -> None:
        """Move the clock by `step` every `every_s` seconds, and do what the script says, until `done`."""
        deadline, moved, looked = time.monotonic() + self.plan.within_s, 0.0, 0.0
        while True:
            while self._events and self._requests() >= self._events[0][0]:
                self._events.pop(0)[1]()
            now = time.monotonic()
            if now - looked >= look_s:
                with suppress(ConnectorError):  # storage is restarting
                    if done() and not self._events:
                        return
                looked = time.monotonic()
            if now - moved >= every_s:
                self.world.advance(step)
                moved = now
            assert now < deadline, f"not done in time: {self._summary()}"
            self._pause.wait(0.02)

    def _requests(self) -> int:
        with self.world.lock:
            return sum(n for (vendor, _), n in self.world.requests.items() if vendor in ("acs", "cerner"))

    def _planned(self) -> bool:
        found = len(self.rows("v"))  # written together with their messages
        self.looks += 1 + found // 1000
        return found >= self.plan.count

    def settled(self) -> bool:
        now, overdue = datetime.now(UTC), f"d.{ledger.stamp(self.world.now())}/"
        claims = [ledger.Claim.of(row) for row in self.rows("k")]
        for claim in claims:
            if now - claim.at > OVERDUE:
                self.claims.setdefault(claim.id, (claim.at, len(claim.items)))
        due = self.scope.tables.query(ledger.TABLE, self.connection, start="d.", end=overdue, limit=1)
        self.looks += 2
        return not claims and not list(due)

    def rows(self, kind: str) -> list[Row]:
        return list(self.scope.tables.query(ledger.TABLE, self.connection, start=f"{kind}.", end=f"{kind}/"))

    def _summary(self) -> str:
        states = Counter(row.text("state") for row in self.rows("m"))
        return f"{dict(states)}, {len(self.rows('d'))} due or planned, {len(self.rows('k'))} claims, {self._events}"

    # the verdict

    def judge(self) -> Verdict:
        found = Verdict(self.plan.count, kills=len(self.kills), faults=len(self.world.suffered))
        found.in_flight = sum(count for _, count in self.claims.values())
        texts = Counter((message.to, message.text) for message in self.world.outbox)
        found.duplicates = sum(times - 1 for times in texts.values())
        arrived = {message.id for message in self.world.outbox}
        due = {row.key.split(".", 2)[2]: row.key for row in self.rows("d")}
        visits = set()
        for row in self.rows("m"):
            visits.add(row.key.split(".")[1])
            state, rule = row.text("state"), row.text("rule")
            found.sent += state == "sent"
            found.uncertain += state == "uncertain"
            if state in ("skipped", "failed", "uncertain"):
                found.rules[f"{state}:{rule}"] += 1
            if state == "uncertain" and not self._explained(row):
                found.unexplained += 1
                found.problems.append(f"{row.key} uncertain ({rule}) without a cause")
            if problem := self._problem(row, due.get(row.key), arrived):
                found.lost += 1
                found.problems.append(f"{row.key} {problem}")
        told = {self._appointment(text) for _, text in texts}
        for appointment in self.booked:
            if self.scope.index("visit", self.connection, appointment) not in visits:
                found.lost += 1
                found.problems.append(f"{appointment} was never planned, told: {appointment in told}")
        return found

    def _problem(self, row: Row, due_key: str | None, arrived: set[str]) -> str:
        """How this message was lost, if it was."""
        state = row.text("state")
        if state == "sent":
            return "" if row.text("message_id") in arrived else "sent, but arrived nowhere"
        if state == "planned":
            if due_key is None:
                return "planned, and will never be due"
            return "" if due_key > f"d.{ledger.stamp(self.world.now())}/" else "planned and overdue"
        return "" if row.text("rule") and state != "claimed" else f"{state} without a reason"

    def _appointment(self, text: str) -> str:
        found = _LINK.search(text)
        assert found, text
        return keys.JoinToken.open(found[1], self.live.sealer).appointment_id

    def _explained(self, row: Row) -> bool:
        """A fault met a request for this very message, or its worker or the storage died while it was claimed."""
        claim = row.text("claim")
        identity = str(uuid.uuid5(uuid.UUID(claim), row.key))
        if any(identity in one.body for one in self.world.suffered):
            return True
        at, _ = self.claims.get(claim, (None, 0))
        died = [*self.kills, *self._stopped_storage]
        return at is not None and any(at - timedelta(seconds=1) <= one <= at + ledger.LEASE for one in died)
