"""One running sandbox: Azurite, the simulated vendors, the app in its host, and both hospitals configured."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType
from typing import Self

import requests
from werkzeug.serving import BaseWSGIServer

from sandbox import certificates, event_grid, seed, stamp, vendors
from sandbox.azurite import Azurite
from sandbox.cast import EVERYBODY
from sandbox.cerner import appointments
from sandbox.ports import free_ports
from sandbox.world import REGIONS, Ports, World

ROOT = Path(__file__).resolve().parent.parent
_START_S = 90.0
_STOP_S = 15.0


class SandboxError(RuntimeError):
    """The sandbox cannot run; the text says which part, and where its log is."""


class Interrupted(Exception):
    """Somebody asked to stop while the sandbox was starting."""


class Sandbox:
    """A sandbox in `work_dir`, which keeps keys, ports and storage for the next one in the same folder.

    Use it as a context manager, or call `start` and always `stop` (also when `start` raised).
    `app_environment_overrides` are laid over the app's environment at its next start.
    """

    def __init__(
        self,
        work_dir: Path,
        *,
        home_port: int | None = None,
        workers: int = 1,
        app: str = "function_app",
        cancelled: threading.Event | None = None,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.work_dir = work_dir.resolve()
        self.work_dir.mkdir(parents=True, exist_ok=True)
        self.workers = workers
        self.app = app
        self.app_log = self.work_dir / "app.log"
        self.app_environment_overrides: dict[str, str] = {}
        self.ports = _ports(self.work_dir / "ports.json", home_port)
        self.world = World(EVERYBODY, self.ports, self.work_dir / "clock")
        self._cancelled = cancelled or threading.Event()
        self._progress = progress
        self._servers: list[BaseWSGIServer] = []
        self._over = threading.Event()
        self._host: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Everything up and both hospitals configured. Raises SandboxError, or Interrupted when cancelled."""
        made = certificates.make(self.work_dir / stamp.CERTIFICATES)
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(made.cert, made.key)
        self._step("Starting Azurite (storage) ...")
        self.azurite = Azurite(self.work_dir / "azurite")
        self.azurite.start()
        self.environment = stamp.environment(self.ports, self.work_dir, self.azurite)
        self.world.storage = {region: self.environment[f"{region.upper()}_STORAGE"] for region in REGIONS}
        self._step("Starting the simulated vendors ...")
        appointments.populate(self.world)
        self._servers = vendors.serve(self.world, self.ports, tls)
        threading.Thread(target=event_grid.bring, args=(self.world, self._over), daemon=True).start()
        self._step("Starting the app ...")
        self._start_host()
        self._step("Configuring two hospitals through the app's own API ...")
        seed.configure(self.world, ca_bundle=made.bundle, go_on=self._go_on)

    def restart_app(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End the app with `how`, start it again on the same port, and wait until it is healthy."""
        self._stop_host(how)
        self._start_host()

    def restart_azurite(self) -> None:
        self.azurite.stop()
        self.azurite.start()

    def stop_app(self) -> None:
        """Let the app end what it is doing; storage and vendors go on."""
        self._stop_host(signal.SIGTERM)

    @property
    def worker_pids(self) -> list[int]:
        """The app's worker processes; none while the app is down."""
        host = self._host
        children = Path(f"/proc/{host.pid}/task/{host.pid}/children") if host else None
        return [int(pid) for pid in children.read_text(encoding="ascii").split()] if children else []

    def stop(self) -> None:
        """End everything that was started; safe to call at any time, and twice."""
        self._over.set()
        self._stop_host(signal.SIGTERM)
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self._servers = []
        if hasattr(self, "azurite"):
            self.azurite.stop()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _step(self, what: str) -> None:
        self._go_on()
        self._progress(what)

    def _go_on(self) -> None:
        if self._cancelled.is_set():
            raise Interrupted

    def _start_host(self) -> None:
        environment = {**os.environ, **self.environment, **self.app_environment_overrides}
        command = [
            sys.executable,
            "-m",
            "sandbox.host",
            "--port",
            str(self.ports.app),
            "--workers",
            str(self.workers),
            "--app",
            self.app,
        ]
        with self.app_log.open("ab") as log:
            self._host = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait_until_healthy(self._host)

    def _wait_until_healthy(self, host: subprocess.Popen[bytes]) -> None:
        pause = 0.1
        for _ in range(int(_START_S / pause)):
            self._go_on()
            if host.poll() is not None:
                raise SandboxError(f"The app ended with {host.returncode} while starting:\n{self._log_tail()}")
            try:
                if requests.get(f"{self.ports.url('app')}/health", timeout=10).ok:
                    return
            except requests.RequestException:
                pass
            self._cancelled.wait(pause)
        raise SandboxError(f"The app is not healthy after {_START_S:.0f} s:\n{self._log_tail()}")

    def _log_tail(self) -> str:
        return "\n".join(self.app_log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])

    def _stop_host(self, how: signal.Signals) -> None:
        host, self._host = self._host, None
        if host is None:
            return
        if how == signal.SIGTERM and host.poll() is None:
            host.terminate()
            try:
                host.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._progress("The app did not stop in time; killing it.")
        # The group outlives its leader while a worker lives.
        try:
            os.killpg(host.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        host.wait()


def _ports(kept: Path, home: int | None) -> Ports:
    """The ports of an earlier run in this folder (stored connections hold them), else free ones."""
    if kept.exists():
        ports = Ports(**json.loads(kept.read_text(encoding="utf-8")))
        if home is None or home == ports.home:
            return ports
        ports = Ports(**{**asdict(ports), "home": home})
    else:
        names = [field.name for field in fields(Ports)]
        ports = Ports(**dict(zip(names, free_ports(len(names)), strict=True)))
        if home is not None:
            ports = Ports(**{**asdict(ports), "home": home})
    kept.write_text(json.dumps(asdict(ports)), encoding="utf-8")
    return ports
