"""`python -m bench.messages --count 10000`: what a message costs on its way from the schedule to the phone.

Real host with several workers, real Azurite, simulated vendors that think `--latency` seconds about each request.
The clock is moved a minute a second, so that the sender's rate does not limit (its messages are spread over real
seconds all the same). Prints one JSON line:
  calls_per_message               requests to Cerner and Communication Services on the way of sending; to ask what
                                  was delivered costs another one each where Event Grid does not tell
  discovery_calls                 requests for scans of the schedule, apart
  storage_operations_per_message  everything in the hospital's own account between booking and the last record, rescans
                                  and all timers included, but for
  queue_polls                     the host's own looks into its queues, which it makes whether there is work or not
  wall_ratio                      wall time of sending over its ideal: latency of all its requests / concurrency, and
                                  no less than the real minute over which the dispatcher spreads what it releases
`--sparse`: 200 reminders of visits in 40 departments, due every five minutes of one hour of the clock, in which each
minute is waited for; reported, never failed for its cost.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import requests

from connector.messages.dispatch import RATES
from sandbox.cerner.bulk import book_many
from tests.chaos.harness import HOSPITAL, MINUTE, Run, running
from tests.chaos.plan import Plan
from tests.running import Live

ROOT = Path(__file__).resolve().parent.parent
MOST_CALLS, MOST_STORAGE_OPERATIONS = 1.15, 0.5
SPARSE_COUNT, SPARSE_DEPARTMENTS = 200, 40


class Bench(Run):
    """A run without mishaps, measured."""

    def measure(self, *, sparse: bool) -> dict[str, Any]:
        world = self.world
        places = _departments(self.live) if sparse else []
        self.wake({"confirmations": not sparse, "reminders": sparse})
        self._look(lambda: all(row.text("class") != "live" for row in self.rows("v")))  # what `running` took away
        latency = dict.fromkeys(("acs", "cerner"), self.plan.latency_s)
        before, stored, polled, self.looks = world.requests.copy(), *self._operations(), 0
        if sparse:
            world.latency_s = latency
            began = time.monotonic()
            self._hour(places)
        else:
            self.book()
            self.discover()
            self._release()
            world.latency_s = latency
            began = time.monotonic()
            for _ in range(self.plan.count // RATES["alphanumeric"] + 1):
                world.advance(MINUTE)
                self._pause.wait(1)
            self._until(lambda: len(world.outbox) >= self.plan.count, step=MINUTE, every_s=60, look_s=2)
            self.send()
        wall = time.monotonic() - began
        served, polls = self._operations()
        stored, polled = served - stored - self.looks - (polls - polled), polls - polled
        peak = max(_peak_mib(pid) for pid in self.live.sandbox.worker_pids)
        world.latency_s = {}
        self.live.sandbox.stop_app()
        spent: Counter[tuple[str, str]] = world.requests - before
        return self._figures(spent, stored, polled, wall, sparse) | {"peak_rss_mib": peak}

    def _operations(self) -> tuple[int, int]:
        """Requests that the hospital's storage account served until now, and how many of them were polls."""
        log, account = self.live.sandbox.azurite.log.read_bytes(), self.world.hospitals[HOSPITAL].region.encode()
        polls = rb'"GET /' + account + rb'/[a-z-]+/messages\?'
        return len(re.findall(rb'"[A-Z]+ /' + account + rb"/", log)), len(re.findall(polls, log))

    def _figures(
        self, spent: Counter[tuple[str, str]], stored: int, polled: int, wall: float, sparse: bool
    ) -> dict[str, Any]:
        found, count = self.judge(), self.plan.count
        calls = sum(
            n
            for (vendor, what), n in spent.items()
            if (vendor, what) == ("acs", "send") or (vendor == "cerner" and what.endswith(".by_id"))
        )
        paced = 60 * min(1.0, count / RATES["alphanumeric"])
        ideal = max(paced, calls * self.plan.latency_s / self.concurrency)
        return {
            "count": count,
            "sent": found.sent,
            "duplicates": found.duplicates,
            "lost": found.lost,
            "uncertain": found.uncertain,
            "calls_per_message": round(calls / count, 3),
            "storage_operations_per_message": round(stored / count, 3),
            "wall_ratio": None if sparse else round(wall / ideal, 2),
            "discovery_calls": spent["cerner", "Appointment.search"],
            "queue_polls": polled,
            "wall_s": round(wall, 1),
            "ideal_s": round(ideal, 1),
            "concurrency": self.concurrency,
            "sparse": sparse,
            "rules": dict(found.rules),
        }

    @property
    def concurrency(self) -> int:
        """Chunks under way at once: each worker holds a batch and half of the next (Azure Queue storage trigger)."""
        batch = int(json.loads((ROOT / "host.json").read_text("utf-8"))["extensions"]["queues"]["batchSize"])
        return self.plan.workers * (batch + batch // 2)

    def _hour(self, places: list[str]) -> None:
        """Patients know of visits that begin in a day, and are reminded of them."""
        first = (self.world.now() + timedelta(days=1, minutes=25)).replace(second=0, microsecond=0)
        for five in range(12):
            fresh = self.plan.count * (five + 1) // 12 - len(self.booked)
            start = first + five * timedelta(minutes=5)
            self.booked += book_many(
                self.world, HOSPITAL, fresh, start=start, every=timedelta(), location_ids=places[five:] + places[:five]
            )
        self.discover()
        while self.world.now() < first + timedelta(hours=1) - self.lead:
            self.world.advance(MINUTE)
            self.quiet()
        self.send()

    @property
    def lead(self) -> timedelta:
        return timedelta(days=1)

    def quiet(self) -> None:
        """Returns when the vendors have had no request for a second."""
        seen, since = -1, time.monotonic()
        while time.monotonic() - since < 1 + self.plan.latency_s:
            with self.world.lock:
                now = self.world.requests.total()
            if now != seen:
                seen, since = now, time.monotonic()
            self._pause.wait(0.05)


def _departments(live: Live) -> list[str]:
    """Give the connection forty departments; their Location ids."""
    places = [str(94_000_000 + 13 * n) for n in range(2 * SPARSE_DEPARTMENTS)]
    wanted = [
        {"name": f"Department {n}", "location_ids": places[2 * n : 2 * n + 2], "time_zone": "Europe/Copenhagen"}
        for n in range(SPARSE_DEPARTMENTS)
    ]
    token, path = live.token(HOSPITAL), f"/connections/{live.connection_id(HOSPITAL)}"
    etag = live.api("GET", path, token=token).headers["ETag"]
    answer: requests.Response = live.api("PUT", f"{path}/departments", wanted, token=token, etag=etag)
    answer.raise_for_status()
    return places


def _peak_mib(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("utf-8"))
    return int(found[1]) // 1024 if found else 0


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m bench.messages")
    options.add_argument("--count", type=int, default=10_000)
    options.add_argument("--sparse", action="store_true")
    options.add_argument("--workers", type=int, default=4)
    options.add_argument("--latency", type=float, default=0.25)
    given = options.parse_args()
    count = SPARSE_COUNT if given.sparse else given.count
    plan = Plan(count, workers=given.workers, latency_s=given.latency, within_s=1800)
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        running(Path(folder) / "sandbox", plan) as live,
    ):
        figures = Bench(live, plan).measure(sparse=given.sparse)
    print(json.dumps(figures))
    if figures["duplicates"] or figures["lost"] or figures["sent"] != count:
        return 1
    cheap = figures["calls_per_message"] <= MOST_CALLS and (
        figures["storage_operations_per_message"] <= MOST_STORAGE_OPERATIONS
    )
    return 0 if cheap or given.sparse else 1


if __name__ == "__main__":
    sys.exit(main())
