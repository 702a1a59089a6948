"""The simulated Entra, Graph and Communication Services on loopback, and settings that point at them."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from werkzeug.serving import WSGIRequestHandler, make_server

from connector.adapters.entra import Entra
from connector.settings import Settings, load
from sandbox import acs, certificates, entra, graph
from sandbox.cast import HARBOR, HOSPITALS
from sandbox.entra_tokens import ENTRA_CLIENT_ID
from sandbox.ports import free_ports
from sandbox.world import EntraUser, Ports, World

KEY = "A" * 43


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def vendors(folder: Path) -> Iterator[World]:
    """The running vendors' world, with the environment that makes their certificate trusted."""
    made = certificates.make(folder / "certificates")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(made.cert, made.key)
    ports = Ports(*free_ports(len(fields(Ports))))
    world = World(HOSPITALS, ports, folder / "clock")
    apps = {
        "entra": (entra.create_app(world), tls),
        "graph": (graph.create_app(world), None),
        "acs_americas": (acs.create_app(world, "americas"), None),
        "acs_emea": (acs.create_app(world, "emea"), None),
    }
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as running:
        patch.setenv("REQUESTS_CA_BUNDLE", str(made.bundle))
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setenv("no_proxy", "127.0.0.1")
        for name, (app, context) in apps.items():
            server = make_server(
                "127.0.0.1", getattr(ports, name), app, threaded=True, ssl_context=context, request_handler=_Quiet
            )
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
            running.callback(server.server_close)
            running.callback(server.shutdown)
        yield world


def settings(world: World, **changes: str) -> Settings:
    """Settings of a sandbox stamp over these vendors; a change to "" unsets."""
    environment = {
        "CONNECTOR_ENVIRONMENT": "sandbox",
        "CONNECTOR_PUBLIC_URL": world.ports.url("app"),
        "CONNECTOR_REGIONS": "americas",
        "CONNECTOR_TENANTS": json.dumps({HARBOR.tid: [world.ports.fhir_base(HARBOR.ehr_tenant)]}),
        "CONNECTOR_SEALING_KEYS": f"sandbox-s:{KEY}",
        "CONNECTOR_WRAPPING_KEYS": f"sandbox-w:{KEY}",
        "AMERICAS_STORAGE": "UseDevelopmentStorage=true",
        "ENTRA_AUTHORITY": world.ports.url("entra"),
        "ENTRA_CLIENT_ID": ENTRA_CLIENT_ID,
        "ENTRA_CLIENT_SECRET": entra.ENTRA_CLIENT_SECRET,
        "GRAPH_URL": world.ports.url("graph"),
        "SMART_PROVIDER_CLIENT_ID": "provider",
        "SMART_PATIENT_CLIENT_ID": "patient",
        "SMART_SYSTEM_CLIENT_ID": "system",
    }
    return load(environment | changes)


def without_waiting(client: object) -> list[float]:
    """Make a client's retries immediate; the list fills with the seconds that it would have waited."""
    waits: list[float] = []
    client._http._pause = waits.append  # type: ignore[attr-defined]
    return waits


def answer_of(world: World, app: Entra, user: EntraUser | None) -> tuple[dict[str, object], dict[str, str]]:
    """The flow of a new sign-in, kept as JSON, and what Entra sends back when `user` (None: nobody) signs in."""
    url, flow = app.begin_sign_in(f"{world.ports.url('app')}/signin/callback")
    chosen = f"{url}&sandbox_user={user.oid if user else 'none'}"
    location = requests.get(chosen, allow_redirects=False, timeout=30).headers["Location"]
    return json.loads(json.dumps(flow)), dict(parse_qsl(urlsplit(location).query))
