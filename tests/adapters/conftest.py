"""Cerner and its like for the adapter tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from connector.adapters.cerner import (
    Cerner,
)
from connector.adapters.http import OutgoingHttp, OutgoingPolicy
from tests.adapters.cerner_world import OtherServer, Simulated
from tests.adapters.serving import listening


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    with ExitStack() as running:
        yield Simulated(tmp_path_factory.mktemp("cerner"), running)


@pytest.fixture
def simulated(started: Simulated) -> Simulated:
    started.reset()
    return started


@pytest.fixture
def http() -> OutgoingHttp:
    return OutgoingHttp(OutgoingPolicy(loopback_http=True), pause=lambda _: None)


@pytest.fixture
def cerner(http: OutgoingHttp) -> Cerner:
    return Cerner(http)


@pytest.fixture
def other() -> Iterator[OtherServer]:
    server = OtherServer()
    with listening(server.app) as port:
        server.url = f"http://127.0.0.1:{port}"
        yield server
