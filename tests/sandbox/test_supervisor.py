"""A sandbox starts, survives restarts of its parts, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from sandbox.stamp import fresh_key
from sandbox.supervisor import ROOT, Sandbox


def processes_of(work_dir: Path) -> list[str]:
    """Command lines of everything that still runs for this work folder."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            command = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if process.name != str(os.getpid()) and os.fsencode(work_dir) in command:
            found.append(command.partition(b"\0\0")[0].decode(errors="replace"))
    return found


@pytest.mark.parametrize(
    ("number", "line"), [(signal.SIGINT, "Azurite"), (signal.SIGTERM, "app"), (signal.SIGINT, "READY")]
)
def test_an_interrupt_ends_it_at_any_moment_and_leaves_no_child(
    tmp_path: Path, number: signal.Signals, line: str
) -> None:
    command = [sys.executable, "-m", "sandbox", "--work-dir", str(tmp_path / "work")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as sandbox:
        assert sandbox.stdout and sandbox.stderr
        seen = next(said for said in sandbox.stdout if line in said)
        if line == "READY":
            assert requests.get(seen.split()[1], timeout=30).ok
        sandbox.send_signal(number)
        assert sandbox.wait(60) == 0, sandbox.stderr.read()
        assert sandbox.stderr.read() == ""
    assert processes_of(tmp_path) == []


def test_parts_restart_and_the_next_run_finds_everything_configured(
    tmp_path: Path, count_storage: Callable[[int], None]
) -> None:
    with Sandbox(tmp_path) as sandbox:
        registered = dict(sandbox.world.registrations)
        assert set(registered) == {"harbor", "nordlys"}
        health = f"{sandbox.ports.url('app')}/health"

        sandbox.app_environment_overrides["CONNECTOR_SEALING_KEYS"] = ",".join(
            (fresh_key("sandbox-s2"), sandbox.environment["CONNECTOR_SEALING_KEYS"])
        )
        sandbox.restart_app(signal.SIGKILL)
        sandbox.restart_azurite()
        assert requests.get(health, timeout=30).ok
        ports = sandbox.ports
        count_storage(sandbox.azurite.operations)
    assert processes_of(tmp_path) == []

    with Sandbox(tmp_path) as again:
        assert again.ports == ports
        assert again.world.registrations == registered, "made once, found the second time"
