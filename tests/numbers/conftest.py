"""A tenant that has given its consents, at a simulated Communication Services resource where time is short."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connector import bootstrap, numbers, tenants
from connector.numbers import NumberInput, NumberOperation, work
from connector.regions import Region
from connector.tenants import TenantScope
from sandbox.acs import ACS_KEYS
from sandbox.azurite import Azurite
from sandbox.world import World
from tests.adapters import simulated
from tests.tenants import stamp

FAR = datetime(2999, 1, 1, tzinfo=UTC)
DAYS = itertools.count()


@dataclass(frozen=True)
class Customer:
    services: bootstrap.Services
    scope: TenantScope
    world: World

    def start(self, **wanted: Any) -> NumberOperation:
        return numbers.start(self.services, self.scope, NumberInput(**wanted), stamp.ACTOR)

    def look(self, operation: NumberOperation, times: int = 1) -> NumberOperation:
        """What a worker does with a hint, as if every wait were over; the operation after it."""
        for _ in range(times):
            at = FAR + timedelta(days=next(DAYS))
            work.look(self.services, self.scope, operation.id, real=lambda at=at: at)
        return numbers.operation(self.scope, operation.id)

    def buy(self, **wanted: Any) -> NumberOperation:
        return self.look(self.start(**wanted), 4)


@pytest.fixture(scope="package")
def vendors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with simulated.vendors(tmp_path_factory.mktemp("numbers")) as world:
        yield world


@pytest.fixture
def world(vendors: World) -> Iterator[World]:
    vendors.reset()
    vendors.provisioning_s = 0
    yield vendors
    vendors.mischief.clear()


@pytest.fixture
def new_customer(azurite: Azurite, world: World) -> Callable[..., Customer]:
    def made(*, consented: bool = True, **settings: str) -> Customer:
        tenant_id = stamp.tenant_id()
        resource = {
            "AMERICAS_COMMUNICATION_ENDPOINT": world.ports.url("acs_americas"),
            "AMERICAS_COMMUNICATION_KEY": ACS_KEYS["americas"],
        }
        services = stamp.build(azurite, tenant_id, **(resource | settings))
        scope = services.directory.pin(tenant_id, Region.AMERICAS)
        if consented:
            versions = {kind: text.version for kind, text in tenants.CONSENTS.items()}
            tenants.give_consents(scope, versions, stamp.ACTOR)
        return Customer(services, scope, world)

    return made


@pytest.fixture
def customer(new_customer: Callable[..., Customer]) -> Customer:
    return new_customer()
