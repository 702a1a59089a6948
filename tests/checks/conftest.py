"""A tenant of its own for each test, over a simulated Cerner or a server that is whatever a test makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest

from connector import bootstrap
from connector.adapters.cerner import Cerner
from connector.adapters.entra import Entra
from connector.adapters.graph import Graph
from connector.adapters.graph_directory import GraphDirectory
from connector.adapters.graph_http import GraphHttp
from connector.adapters.http import OutgoingHttp, OutgoingPolicy
from connector.ehr_access import EhrAccess
from connector.regions import Region
from connector.tenants import TenantScope
from sandbox.azurite import Azurite
from sandbox.cast import HARBOR
from sandbox.cerner import clients
from sandbox.world import World
from tests.adapters import simulated as microsoft
from tests.adapters.cerner_world import OtherServer, Simulated
from tests.adapters.serving import listening
from tests.tenants import stamp

CREDENTIALS = {
    "SMART_SYSTEM_CLIENT_ID": clients.SMART_SYSTEM_CLIENT_ID,
    "SMART_SYSTEM_CLIENT_SECRET": clients.SMART_SYSTEM_SECRET,
}


@dataclass(frozen=True)
class Tenant:
    services: bootstrap.Services
    scope: TenantScope

    def asking(self, policy: OutgoingPolicy | None = None, **http: Any) -> Tenant:
        """The same with an outgoing adapter that a test sets up; it never waits between tries."""
        ready = OutgoingHttp(policy or OutgoingPolicy(loopback_http=True), pause=lambda _: None, **http)
        return replace(self, services=replace(self.services, ehr=EhrAccess(self.services.settings, Cerner(ready))))


@pytest.fixture
def new_tenant(azurite: Azurite) -> Callable[..., Tenant]:
    """A tenant for whom the operator has listed every base, or the named ones."""

    def made(**settings: str) -> Tenant:
        tenant_id = stamp.tenant_id()
        listed = {"CONNECTOR_TENANTS": f'{{"{tenant_id}": ["*"]}}'}
        services = stamp.build(azurite, tenant_id, **(listed | CREDENTIALS | settings))
        return Tenant(services, services.directory.pin(tenant_id, Region.AMERICAS)).asking()

    return made


@pytest.fixture
def tenant(new_tenant: Callable[..., Tenant]) -> Tenant:
    return new_tenant()


@pytest.fixture(scope="package")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    with ExitStack() as running:
        yield Simulated(tmp_path_factory.mktemp("cerner"), running)


@pytest.fixture
def simulated(started: Simulated) -> Simulated:
    started.reset()
    return started


@pytest.fixture(scope="package")
def served() -> Iterator[OtherServer]:
    server = OtherServer()
    with listening(server.app) as port:
        server.url = f"http://127.0.0.1:{port}"
        yield server


@pytest.fixture
def other(served: OtherServer) -> OtherServer:
    served.answers.clear()
    served.asked.clear()
    return served


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with microsoft.vendors(tmp_path_factory.mktemp("microsoft")) as world:
        yield world


@pytest.fixture
def world(running: World) -> World:
    running.reset()
    return running


@pytest.fixture
def ready(world: World, tenant: Tenant) -> tuple[bootstrap.Services, TenantScope]:
    """The stamp's own services, in Harbor's Microsoft tenant."""
    return at_harbor(world, tenant.services), replace(tenant.scope, tenant_id=HARBOR.tid)


def at_harbor(world: World, services: bootstrap.Services) -> bootstrap.Services:
    """The same services over simulated Entra and Graph; retries wait for nothing."""
    entra = Entra(microsoft.settings(world))
    http = GraphHttp(world.ports.url("graph"), lambda _: entra.app_token(HARBOR.tid))
    http._http._pause = lambda _: None
    entra._http._pause = lambda _: None
    return replace(services, entra=entra, graph=Graph(http), graph_directory=GraphDirectory(http))
