"""One running sandbox for a whole run, and what a browser or an automation client does with the app in it."""

from __future__ import annotations

import base64
import html
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from azure.data.tables import TableClient, TableServiceClient, UpdateMode

from connector import bootstrap, settings
from connector.keys import JoinToken, Sealer
from connector.tenants import TenantScope
from sandbox import entra, entra_tokens, stamp
from sandbox.cast import HARBOR
from sandbox.cerner import appointments, powerchart
from sandbox.supervisor import Sandbox
from sandbox.world import REGIONS, World

__all__ = ["Browser", "Live", "Session", "live", "sandbox"]

GUEST = entra_tokens.HOME_TENANT
"""A tenant that the operator has listed, its own, with nothing in it: whoever uses it fills it."""
_OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory, count_storage: Callable[[int], None]) -> Iterator[Sandbox]:
    """Both hospitals configured, at 17:00 UTC: no visit of today falls on another day. What a test changes, it
    puts back. Without timers, which would text, count and store in the midst of any test; a test calls what they call,
    and the stories have them."""
    running = Sandbox(tmp_path_factory.mktemp("running") / "sandbox")
    now = running.world.now()
    wanted = now.replace(hour=17, minute=0)
    running.world.advance(wanted - now + timedelta(days=wanted < now))
    ports = running.world.ports
    listed = stamp.listed_bases(ports) | {GUEST: [ports.fhir_base(HARBOR.ehr_tenant)]}
    running.app_environment_overrides |= {"CONNECTOR_TENANTS": json.dumps(listed), "SANDBOX_TIMERS": "off"}
    with running:
        yield running
        count_storage(running.azurite.operations)


@pytest.fixture(scope="session")
def live(sandbox: Sandbox) -> Iterator[Live]:
    seen = Live(sandbox)
    yield seen
    for service in seen.tables.values():
        service.close()


@dataclass(frozen=True)
class Session:
    id: str
    bearer: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.bearer}"}


@dataclass(frozen=True)
class Launch:
    """A launch page as the browser got it: where it goes on, and the secret that it keeps."""

    authorize: str
    state: str
    secret: str


class Live:
    """The running sandbox as tests use it; `services` is a twin of the app over the same storage."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.world: World = sandbox.world
        self.app = sandbox.ports.url("app")
        self.ca = str(sandbox.work_dir / "certificates" / "bundle.pem")
        self.services = bootstrap.build(settings.load(sandbox.environment | sandbox.app_environment_overrides))
        self.tables = {
            region: TableServiceClient.from_connection_string(sandbox.azurite.connection_string(region))
            for region in REGIONS
        }

    # the app's own side

    def twin(self) -> bootstrap.Services:
        """Another process of the app as it runs now."""
        return bootstrap.build(settings.load({**self.sandbox.environment, **self.sandbox.app_environment_overrides}))

    def scope(self, hospital: str = "harbor") -> TenantScope:
        return self.services.directory.scope(self.world.hospitals[hospital].tid)

    def connection_id(self, hospital: str = "harbor") -> str:
        return self.world.registrations[hospital].connection

    def join_token(
        self, appointment_id: str, hospital: str = "harbor", sealer: Sealer | None = None, **changes: Any
    ) -> str:
        values = {"connection_id": self.connection_id(hospital), "appointment_id": appointment_id} | changes
        return JoinToken(**values).seal(sealer or self.sealer)

    def pick(self, appointment_id: str, hospital: str = "harbor") -> str:
        """How a page in the chart names a visit."""
        return JoinToken(self.connection_id(hospital), appointment_id).seal(self.sealer, "staff")

    @property
    def sealer(self) -> Sealer:
        return self.services.sealer

    def table(self, name: str, hospital: str = "harbor") -> TableClient:
        return self.tables[self.world.hospitals[hospital].region].get_table_client(name)

    def rows(self) -> Counter[tuple[str, str]]:
        """How many rows of each kind are stored, by table and first part of the key, without what scans write, the
        counts of how often a link did something, and the index keys, which their first use makes."""
        found: Counter[tuple[str, str]] = Counter()
        for service in self.tables.values():
            for table in service.list_tables():
                for row in service.get_table_client(table.name).list_entities(select=["RowKey"]):
                    kind = str(row["RowKey"]).partition(".")[0]
                    if (table.name != "Visits" or kind in ("o", "p")) and kind not in ("key", "join", "test", "speed"):
                        found[table.name, kind if table.name != "Directory" else ""] += 1
        return found

    @contextmanager
    def nothing_stored(self) -> Iterator[None]:
        """No kind of row grows."""
        before = self.rows()
        yield
        assert not self.rows() - before

    def expire(self, kind: str, hospital: str = "harbor") -> None:
        """Let every stored launch or visit session of a hospital be over."""
        partition = self.connection_id(hospital)
        table = self.table("Sessions", hospital)
        for row in table.query_entities("PartitionKey eq @p", parameters={"p": partition}):
            if row["RowKey"].startswith(kind):
                table.update_entity({**row, "expires": 1}, mode=UpdateMode.REPLACE)

    # the world's side

    @contextmanager
    def down(self, *vendors: str) -> Iterator[None]:
        """Every request of these vendors fails."""
        for vendor in vendors:
            self.world.add_fault(vendor, "500", 1_000_000)
        try:
            yield
        finally:
            with self.world.lock:
                self.world.faults.clear()

    @contextmanager
    def mischief(self, name: str) -> Iterator[None]:
        self.world.mischief.add(name)
        try:
            yield
        finally:
            self.world.mischief.discard(name)

    def book(self, patient: str, *, in_minutes: float = 0, hospital: str = "harbor", **more: Any) -> str:
        start = (self.world.now() + timedelta(minutes=in_minutes)).replace(second=0, microsecond=0)
        return appointments.book(self.world, hospital, patient, start=start, **more)

    def launch_url(self, hospital: str = "harbor", persona: Any = "provider", user: str | None = None,
                   patient: str | None = None) -> str:
        return powerchart.launch_url(self.world, hospital, persona, user, patient)

    # the API

    def token(self, hospital: str = "harbor", *, role: str = "Connector.Configure", tid: str = "",
              **claims: Any) -> str:
        """An access token for our API; `claims` replace those that Entra puts into it (None: left out)."""
        of = tid or self.world.hospitals[hospital].tid
        made = entra_tokens.app_token(self.world, of, entra.AUTOMATION_CLIENT_ID,
                                      entra_tokens.ENTRA_CLIENT_ID, [role] if role else [])
        body = made.split(".")[1]
        signed = json.loads(_unpadded(body)) | claims
        return entra_tokens.sign({name: value for name, value in signed.items() if value is not None})

    def api(self, method: str, path: str, body: Any = None, *, token: str | None = None, etag: str | None = None,
            data: bytes | None = None) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token() if token is None else token}"}
        if etag is not None:
            headers["If-Match"] = etag
        return requests.request(method, f"{self.app}/api/v1{path}", json=body, data=data, headers=headers, timeout=30)


class Browser:
    """Keeps the app's cookies by itself: the local host sends an empty `domain=`, at which requests drops them."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.cookies: dict[str, str] = {}

    def get(self, path: str, **more: Any) -> requests.Response:
        return self.send("GET", path, **more)

    def post(self, path: str, **more: Any) -> requests.Response:
        return self.send("POST", path, headers={**_OWN_PAGE, **more.pop("headers", {})}, **more)

    def send(self, method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any) -> requests.Response:
        url = path if "://" in path else self.live.app + path
        sent = dict(headers or {})
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = requests.request(method, url, headers=sent, allow_redirects=False, timeout=60, **more)
        for line in answer.raw.headers.getlist("Set-Cookie"):
            name, _, rest = line.partition("=")
            value = rest.partition(";")[0]
            self.cookies[name] = value
            if not value or "max-age=0" in line.lower():
                del self.cookies[name]
        return answer

    # SMART App Launch

    def begin(self, url: str) -> Launch:
        page = self.get(url)
        assert page.status_code == 200, page.text
        found = {name: html.unescape(re.findall(f'data-{name}="([^"]*)"', page.text)[0])
                 for name in ("authorize", "state", "secret")}
        return Launch(**found)

    def authorized(self, launch: Launch) -> dict[str, str]:
        """What the authorization server sent back to the callback, as its page posts it, with the page's secret."""
        answer = requests.get(launch.authorize, allow_redirects=False, timeout=30)
        given = {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["Location"]).query).items()}
        return given | {"secret": launch.secret}

    def finish(self, sent: Any, **headers: str) -> requests.Response:
        return self.post("/launch/callback", json=sent, headers=headers)

    def launch(self, hospital: str = "harbor", persona: str = "provider", user: str | None = None,
               patient: str | None = None) -> Session:
        begun = self.begin(self.live.launch_url(hospital, persona, user, patient))
        answer = self.finish(self.authorized(begun))
        assert answer.status_code == 200, answer.text
        return Session(answer.json()["session"], answer.json()["bearer"])

    def ask(self, method: str, session: Session, what: str, **more: Any) -> requests.Response:
        send = self.post if method == "POST" else self.get
        return send(f"/visits/{session.id}/{what}", headers=session.headers, **more)

    def visit(self, session: Session) -> str:
        """The visit page's content; of several visits today the first is chosen."""
        shown = self.ask("GET", session, "page")
        picks = re.findall('data-pick="([^"]+)"', shown.text)
        if picks:
            shown = self.ask("GET", session, f"page?pick={picks[0]}")
        assert shown.status_code == 200, shown.text
        return shown.text

    # Microsoft sign-in

    def microsoft(self, oid: str, path: str = "/portal/signin") -> str:
        """Begin a sign-in and choose an account; the address to which Microsoft sends the browser back."""
        begun = self.get(path)
        assert begun.status_code == 303, begun.text
        chosen = requests.get(begun.headers["Location"], params={"sandbox_user": oid}, allow_redirects=False,
                              verify=self.live.ca, timeout=30)
        return chosen.headers["Location"]

    def sign_in(self, oid: str) -> requests.Response:
        """To the portal."""
        return self.get(self.microsoft(oid, "/portal/signin"))

    def hand_off(self, session: Session) -> str:
        """The one-time address for the sign-in window."""
        return str(self.ask("POST", session, "handoff").json()["url"])

    def signed_in(self, oid: str, address: str) -> str:
        """The six digits that the sign-in window shows; this browser is the window."""
        shown = self.get(self.microsoft(oid, address))
        assert shown.status_code == 200, shown.text
        return "".join(re.findall(r"<span>(\d{3})</span>", shown.text))

    def link(self, oid: str, session: Session) -> requests.Response:
        """Link, or release, with a window of its own."""
        code = Browser(self.live).signed_in(oid, self.hand_off(session))
        return self.ask("POST", session, "link", json={"code": code})


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
