"""`python -m bench.launch`: what one warm provider launch costs, from the chart's link to the visit page's content.

Starts a whole sandbox and plays the launch as a browser does: launch page, authorize, callback, content with the
bearer. Prints one JSON line:
`upstream_calls` that the app makes (all vendors; the browser's own authorize is not one; median),
`serial_depth`, how many of them wait for one another: (time with a latency per call - time without) / latency,
`own_ms_p50`, what the app takes on top of that, and `upstream_latency_ms`, the latency that was injected;
`page_bytes`, of the visit page with its scripts and style, first loaded outside a frame, and of an open page while
nothing happens `requests_per_minute` and `bytes_per_minute` (heads and bodies, both ways).
Exit code 1 unless upstream_calls <= 4 and serial_depth <= 3.
"""

import html
import json
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import requests

from sandbox.cerner import powerchart
from sandbox.supervisor import Sandbox

LAUNCHES = 15
LATENCY_S = 0.2
MAX_CALLS, MAX_DEPTH = 4, 3
_BROWSERS_OWN = ("authorization", "authorize")


class Launch(NamedTuple):
    calls: int
    seconds: float
    """In the app's answers alone."""
    page: str
    """Address of the visit page."""
    bearer: dict[str, str]


class Browser:
    """Plays provider launches one after the other, each in a fresh session."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._world = sandbox.world
        self._app = sandbox.ports.url("app")
        self._hospital = sandbox.world.hospitals["harbor"]

    def launch(self) -> Launch:
        hospital, before, self._taken = self._hospital, self._calls(), 0.0
        clinician, patient = hospital.clinicians[0].key, hospital.patients[0].key
        opened_by_chart = powerchart.launch_url(self._world, hospital.key, "provider", clinician, patient)
        with requests.Session() as session:
            session.trust_env = False  # no proxy stands before loopback
            session.headers["Sec-Fetch-Site"] = "same-origin"
            shown = self._timed(session, "GET", opened_by_chart).text
            data = {name: html.unescape(value) for name, value in re.findall(r'data-(\w+)="([^"]*)"', shown)}
            callback = session.get(data["authorize"], allow_redirects=False).headers["Location"]
            self._timed(session, "GET", callback)
            given = {name: values[0] for name, values in parse_qs(urlsplit(callback).query).items()}
            body = {"code": given["code"], "state": given["state"], "secret": data["secret"]}
            opened = self._timed(session, "POST", f"{self._app}/launch/callback", json=body).json()
            bearer = {"Authorization": f"Bearer {opened['bearer']}"}
            page = f"{self._app}/visits/{opened['session']}"
            self._timed(session, "GET", page)
            content = self._timed(session, "GET", f"{page}/page", headers=bearer).text
        if 'aria-label="Patient"' not in content or "eyebrow" not in content:
            raise RuntimeError("the launch shows no visit of the patient")
        return Launch(self._calls() - before, self._taken, page, bearer)

    def _timed(self, session: requests.Session, method: str, url: str, **given: object) -> requests.Response:
        began = time.perf_counter()
        answer = session.request(method, url, timeout=60, **given)  # type: ignore[arg-type]
        self._taken += time.perf_counter() - began
        answer.raise_for_status()
        return answer

    def _calls(self) -> int:
        with self._world.lock:
            counted = self._world.requests
            return sum(count for operation, count in counted.items() if operation != _BROWSERS_OWN)


def idle(launched: Launch) -> dict[str, float]:
    """What the open page costs, asked as its script asks."""
    app = launched.page.partition("/visits/")[0]
    with requests.Session() as session:
        session.trust_env = False
        shell, content = session.get(launched.page), session.get(f"{launched.page}/page", headers=launched.bearer)
        loaded, names = len(shell.content) + len(content.content), set(re.findall(r"/static/[\w.-]+", shell.text))
        for name in (known := list(names)):
            body = session.get(app + name)
            loaded += len(body.content)
            imported = set(re.findall(r'from "(/static/[\w.-]+)"', body.text))
            known += imported - set(known)
        first = session.get(f"{launched.page}/status", headers=launched.bearer)
        again = session.get(
            f"{launched.page}/status", headers={**launched.bearer, "If-None-Match": first.headers["ETag"]}
        )
    if again.status_code != 304:
        raise RuntimeError("a status that did not change was sent again")
    heads = [*again.request.headers.items(), *again.headers.items()]
    each = sum(len(name) + len(value) + 4 for name, value in heads) + len(again.request.path_url) + len(again.content)
    waiting = (Path(__file__).parent.parent / "connector" / "static" / "waiting.js").read_text(encoding="utf-8")
    often = 60_000 / int(re.findall(r"SHOWN_MS = (\d+)", waiting)[0])
    return {"page_bytes": loaded, "requests_per_minute": often, "bytes_per_minute": round(often * each)}


def measure(sandbox: Sandbox) -> dict[str, float]:
    browser = Browser(sandbox)
    opened = idle(browser.launch())
    fast = [browser.launch() for _ in range(LAUNCHES)]
    sandbox.world.latency_s = dict.fromkeys(("authorization", "cerner", "entra", "graph"), LATENCY_S)
    slow = [browser.launch() for _ in range(LAUNCHES)]
    without, with_latency = (statistics.median(one.seconds for one in runs) for runs in (fast, slow))
    depth = round((with_latency - without) / LATENCY_S)
    return {
        "upstream_calls": statistics.median_high(one.calls for one in fast + slow),
        "serial_depth": depth,
        "own_ms_p50": round((with_latency - depth * LATENCY_S) * 1000, 1),
        "upstream_latency_ms": round(LATENCY_S * 1000),
        **opened,
    }


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, Sandbox(Path(folder)) as sandbox:
        figures = measure(sandbox)
    print(json.dumps(figures))
    return 0 if figures["upstream_calls"] <= MAX_CALLS and figures["serial_depth"] <= MAX_DEPTH else 1


if __name__ == "__main__":
    sys.exit(main())
