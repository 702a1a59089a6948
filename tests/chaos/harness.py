"""Many messages through the real host while workers die, vendors fail and storage restarts; then the verdict.

The clock is moved a minute at a time, as fast as timers and workers follow; leases (75 s) run in real time. What is
judged is what lies in the ledger and what arrived on the patients' phones, nothing that the app says of itself.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from connector import tenants
from connector.adapters.tables import Row
from connector.errors import ConnectorError
from connector.messages import brakes, lease, ledger
from connector.messages.reference import reference
from sandbox.cerner import appointments
from sandbox.cerner.bulk import book_many
from sandbox.supervisor import Sandbox
from tests.chaos.plan import Plan, Verdict
from tests.running import Live

HOSPITAL = "nordlys"
MINUTE = timedelta(minutes=1)


@contextmanager
def running(folder: Path, plan: Plan) -> Iterator[Live]:
    """A sandbox with several workers and an empty schedule."""
    made = Sandbox(folder, workers=plan.workers, app="tests.chaos.hasty" if plan.hasty else "function_app")
    made.app_environment_overrides["EMEA_EMAIL_RATE"] = "9999/9999"
    if plan.kills:
        made.app_environment_overrides["SANDBOX_QUEUE_LEASE_S"] = "10"
    with made as sandbox:
        live = Live(sandbox)
        live.world.brings_events = False  # receipts have a cost of their own
        for kept in live.world.resources.values():
            for kind, identity in list(kept):
                if kind == "Appointment":
                    del kept[kind, identity]
        live.world.sms_per_minute = dict.fromkeys(live.world.sms_per_minute, 1_000_000)  # a minute lasts a second here
        live.world.email_limits = (1_000_000, 1_000_000)
        yield live


class Run:
    """One plan carried out in a running sandbox."""

    def __init__(self, live: Live, plan: Plan) -> None:
        self.live, self.plan, self.world = live, plan, live.world
        self.scope, self.connection = live.scope(HOSPITAL), live.connection_id(HOSPITAL)
        self.booked: list[str] = []
        self.kills: list[datetime] = []
        self._spoiled = ""
        self.claims: dict[str, tuple[datetime, int]] = {}
        """When each claim seen was made, in real time, and how many messages were left in it."""
        self._dice = random.Random(plan.seed)  # noqa: S311 - repeatable, no secret
        self.looks = 0
        """Storage operations of the harness itself while it waits."""
        self._slow: int | None = None
        self._pause = threading.Event()
        self._events: list[tuple[int, Callable[[], None]]] = []
        self.stopped_storage: list[datetime] = []

    # what happens

    def wake(self, settings: dict[str, bool] | None = None) -> None:
        """No quiet hours, e-mail to whom no text can reach, and the silent baseline of the first activation over."""
        token, path = self.live.token(HOSPITAL), f"/connections/{self.connection}"
        etag = self.live.api("GET", path, token=token).headers["ETag"]
        wanted = {"quiet_from": "00:00", "quiet_until": "00:00", "reminders": self.plan.mixed,
                  "reminder_leads_minutes": [int(self.lead / MINUTE)],
                  "channels": ["sms", "email"] if self.plan.mixed else ["sms"], **(settings or {})}  # fmt: skip
        self.live.api("PATCH", path, {"messages": wanted}, token=token, etag=etag).raise_for_status()
        self._until(self._baselined, step=timedelta(minutes=5), every_s=2)

    @property
    def lead(self) -> timedelta:
        """Reminders come due hours after the last change, so that each is planned, and only for what is true then."""
        return timedelta(days=6) - timedelta(hours=4 if self.plan.count < 1000 else 12)

    def _baselined(self) -> bool:
        state = brakes.peek(self.scope, tenants.connection(self.scope, self.connection).value)
        days = [self.world.now().date() + timedelta(days=n) for n in range(8)]
        return bool(state.baselines) and not any(state.pending(day) for day in days)

    def book(self) -> None:
        """Far enough ahead that the moved clock does not reach them; so close together that the clock need not move
        long until all are reminded."""
        self.first = (self.world.now() + timedelta(days=6)).replace(second=0, microsecond=0)
        self.every = timedelta(minutes=20 if self.plan.mixed else 1200) / self.plan.count
        self.booked = book_many(self.world, HOSPITAL, self.plan.count, start=self.first, every=self.every)
        for number, one in enumerate(self.booked[::5] if self.plan.mixed else []):
            self._patient(one)["telecom"] = [{"system": "email", "value": f"p{number}@mail.example", "rank": 1}]

    def discover(self) -> None:
        """Returns when every visit has a message."""
        self._look(lambda: len(self.rows("v")) >= self.plan.count)

    def change(self) -> None:
        """Move some visits and cancel others, of patients who know of them; returns when it is planned to tell them."""
        there: list[str] = []

        def enough() -> bool:
            known = {row.key.removeprefix("v.") for row in self.rows("v") if row.number("told_n")}
            there[:] = [one for one in self.booked if self._visit(one) in known]
            return len(there) >= 2 * self.plan.changed

        self._until(enough, step=MINUTE, every_s=1)
        chosen = self._dice.sample(there, 2 * self.plan.changed)
        for one in chosen[: self.plan.changed]:
            appointments.move(self.world, HOSPITAL, one, self._start(one) + timedelta(minutes=7))
        for one in chosen[self.plan.changed :]:
            appointments.cancel(self.world, HOSPITAL, one)
        keys_ = {self._visit(one) for one in chosen}
        self._look(lambda: all(row.number("asked_n") > 1 for row in self.rows("v") if row.key[2:] in keys_))

    def remind(self) -> None:
        """Move the clock, in steps that no timer takes for an outage, to where all reminders are due."""
        due = self.first + timedelta(minutes=30) - self.lead
        self._until(lambda: self.world.now() >= due, step=timedelta(minutes=20), every_s=0.6)

    def _look(self, done: Callable[[], bool]) -> None:
        def done_or_again() -> bool:
            if done():
                return True
            self._far_days_are_due()
            return False

        wait_s = 5 + self.plan.count / 250
        self._until(done_or_again, step=timedelta(minutes=5), every_s=wait_s, look_s=0.5 + self.plan.count / 2000)

    def _far_days_are_due(self) -> None:
        """They are scanned every six hours; unless somebody scans just now."""
        row = self.scope.tables.get(ledger.TABLE, self.connection, lease.KEY)
        self.looks += 1
        if row is None or row.text("until"):
            return
        before = self.world.now() - timedelta(hours=7)
        known = {name: replace(scan, completed=before, tried=before) for name, scan in lease.scans(row).items()}
        lease.Lease(self.scope, self.connection, "", known, row.etag).release()
        self.looks += 1

    def send(self, *, finish: bool = True) -> None:
        """Returns when nothing is due, and with `finish` nothing claimed, any more."""
        self._until(partial(self.settled, finish=finish), step=MINUTE, every_s=1)

    def carry_out(self) -> Verdict:
        plan, world = self.plan, self.world
        world.repeatability_off = plan.repeatability_off
        world.latency_s = dict.fromkeys(("acs", "cerner"), plan.latency_s)
        world.fault_rates = dict.fromkeys(("acs", "cerner"), plan.fault_rate)
        world.patience_s = 0.5
        self.wake()
        self.book()
        early = min(1, plan.kills // 10)  # a killed scan is taken over after two real minutes: not in the short run
        self._events = [(0, self._kill)] * early
        self.discover()
        self._events = self._script(plan.kills - early)
        self.send(finish=False)
        if plan.mixed:
            self.change()
            self.send(finish=False)
            self.remind()
        self.send()
        if self._slow is not None:
            os.kill(self._slow, signal.SIGCONT)  # finds that its claims are somebody else's now
            self._slow = None
        self.live.sandbox.stop_app()
        world.fault_rates = {}
        return self.judge()

    def _script(self, kills: int) -> list[tuple[int, Callable[[], None]]]:
        """Moments, counted in requests from now, and what happens then."""
        plan, now = self.plan, self._sends()
        moments = sorted(self._dice.sample(range(5, plan.messages * 3 // 4), kills))
        script: list[tuple[int, Callable[[], None]]] = [(now + at, self._kill) for at in moments]
        if script:
            script[0] = (script[0][0], self._crash)
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

    def _crash(self) -> None:
        """All at once: whoever is sending is among them."""
        for pid in self.live.sandbox.worker_pids:
            os.kill(pid, signal.SIGKILL)
        self.kills.append(datetime.now(UTC))
        self._claims(all_dead=True)

    def _restart_storage(self) -> None:
        self.stopped_storage.append(datetime.now(UTC))
        self.live.sandbox.restart_azurite()

    def _stop_a_worker(self) -> None:
        """Not the one that runs the timers: in Azure its lease would go to another instance, here it would not."""
        while self._slow is None:
            chosen = next(pid for pid in self.live.sandbox.worker_pids if pid != self._leader())
            with suppress(ProcessLookupError, FileNotFoundError):  # one that was just killed
                os.kill(chosen, signal.SIGSTOP)
                if Path(f"/proc/{chosen}/stat").read_text("ascii").rpartition(")")[2].split()[0] not in "ZX":
                    self._slow = chosen
            self._pause.wait(0.05)

    def _leader(self) -> int:
        lock = Path(self.live.sandbox.environment["SANDBOX_HOST_DIR"]) / "timers.lock"
        inode = f":{lock.stat().st_ino}"
        held = (line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines())
        return next(int(parts[4]) for parts in held if parts[1] != "->" and parts[5].endswith(inode))

    def _until(self, done: Callable[[], bool], *, step: timedelta, every_s: float, look_s: float = 0.5) -> None:
        """Move the clock by `step` every `every_s` seconds, and do what the script says, until `done`."""
        deadline, moved, looked = time.monotonic() + self.plan.within_s, 0.0, 0.0
        while True:
            while self._events and self._sends() >= self._events[0][0]:
                self._events.pop(0)[1]()
            now = time.monotonic()
            if now - looked >= look_s:
                with suppress(ConnectorError):  # storage is restarting
                    self._claims()
                    if done():
                        return
                looked = time.monotonic()
            if now - moved >= every_s:
                self.world.advance(step)
                moved = now
            assert now < deadline, f"not done in time: {self._summary()}"
            self._pause.wait(0.02)

    def _sends(self) -> int:
        with self.world.lock:
            return self.world.requests["acs", "send"] + self.world.requests["acs", "send_email"]

    def settled(self, *, finish: bool = True) -> bool:
        soon = timedelta(hours=1 if finish else 0)  # what was refused is due again in a minute
        overdue = f"d.{ledger.stamp(self.world.now() + soon)}/"
        due = self.scope.tables.query(ledger.TABLE, self.connection, start="d.", end=overdue, limit=1)
        self._release()
        self.looks += 4
        return not list(due) and not (finish and (self._claims() or self._events))

    def _claims(self, *, all_dead: bool = False) -> int:
        """How many there are; those that lost their worker are noted."""
        now, claims = datetime.now(UTC), [ledger.Claim.of(row) for row in self.rows("k")]
        for claim in claims:
            if (all_dead or now - claim.at > self.plan.lease * 4 / 5) and claim.id not in self.claims:
                self.claims[claim.id] = claim.at, len(claim.items)
                self._spoil(claim)
        return len(claims)

    def _release(self) -> None:
        """What a breaker holds: this admin expects so many."""
        state = brakes.peek(self.scope, tenants.connection(self.scope, self.connection).value)
        for kind in state.held:
            path, token = f"/connections/{self.connection}/messages/release", self.live.token(HOSPITAL)
            self.live.api("POST", path, {"kind": kind}, token=token).raise_for_status()

    def _spoil(self, claim: ledger.Claim) -> None:
        """The patient of one message whose worker died gets another number: the sweep must not repeat it, and cannot
        know whether it was sent."""
        if self._spoiled or self.plan.repeatability_off or not self.plan.mixed:
            return
        self._spoiled = claim.items[0].message.key
        one = next(one for one in self.booked if self._visit(one) == claim.items[0].message.visit)
        self._patient(one)["telecom"] = [{"system": "phone", "use": "mobile", "value": "+4520999999"}]

    def _visit(self, appointment: str) -> str:
        return self.scope.index("visit", self.connection, appointment)

    def _patient(self, appointment: str) -> dict[str, Any]:
        kept = self.world.resources[self.world.hospitals[HOSPITAL].ehr_tenant]
        named = kept["Appointment", appointment]["participant"][2]["actor"]["reference"]
        return kept["Patient", named.partition("/")[2]]

    def _start(self, appointment: str) -> datetime:
        kept = self.world.resources[self.world.hospitals[HOSPITAL].ehr_tenant]
        return datetime.fromisoformat(kept["Appointment", appointment]["start"])

    def rows(self, kind: str) -> list[Row]:
        found = list(self.scope.tables.query(ledger.TABLE, self.connection, start=f"{kind}.", end=f"{kind}/"))
        self.looks += 1 + len(found) // 1000
        return found

    def _summary(self) -> str:
        states = Counter(row.text("state") for row in self.rows("m"))
        return f"{dict(states)}, {len(self.rows('d'))} due or planned, {len(self.rows('k'))} claims, {self._events}"

    # the verdict

    def judge(self) -> Verdict:
        found = Verdict(self.plan.count, kills=len(self.kills), faults=len(self.world.suffered))
        found.in_flight = sum(count for _, count in self.claims.values())
        arrivals = [*self.world.outbox, *self.world.mail]
        texts = Counter((message.to, message.text) for message in arrivals)
        found.duplicates = sum(times - 1 for times in texts.values())
        arrived = {message.id for message in arrivals}
        due = {row.key.split(".", 2)[2]: row.key for row in self.rows("d")}
        reminded = set()
        for row in self.rows("m"):
            state, rule = row.text("state"), row.text("rule")
            found.sent += state == "sent"
            found.uncertain += state == "uncertain"
            if state in ("sent", "uncertain") and ".reminder." in row.key:
                reminded.add(row.key.split(".")[1])
            if state in ("skipped", "failed", "uncertain"):
                found.rules[f"{state}:{rule}"] += 1
            if state == "uncertain" and not self._explained(row):
                found.unexplained += 1
                found.problems.append(f"{row.key} uncertain ({rule}) without a cause")
            if problem := self._problem(row, due.get(row.key), arrived):
                found.lost += 1
                found.problems.append(f"{row.key} {problem}")
        told = {row.key.removeprefix("v."): row for row in self.rows("v")}
        for appointment in self.booked:
            if problem := self._untold(appointment, told.get(self._visit(appointment)), reminded):
                found.lost += 1
                found.problems.append(f"{appointment} {problem}")
        return found

    def _untold(self, appointment: str, row: Row | None, reminded: set[str]) -> str:
        """How its patient does not know the truth, if so."""
        if row is None:
            return "was never remembered"
        kept = self.world.resources[self.world.hospitals[HOSPITAL].ehr_tenant]
        if kept["Appointment", appointment]["status"] == "cancelled":
            return "" if row.text("told_class") == "cancelled" else "was cancelled, and its patient not told"
        start = row.text("told_start")
        if row.text("told_class") != "live" or datetime.fromisoformat(start) != self._start(appointment):
            return "is not known to its patient as it is"
        return "" if self._visit(appointment) in reminded or not self.plan.mixed else "was not reminded of"

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

    def _explained(self, row: Row) -> bool:
        """A fault met a request for this very message, or its worker or the storage died while it was claimed."""
        claim = row.text("claim")
        identity = reference(self.connection, claim, row.key)
        if any(identity in one.body for one in self.world.suffered):
            return True
        at, _ = self.claims.get(claim, (None, 0))
        died = [*self.kills, *self.stopped_storage]
        return at is not None and any(at - timedelta(seconds=1) <= one <= at + self.plan.lease for one in died)
