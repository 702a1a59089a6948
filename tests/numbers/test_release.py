"""Giving a number back: typed again, only one's own, never while a connection sends from it, and counted once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from connector import clock, numbers, tenants
from connector.errors import RefusedError
from connector.numbers import NumberOperation
from connector.tenants import SenderInput
from sandbox.world import World
from tests.numbers.conftest import Customer
from tests.numbers.test_kill import killed, steps_of
from tests.tenants import stamp


def give_back(customer: Customer, number: str | None, confirm: str | None = None) -> NumberOperation:
    return numbers.release(customer.scope, number or "", confirm or number or "", stamp.ACTOR)


def owned(world: World) -> list[str]:
    """Of what was bought."""
    return [number for number in world.owned_numbers.get("americas", {}) if number in world.purchases]


def test_a_number_is_given_back(customer: Customer, world: World) -> None:
    bought = customer.buy()
    begun = give_back(customer, bought.number, (bought.number or "").replace("+1", "+1 "))
    assert (begun.state, begun.action, begun.of) == ("releasing", "release", bought.id)
    assert tenants.senders(customer.scope) == []
    assert customer.look(begun, 2).state == "done" and owned(world) == []
    assert numbers.bought(customer.scope) == [] and numbers.allowance(customer.services, customer.scope) == (0, 1)
    assert stamp.audit(customer.scope)["number.released"] == 1
    with pytest.raises(RefusedError) as gone:
        give_back(customer, bought.number)
    assert (gone.value.code, gone.value.status) == ("numbers.unknown", 404)
    assert customer.buy().state == "done" and len(world.purchases) == 2


def test_it_must_be_typed_again(customer: Customer, world: World) -> None:
    bought = customer.buy()
    with pytest.raises(RefusedError) as refused:
        give_back(customer, bought.number, "+18332040128")
    assert refused.value.status == 422 and "confirm" in refused.value.details
    assert len(tenants.senders(customer.scope)) == 1 and owned(world)


def test_only_what_the_tenant_bought_here(
    customer: Customer, new_customer: Callable[..., Customer], world: World
) -> None:
    other = new_customer()
    theirs = other.buy()
    typed = SenderInput(kind="phone_number", value="+18332040199", label="By hand")
    tenants.add_sender(customer.scope, typed, stamp.ACTOR)
    for number in (theirs.number, "+18332040199", "nonsense"):
        with pytest.raises(RefusedError) as refused:
            give_back(customer, number)
        assert refused.value.code == "numbers.unknown", number
    assert owned(world)


def test_not_while_a_connection_sends_from_it(customer: Customer, world: World) -> None:
    bought = customer.buy()
    connection = stamp.connected(customer.services, customer.scope)
    tenants.link_sender(
        customer.scope, connection.value.id, connection.etag, bought.sender_id or "", stamp.ACTOR
    )
    with pytest.raises(RefusedError) as refused:
        give_back(customer, bought.number)
    assert (refused.value.code, refused.value.status) == ("sender.linked", 409)
    assert owned(world)


def test_one_thing_at_a_time(new_customer: Callable[..., Customer], world: World) -> None:
    customer = new_customer(CONNECTOR_NUMBERS_PER_TENANT="2")
    bought = customer.buy()
    buying = customer.start()
    with pytest.raises(RefusedError) as refused:
        give_back(customer, bought.number)
    assert refused.value.code == "numbers.busy" and len(tenants.senders(customer.scope)) == 1
    customer.look(buying, 3)
    begun = give_back(customer, bought.number)
    assert give_back(customer, bought.number).id == begun.id, "asked twice"
    with pytest.raises(RefusedError) as refused:
        customer.start()
    assert refused.value.code == "numbers.busy"


def test_acs_that_does_not_take_it_back(
    customer: Customer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bought = customer.buy()
    begun = give_back(customer, bought.number)
    world.add_fault("acs", "500", 1)
    assert customer.look(begun).code == "waiting"
    real = customer.services.numbers(customer.scope.region)
    monkeypatch.setattr(real, "release", lambda number: None)
    assert customer.look(begun).state == "releasing"
    now = clock.now() + timedelta(days=1, minutes=1)
    monkeypatch.setattr(clock, "now", lambda: now)
    failed = customer.look(begun)
    assert (failed.state, failed.code) == ("failed", "not_released") and "still paid for" in failed.what
    monkeypatch.undo()
    assert numbers.allowance(customer.services, customer.scope) == (1, 1), "still held"
    assert customer.look(give_back(customer, bought.number), 2).state == "done" and owned(world) == []


def test_a_worker_dies_at_each_step_of_a_release(
    new_customer: Callable[..., Customer], world: World
) -> None:
    def run(customer: Customer) -> None:
        bought = numbers.bought(customer.scope)[0]
        customer.look(give_back(customer, bought.number), 2)

    first = new_customer()
    first.buy()
    steps = steps_of(first, run)
    for number in range(steps - 1):
        world.reset()
        world.provisioning_s = 0
        customer = new_customer()
        customer.buy()
        killed(customer, number, run)
        if held := numbers.bought(customer.scope):
            customer.look(give_back(customer, held[0].number), 3)
        assert owned(world) == [] and tenants.senders(customer.scope) == [], number
        assert numbers.allowance(customer.services, customer.scope) == (0, 1), number
