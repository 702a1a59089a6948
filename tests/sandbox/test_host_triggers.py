"""Timers, queues and processes of the local host: each due time once, each message at least once, no child left."""

import errno
import os
import signal
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue import QueueClient

from sandbox.azurite import Azurite
from tests.sandbox.host_process import Host, alive, eventually

HOUR = 3600.0


@pytest.fixture
def storage(azurite: Azurite) -> str:
    return azurite.connection_string("hoststorage")


def mid_hour() -> float:
    """The offset that makes it half past: no test may meet a full hour by chance."""
    now = datetime.now(UTC)
    return 1800.0 - (now.minute * 60 + now.second)


def settled(host: Host) -> list[dict[str, Any]]:
    """The hourly runs after enough turns of the timer loop that a wrong second run would have happened."""
    known = host.traced("timer")
    threading.Event().wait(1.0)
    assert host.traced("timer") == known
    return known


def test_a_timer_runs_once_when_the_clock_jumps_whatever_the_number_of_workers(tmp_path: Path, storage: str) -> None:
    start = mid_hour()
    (tmp_path / "clock").write_text(str(start))
    with Host(tmp_path, storage, workers=2) as host:
        eventually(lambda: (tmp_path / "host" / "timer-hourly.json").exists())
        assert settled(host) == []  # a new timer is not past due
        host.clock_file.write_text(str(start + 5 * HOUR))
        eventually(lambda: host.traced("timer"))
        runs = settled(host)
        assert [run["past_due"] for run in runs] == [False]
        ahead = datetime.fromisoformat(runs[0]["at"]) - datetime.now(UTC)
        assert abs(ahead.total_seconds() - start - 5 * HOUR) < 60

        def due_again() -> bool:
            """The clock goes back, which a host under load may miss, and forward again."""
            host.clock_file.write_text(str(start))
            if len(settled(host)) == 1:
                host.clock_file.write_text(str(start + HOUR))
            return any(len(host.traced("timer")) == 2 or threading.Event().wait(0.1) for _ in range(30))

        eventually(due_again)


def test_missed_runs_are_made_up_for_by_one_that_is_past_due(tmp_path: Path, storage: str) -> None:
    start = mid_hour()
    (tmp_path / "clock").write_text(str(start))
    with Host(tmp_path, storage) as host:
        eventually(lambda: (tmp_path / "host" / "timer-hourly.json").exists())
    (tmp_path / "clock").write_text(str(start + 3 * HOUR))
    with Host(tmp_path, storage, workers=2) as host:
        eventually(lambda: host.traced("timer"))
        assert [run["past_due"] for run in settled(host)] == [True]
    with Host(tmp_path, storage) as host:
        assert len(settled(host)) == 1


def test_when_the_leader_dies_another_worker_keeps_the_timers(tmp_path: Path, storage: str) -> None:
    start = mid_hour()
    (tmp_path / "clock").write_text(str(start))
    with Host(tmp_path, storage, workers=2) as host:
        for runs in (1, 2):
            eventually(lambda: (tmp_path / "host" / "timer-hourly.json").exists())
            host.clock_file.write_text(str(start + runs * HOUR))
            eventually(lambda wanted=runs: len(host.traced("timer")) == wanted)
            os.kill(settled(host)[-1]["pid"], signal.SIGKILL)
        assert len({run["pid"] for run in host.traced("timer")}) == 2


def test_messages_succeed_are_retried_and_end_in_the_poison_queue(tmp_path: Path, storage: str) -> None:
    with Host(tmp_path, storage, workers=2) as host:
        queue = QueueClient.from_connection_string(storage, host.queue)
        poison = QueueClient.from_connection_string(storage, f"{host.queue}-poison")
        with queue, poison:
            eventually(lambda: "ready" in host.log() and exists(queue))
            for body in ("fine", "once", "never", "grüße"):
                queue.send_message(body)
            eventually(lambda: exists(poison) and [one.content for one in poison.peek_messages()] == ["never"])
            eventually(lambda: queue.get_queue_properties().approximate_message_count == 0)
        seen = host.traced("queue")
        counts = {body: [one["count"] for one in seen if one["queue"] == body] for body in
                  ("fine", "grüße", "once", "never")}
        assert counts == {"fine": [1], "grüße": [1], "once": [1, 2], "never": [1, 2, 3]}
        assert all(one["receipt"] and one["kept_s"] == 7 * 86400 for one in seen)
        assert "secret" not in host.log() and "outcome=poison" in host.log()


def test_a_killed_workers_message_comes_back_and_a_long_one_keeps_its_lease(tmp_path: Path, storage: str) -> None:
    with Host(tmp_path, storage, workers=1, SANDBOX_QUEUE_LEASE_S="4") as host, QueueClient.from_connection_string(
        storage, host.queue
    ) as queue:
        eventually(lambda: exists(queue))
        queue.send_message("long")
        first = eventually(lambda: host.traced("queue"))[0]
        os.kill(first["pid"], signal.SIGKILL)
        eventually(lambda: len(host.traced("queue")) == 2)
        eventually(lambda: queue.get_queue_properties().approximate_message_count == 0)
        assert [one["count"] for one in host.traced("queue")] == [1, 2]


def test_a_killed_worker_is_replaced(tmp_path: Path, storage: str) -> None:
    with Host(tmp_path, storage, workers=2) as host:
        before = eventually(lambda: len(host.workers()) == 2 and host.workers())
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(host.workers()) == 2 and not before & host.workers())
        assert requests.get(f"{host.url}/items/1", timeout=60).ok


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_with_its_work_done_and_no_child_left(tmp_path: Path, storage: str, by: signal.Signals) -> None:
    with Host(tmp_path, storage, workers=2) as host:
        statuses: list[int] = []
        caller = threading.Thread(target=lambda: statuses.append(
            requests.get(f"{host.url}/slow?seconds=1", timeout=60).status_code))
        caller.start()
        eventually(lambda: host.traced("slow"))
        workers = eventually(lambda: len(host.workers()) == 2 and host.workers())
        assert host.stop(by) == 0
        caller.join()
        assert statuses == [200]
        assert not any(alive(worker) for worker in workers)


def test_workers_end_when_the_host_itself_is_killed(tmp_path: Path, storage: str) -> None:
    with Host(tmp_path, storage, workers=2) as host:
        eventually(lambda: len(host.workers()) == 2)
        assert host.stop(signal.SIGKILL) == -signal.SIGKILL
        port = int(host.url.rpartition(":")[2])
        eventually(lambda: refused(port))


def exists(queue: QueueClient) -> bool:
    try:
        queue.get_queue_properties()
    except ResourceNotFoundError:
        return False
    return True


def refused(port: int) -> bool:
    """True only when no process holds the listening socket any more."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED
