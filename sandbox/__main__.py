"""`python -m sandbox`: the whole story on loopback, until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("--port", type=int, help="port of the home page (default: a free one)")
    parser.add_argument("--workers", type=int, default=1, help="worker processes of the app (default: 1)")
    parser.add_argument(
        "--work-dir", type=Path, help="folder for storage and keys (default: a temporary one)"
    )
    options = parser.parse_args()

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    if options.work_dir:
        return _run(options.work_dir, options, stop)
    with tempfile.TemporaryDirectory(prefix="connector-sandbox-") as folder:
        return _run(Path(folder), options, stop)


def _run(work_dir: Path, options: argparse.Namespace, stop: threading.Event) -> int:
    # Imported with the signals already in hand: an interrupt while modules load is one like any other.
    from sandbox.supervisor import Interrupted, Sandbox

    sandbox = Sandbox(
        work_dir, home_port=options.port, workers=options.workers, cancelled=stop, progress=_say
    )
    try:
        sandbox.start()
        _say(f"READY {sandbox.ports.url('home')}/")
        stop.wait()
    except Interrupted:
        pass
    except (RuntimeError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        sandbox.stop()
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
