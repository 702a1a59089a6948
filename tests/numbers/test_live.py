"""A number bought and given back by the running app: its queue, its worker, the simulated Azure."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from connector import numbers, tenants
from connector.numbers import NumberInput, NumberOperation
from tests.running import Live
from tests.tenants import stamp


@pytest.fixture
def at_once(live: Live) -> Iterator[Live]:
    was, live.world.provisioning_s = live.world.provisioning_s, 0
    yield live
    live.world.provisioning_s = was


def over(live: Live, begun: NumberOperation) -> NumberOperation:
    last = time.monotonic() + 120
    while not (found := numbers.operation(live.scope(), begun.id)).over:
        assert time.monotonic() < last, found
        time.sleep(0.2)
    return found


def test_the_app_buys_and_gives_back(at_once: Live) -> None:
    scope = at_once.scope()
    bought = over(at_once, numbers.start(at_once.services, scope, NumberInput(), stamp.ACTOR))
    assert (bought.state, bought.code) == ("done", "")
    assert bought.number in {sender.value for sender in tenants.senders(scope)}
    number = bought.number or ""
    given_back = over(at_once, numbers.release(scope, number, number, stamp.ACTOR))
    assert (given_back.state, numbers.bought(scope)) == ("done", [])
    assert number not in {sender.value for sender in tenants.senders(scope)}
