"""The simulated Microsoft services on free loopback ports, for tests that talk to them as the app does."""

from __future__ import annotations

import dataclasses
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from werkzeug.serving import make_server

from sandbox import acs, certificates, entra, graph, teams
from sandbox.cast import HOSPITALS
from sandbox.ports import free_ports
from sandbox.world import REGIONS, Ports, World


@dataclasses.dataclass(frozen=True)
class Served:
    """A world with Entra, Graph, Teams and three Communication resources listening."""

    world: World
    ca: str

    def url(self, name: str) -> str:
        return self.world.ports.url(name)


@contextmanager
def serve(folder: Path) -> Iterator[Served]:
    ports = Ports(*free_ports(len(dataclasses.fields(Ports))))
    world = World(HOSPITALS, ports, folder / "clock")
    made = certificates.make(folder / "certificates")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(made.cert, made.key)
    apps = {
        "entra": entra.create_app(world),
        "graph": graph.create_app(world),
        "teams": teams.create_app(world),
        **{f"acs_{region}": acs.create_app(world, region) for region in REGIONS},
    }
    servers = []
    for name, app in apps.items():
        context = tls if name == "entra" else None
        server = make_server("127.0.0.1", getattr(ports, name), app, threaded=True, ssl_context=context)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        servers.append(server)
    try:
        yield Served(world, str(made.ca))
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
