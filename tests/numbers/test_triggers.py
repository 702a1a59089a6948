"""The sweep hints for what was forgotten, and for nothing else; a hint of a stranger does nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connector import numbers, tenants
from connector.errors import PermanentError
from connector.numbers import orders, triggers, work
from connector.regions import Region
from sandbox.world import World
from tests.numbers.conftest import Customer


@pytest.fixture
def hints(customer: Customer, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What is put on the queue."""
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(
        type(customer.scope.queues), "send",
        lambda self, queue, hint, delay_s=0: sent.append({"queue": queue, "delay": delay_s} | hint),
    )  # fmt: skip
    yield sent


def worker(customer: Customer, region: Region = Region.AMERICAS) -> Callable[..., None]:
    """The queue function as it is registered."""
    made = triggers.blueprint(lambda: customer.services, [region])
    functions = {built.get_function_name(): built.get_user_function()
                 for built in (builder.build() for builder in made._function_builders)}  # fmt: skip
    found: Callable[..., None] = functions[f"numbers_work_{region}"]
    return found


class Message:
    def __init__(self, text: str) -> None:
        self._text = text

    def get_body(self) -> bytes:
        return self._text.encode()


def test_a_hint_is_given_at_the_start_and_at_each_look(
    customer: Customer, world: World, hints: list[dict[str, Any]]
) -> None:
    world.provisioning_s = 60
    begun = customer.start()
    customer.look(begun)
    world.add_fault("acs", "429", 1)
    customer.look(begun)
    mine = {"queue": "numbers-americas", "tenant": customer.scope.tenant_id, "operation": begun.id}
    assert hints == [mine | {"delay": 0}, mine | {"delay": work.LOOK_S}, mine | {"delay": work.TROUBLE_S}]
    world.advance(timedelta(minutes=1))
    customer.look(begun)
    assert len(hints) == 3, "nothing more when it is done"


def forget(customer: Customer, operation: numbers.NumberOperation) -> None:
    """As if its worker had died half a minute ago."""
    order = orders.read(customer.scope, operation.id)
    assert order
    past = replace(order, next_look=datetime.now(UTC) - orders.LATE - timedelta(seconds=1))
    customer.scope.tables.update(tenants.CONFIGURATION, past.row(customer.scope))


@pytest.mark.parametrize("by", [
    lambda customer, begun: triggers.sweep(customer.scope),
    lambda customer, begun: numbers.operation(customer.scope, begun.id),
], ids=["the sweep", "whoever follows it"])
def test_what_was_forgotten_is_woken(
    customer: Customer, hints: list[dict[str, Any]], by: Callable[[Customer, numbers.NumberOperation], Any]
) -> None:
    triggers.sweep(customer.scope)
    assert hints == []
    customer.world.provisioning_s = 60
    begun = customer.start()
    hints.clear()
    by(customer, begun)
    assert hints == [], "it has its hint"
    forget(customer, begun)
    by(customer, begun)
    assert [hint["operation"] for hint in hints] == [begun.id]
    work.look(customer.services, customer.scope, begun.id)
    hints.clear()
    by(customer, begun)
    assert hints == [], "it was looked at a moment ago"
    customer.world.advance(timedelta(minutes=1))
    customer.look(begun)
    forget(customer, begun)
    by(customer, begun)
    assert hints == [], "done"


def test_the_worker_takes_hints_of_its_own_region(customer: Customer, hints: list[dict[str, Any]]) -> None:
    begun = customer.start()
    given = f'{{"tenant": "{customer.scope.tenant_id}", "operation": "{begun.id}"}}'
    with pytest.raises(PermanentError, match=r"tenant.other_region"):
        worker(customer, Region.EMEA)(Message(given))
    worker(customer)(Message(given.replace(customer.scope.tenant_id, "nobody")))
    assert customer.look(begun, 0).state == "searching"
    worker(customer)(Message(given))
    assert customer.look(begun, 0).state == "purchasing"
