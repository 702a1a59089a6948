"""Outcome: every timer runs once per due time in the whole app; its status lies in SANDBOX_HOST_DIR.

The worker that holds the lock file leads; when it ends the kernel gives the lock to another. Missed runs
are made up for by one run with past_due; a new or changed schedule is not past due; a timer never overlaps
itself; schedules are UTC; days of month and of week must both match. Due times are business time: moving the
sandbox clock forward runs what became due, once. (azure-webjobs-sdk-extensions, TimerListener; NCrontab.)
"""

import fcntl
import json
import os
import threading
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from typing import Any

from azure.functions.timer import TimerRequest
from croniter import croniter

from connector import clock
from sandbox.host.functions import Declared, Invoker, Refused, setting


class _Timer:
    def __init__(self, declared: Declared, folder: Path) -> None:
        self.declared, self.schedule = declared, setting(str(declared.binding["schedule"]))
        valid = len(self.schedule.split()) == 6 and croniter.is_valid(self.schedule, second_at_beginning=True)
        if not valid or declared.binding.get("runOnStartup") or declared.binding.get("useMonitor") is False:
            raise Refused(f"{declared.name}: six NCRONTAB fields, without run_on_startup, with use_monitor")
        self.file = folder / f"timer-{declared.name}.json"
        self.next = self.started = clock.now()
        self.past_due = False
        self.running: Future[Any] | None = None

    def after(self, moment: datetime) -> datetime:
        cron = croniter(self.schedule, moment, ret_type=datetime, day_or=False, second_at_beginning=True)
        found: datetime = cron.get_next()
        return found

    def restore(self, now: datetime) -> None:
        status = json.loads(self.file.read_text("utf-8")) if self.file.exists() else {}
        if status.get("schedule") == self.schedule:
            self.next = min(datetime.fromisoformat(status["next"]), self.after(now))  # the clock went back
            self.past_due = self.next <= now
        else:
            self.plan(now)

    def plan(self, moment: datetime) -> None:
        self.next, self.past_due = self.after(moment), False
        status = {"schedule": self.schedule, "next": self.next.isoformat()}
        self.file.with_suffix(".new").write_text(json.dumps(status), "utf-8")
        self.file.with_suffix(".new").replace(self.file)

    def turn(self, now: datetime, invoker: Invoker) -> None:
        if self.running and self.running.done():
            self.running = None
            self.plan(self.started)  # failed or not: Azure does not repeat a failed run either
        if self.running is None and now >= self.next:
            self.started = now
            self.running = invoker.start(self.declared, TimerRequest(past_due=self.past_due))


class Timers(threading.Thread):
    """Leads, or waits to lead, until `stop` is set; then ends when the runs under way have ended."""

    def __init__(self, functions: list[Declared], invoker: Invoker, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._folder = Path(os.environ["SANDBOX_HOST_DIR"])
        self._timers = [_Timer(one, self._folder) for one in functions]
        self._invoker, self._stopping = invoker, stop

    def run(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "timers.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # at shutdown the leader lets go, and the next sees `stop`
            before = clock.now()
            for timer in self._timers:
                timer.restore(before)
            while not self._stopping.wait(0.2):
                now = clock.now()
                for timer in self._timers:
                    if now < before:  # the sandbox clock was set back: don't wait for the old future
                        timer.next = min(timer.next, timer.after(now))
                    timer.turn(now, self._invoker)
                before = now
            for timer in self._timers:
                if timer.running:
                    timer.running.exception()
                    timer.plan(timer.started)
