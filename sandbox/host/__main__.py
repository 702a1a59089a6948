"""`python -m sandbox.host --port P --workers N [--app function_app]`: start the workers, replace the dead.

SIGTERM or SIGINT: the workers finish their work, exit code 0, no child left. An app that can't be served: the
reason in the log, exit code 78 (EX_CONFIG). Workers end by themselves when this process is gone.
"""

import argparse
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from connector import clock
from sandbox.host.functions import Invoker, Refused, load
from sandbox.host.timers import Timers
from sandbox.host.web import Web

log = logging.getLogger("sandbox.host")
_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
_DRAIN_S = 8.0


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m sandbox.host")
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--app", default="function_app")
    given = options.parse_args()
    form = "%(asctime)s %(levelname)s %(name)s %(message)s"
    logging.basicConfig(level=os.environ.get("SANDBOX_LOG_LEVEL", "INFO"), format=form)
    logging.getLogger("azure").setLevel(logging.WARNING)  # the storage client logs each poll at INFO
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # an access log holds URLs
    listener = socket.create_server(("127.0.0.1", given.port), backlog=512)
    listener.setblocking(False)  # workers race for connections: the loser must not wait in accept
    signal.signal(signal.SIGCHLD, lambda *_: None)  # an ignored signal can't be waited for everywhere
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    gone, alive = os.pipe()
    log.info("host pid=%s listens on http://127.0.0.1:%s", os.getpid(), listener.getsockname()[1])
    children, refused = {_start(listener, given.app, gone, alive) for _ in range(given.workers)}, False
    while not refused and signal.sigwait(_SIGNALS) == signal.SIGCHLD:
        while not refused and (ended := os.waitpid(-1, os.WNOHANG))[0]:  # one signal may stand for several
            children.discard(ended[0])
            if not (refused := os.waitstatus_to_exitcode(ended[1]) == os.EX_CONFIG):
                log.warning("worker pid=%s ended, replaced", ended[0])
                time.sleep(0.1)  # a worker that dies at once must not become a fork storm
                children.add(_start(listener, given.app, gone, alive))
    _stop(children)
    return os.EX_CONFIG if refused else 0


def _start(listener: socket.socket, module_name: str, gone: int, alive: int) -> int:
    if child := os.fork():
        return child
    code = 1
    try:
        os.close(alive)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        code = _serve(listener, module_name, gone)
    except BaseException:
        log.exception("worker failed")
    finally:
        logging.shutdown()
        os._exit(code)  # never back into the parent's code, never waiting for a thread


def _stop(children: set[int]) -> None:
    """Ask, wait, and at last force: whatever happens no child is left."""
    for child in children:
        os.kill(child, signal.SIGTERM)
    deadline = time.monotonic() + _DRAIN_S + 2
    for child in children:
        while not os.waitpid(child, os.WNOHANG)[0]:
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.02)


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120  # also makes the connection a blocking one, where it inherits from the listener
    answering: ClassVar[set[WSGIRequestHandler]] = set()

    def run_wsgi(self) -> None:
        self.answering.add(self)
        try:
            super().run_wsgi()
        finally:
            self.answering.discard(self)


def _serve(listener: socket.socket, module_name: str, parent_gone: int) -> int:
    """Serve until SIGTERM or until `parent_gone` reads end of file; a refusal gives exit code EX_CONFIG."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
    threading.Thread(target=lambda: stop.set() if not os.read(parent_gone, 1) else None, daemon=True).start()
    if os.environ.get("SANDBOX_CLOCK_FILE"):
        clock.install(sandbox_clock(Path(os.environ["SANDBOX_CLOCK_FILE"])))
    try:
        app, invoker = load(module_name), Invoker()
        web, listeners = Web(app, invoker), list[threading.Thread]()
        if (timer_functions := app.of("timerTrigger")) and os.environ.get("SANDBOX_TIMERS") != "off":
            listeners.append(Timers(timer_functions, invoker, stop))
        if queue_functions := app.of("queueTrigger"):
            from sandbox.host.queues import Poller  # slow to import
            listeners += [Poller(one, app, invoker, stop) for one in queue_functions]
    except Exception as error:
        log.error("refused: %s", error, exc_info=None if isinstance(error, Refused) else error)
        return os.EX_CONFIG
    host, port = listener.getsockname()
    server = ThreadedWSGIServer(host, port, web, _Handler, fd=listener.fileno())
    for thread in listeners:
        thread.start()
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    log.info("worker pid=%s functions=%s ready", os.getpid(), len(app.functions))
    stop.wait()
    deadline = time.monotonic() + _DRAIN_S
    server.shutdown()
    while time.monotonic() < deadline and (_Handler.answering or any(one.is_alive() for one in listeners)):
        time.sleep(0.02)
    return 0


def sandbox_clock(file: Path) -> Callable[[], datetime]:
    """Business time: real time plus the seconds written in `file`, which is read again when it changes."""
    seen, offset = (0, 0), timedelta()
    def now() -> datetime:
        nonlocal seen, offset
        with suppress(FileNotFoundError, ValueError):  # not yet, or half, written: keep the last, look again
            status = file.stat()
            if seen != (stamp := (status.st_mtime_ns, status.st_ino)):
                offset, seen = timedelta(seconds=float(file.read_text("utf-8"))), stamp
        return datetime.now(UTC) + offset
    return now


if __name__ == "__main__":
    sys.exit(main())
