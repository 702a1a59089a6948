"""A worker is killed after each single step towards storage, queue or Azure: never two numbers, never none.

Replaced: the worker's storage, queue and Azure client, each by one that passes every call on until the worker dies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from connector import numbers, tenants
from sandbox.world import World
from tests.numbers.conftest import Customer


class Killed(BaseException):
    """The process is gone: nobody catches this."""


class Life:
    """Counts a worker's steps and ends it at one."""

    def __init__(self, ends_at: int = -1, *, carried_out: bool = False) -> None:
        self.steps: list[str] = []
        self._ends_at, self._carried_out = ends_at, carried_out

    def step(self, name: str, call: Callable[..., Any], *given: Any, **named: Any) -> Any:
        number = len(self.steps)
        self.steps.append(name)
        if number != self._ends_at:
            return call(*given, **named)
        if self._carried_out:
            answer = call(*given, **named)
            if hasattr(answer, "__next__"):
                list(answer)
        raise Killed

    def over(self, customer: Customer) -> Customer:
        acs = _Mortal(self, customer.services.numbers(customer.scope.region))
        scope = replace(
            customer.scope, tables=_Mortal(self, customer.scope.tables), queues=_Mortal(self, customer.scope.queues)
        )
        return replace(customer, scope=scope, services=replace(customer.services, numbers=lambda _: acs))


class _Mortal:
    def __init__(self, life: Life, real: Any) -> None:
        self._life, self._real = life, real

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if not callable(found):
            return found
        return lambda *given, **named: self._life.step(name, found, *given, **named)


def steps_of(customer: Customer, run: Callable[[Customer], Any]) -> int:
    life = Life()
    run(life.over(customer))
    return len(life.steps)


def killed(customer: Customer, number: int, run: Callable[[Customer], Any]) -> None:
    """Dead after a step was carried out, which is also before the next."""
    with pytest.raises(Killed):
        run(Life(number, carried_out=True).over(customer))


def work(customer: Customer) -> None:
    """One worker from the first hint to the end."""
    customer.look(numbers.operations(customer.scope)[0], 3)


def test_a_worker_dies_at_each_step_of_a_purchase(
    new_customer: Callable[..., Customer], world: World
) -> None:
    first = new_customer()
    first.start()
    steps = steps_of(first, work)
    assert steps > 20 and len(world.purchases) == 1
    for number in range(steps - 1):  # the last is reading the result
        world.reset()
        world.provisioning_s = 0
        customer = new_customer()
        begun = customer.start()
        killed(customer, number, work)
        done = customer.look(begun, 4)
        assert (done.state, len(world.purchases)) == ("done", 1), number
        sender = tenants.senders(customer.scope)
        assert [one.value for one in sender] == [done.number] and done.sender_id == sender[0].id, number
        assert numbers.allowance(customer.services, customer.scope) == (1, 1), number


def test_the_click_dies_at_each_step(new_customer: Callable[..., Customer], world: World) -> None:
    steps = steps_of(new_customer(), Customer.start)
    for number in range(steps):
        world.reset()
        world.provisioning_s = 0
        customer = new_customer()
        killed(customer, number, Customer.start)
        assert customer.look(customer.start(), 4).state == "done" and len(world.purchases) == 1, number
        assert len(numbers.operations(customer.scope)) == 1, number


def test_a_second_worker_is_killed_as_well(new_customer: Callable[..., Customer], world: World) -> None:
    for number in range(3, 15, 2):
        world.reset()
        world.provisioning_s = 0
        customer = new_customer()
        begun = customer.start()
        for carried_out in (True, False, True):
            life = Life(number, carried_out=carried_out)
            try:
                work(life.over(customer))
            except Killed:
                continue
        assert customer.look(begun, 4).state == "done" and len(world.purchases) == 1, number
