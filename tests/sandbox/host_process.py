"""The local host as a child process of a test, and what the sample app wrote down."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from sandbox.ports import free_ports

SAMPLE_APP = "tests.sandbox.sample_app.function_app"


def eventually(look: Callable[[], Any], within_s: float = 60.0) -> Any:
    """The first true value of `look`."""
    deadline = time.monotonic() + within_s
    while not (seen := look()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
    return seen


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Host:
    """`with Host(folder, storage) as host:` runs the sample app; the trace outlives a restart in the same folder."""

    def __init__(self, folder: Path, storage: str, *, workers: int = 1, app: str = SAMPLE_APP, **env: str) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self.trace_file, self.log_file, self.clock_file = folder / "trace", folder / "log", folder / "clock"
        self._command = [sys.executable, "-m", "sandbox.host", "--port", str(port), "--workers", str(workers),
                         "--app", app]
        self._env = os.environ | {
            "SAMPLE_TRACE": str(self.trace_file), "SAMPLE_STORAGE": storage, "SAMPLE_QUEUE": f"sample-{port}",
            "SANDBOX_HOST_DIR": str(folder / "host"), "SANDBOX_CLOCK_FILE": str(self.clock_file), **env}
        self.queue = self._env["SAMPLE_QUEUE"]

    def run(self) -> int:
        """For an app that is refused: the exit code."""
        with self.log_file.open("ab") as log:
            return subprocess.run(self._command, env=self._env, stderr=log, timeout=120, check=False).returncode

    def __enter__(self) -> Self:
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(self._command, env=self._env, stderr=log)
        eventually(self.ready)
        return self

    def ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/_host/ready", timeout=30).ok
        except requests.RequestException:
            assert self.process.poll() is None, self.log()
            return False

    def workers(self) -> set[int]:
        """The worker processes that have become ready and have not ended."""
        return {pid for pid in map(int, re.findall(r"worker pid=(\d+) .* ready", self.log())) if alive(pid)}

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(by)
        return self.process.wait(60)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.stop()

    def log(self) -> str:
        return self.log_file.read_text()

    def traced(self, name: str) -> list[dict[str, Any]]:
        lines = self.trace_file.read_text().splitlines() if self.trace_file.exists() else []
        return [line for line in map(json.loads, lines) if name in line]
