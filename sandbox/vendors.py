"""Serves every simulated vendor on its own loopback port, in threads of this process."""

from __future__ import annotations

import ssl
import threading
from typing import Any

from flask import Flask
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from sandbox import acs, entra, graph, home, teams
from sandbox.cerner import authorization, fhir
from sandbox.world import REGIONS, Ports, World


class _Handler(WSGIRequestHandler):
    """Logs nothing, for paths hold the cast's ids, and answers without Nagle's delay."""

    disable_nagle_algorithm = True

    def log(self, type: str, message: str, *args: Any) -> None:
        """Say nothing."""


def serve(world: World, ports: Ports, tls: ssl.SSLContext) -> list[BaseWSGIServer]:
    """Start every vendor; each server's `shutdown` ends it. `tls` is Entra's: MSAL insists on https."""
    apps: dict[str, Flask] = {
        "home": home.create_app(world),
        "cerner": fhir.create_app(world, "provider"),
        "myrecord": fhir.create_app(world, "patient"),
        "authorization": authorization.create_app(world),
        "entra": entra.create_app(world),
        "graph": graph.create_app(world),
        "teams": teams.create_app(world),
        **{f"acs_{region}": acs.create_app(world, region) for region in REGIONS},
    }
    return [_start(app, getattr(ports, name), tls if name == "entra" else None) for name, app in apps.items()]


def _start(app: Flask, port: int, tls: ssl.SSLContext | None) -> BaseWSGIServer:
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=_Handler)
    if tls:
        # The handshake belongs to the connection's own thread: a client that connects and says nothing must
        # not keep the next one from being accepted.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.ssl_context = tls
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    return server
