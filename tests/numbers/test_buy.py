"""Buying a number: every outcome is a named state, and a number that was paid for is never called failed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from connector import clock, numbers, tenants
from connector.errors import RefusedError
from connector.numbers import work
from connector.numbers.texts import CODES, STATES
from connector.tenants import SenderInput
from sandbox.world import World
from tests.numbers.conftest import Customer
from tests.tenants import stamp

FIRST = "+18332040117"


def code_of(refused: pytest.ExceptionInfo[RefusedError]) -> tuple[str, int]:
    return refused.value.code, refused.value.status


def test_a_number_from_the_click_to_the_sender(customer: Customer, world: World) -> None:
    world.provisioning_s = 90
    begun = customer.start(label="Front desk")
    assert (begun.state, begun.what, begun.over) == ("searching", STATES["searching"].what, False)
    waiting = customer.look(begun)
    assert (waiting.state, waiting.number, waiting.monthly_cost) == ("purchasing", FIRST, "2.00 USD")
    assert customer.look(begun, 3).state == "purchasing" and not world.purchases
    world.advance(timedelta(seconds=90))
    done = customer.look(begun)
    assert (done.state, done.over, done.code) == ("done", True, "")
    sender = tenants.sender(customer.scope, done.sender_id or "")
    assert sender is not None and (sender.value, sender.label) == (FIRST, "Front desk")
    assert sender.verification is not None and sender.verification.state == "unverified"
    assert numbers.bought(customer.scope) == [done] and numbers.allowance(customer.services, customer.scope) == (1, 1)
    assert stamp.audit(customer.scope)["number.ordered"] == stamp.audit(customer.scope)["number.bought"] == 1
    assert customer.look(begun, 3) == done and world.purchases == [FIRST[1:]]


def test_what_it_costs(customer: Customer, world: World) -> None:
    begun = customer.start()
    world.requests.clear()
    assert customer.look(begun, 2).state == "done"
    assert dict(world.requests) == {
        ("acs", "browse_numbers"): 1, ("acs", "number_reservation"): 4, ("acs", "purchase_numbers"): 1,
        ("acs", "owned_number"): 1,
    }  # fmt: skip


def test_two_clicks_and_two_admins_buy_one_number(customer: Customer, world: World) -> None:
    found = stamp.race([customer.start] * 4)
    begun = [one for one in found if not isinstance(one, Exception)]
    assert len(begun) == 4 and len({one.id for one in begun}) == 1
    stamp.race([lambda: customer.look(begun[0], 6)] * 3)
    assert customer.look(begun[0], 3).state == "done" and len(world.purchases) == 1
    assert len(tenants.senders(customer.scope)) == 1


def test_another_tenants_operation_is_unknown(customer: Customer, new_customer: Callable[..., Customer]) -> None:
    begun, other = customer.start(), new_customer()
    with pytest.raises(RefusedError) as refused:
        numbers.operation(other.scope, begun.id)
    assert code_of(refused) == ("numbers.unknown", 404)
    assert numbers.operations(other.scope) == []


# what may not begin


def test_without_consents_nothing_begins(new_customer: Callable[..., Customer], world: World) -> None:
    with pytest.raises(RefusedError) as refused:
        new_customer(consented=False).start()
    assert code_of(refused) == ("consent.missing", 422) and not world.requests


@pytest.mark.parametrize(("settings", "code"), [
    ({"CONNECTOR_NUMBERS_PER_TENANT": "0"}, "numbers.switched_off"),
    ({"AMERICAS_COMMUNICATION_ENDPOINT": "", "AMERICAS_COMMUNICATION_KEY": ""}, "numbers.not_configured"),
])  # fmt: skip
def test_what_the_operator_has_not_set_up(
    new_customer: Callable[..., Customer], settings: dict[str, str], code: str
) -> None:
    with pytest.raises(RefusedError) as refused:
        new_customer(**settings).start()
    assert code_of(refused) == (code, 409)


def test_the_operators_allowance(new_customer: Callable[..., Customer], world: World) -> None:
    customer = new_customer(CONNECTOR_NUMBERS_PER_TENANT="2")
    assert [customer.buy().state, customer.buy().state] == ["done", "done"] and len(set(world.purchases)) == 2
    with pytest.raises(RefusedError) as refused:
        customer.start()
    assert code_of(refused) == ("numbers.held", 409) and "holds 2 of the 2" in str(refused.value.message)


def test_five_tries_a_week(customer: Customer, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.mischief.add("numbers_out_of_stock")
    for _ in range(5):
        assert customer.buy().code == "no_stock"
    with pytest.raises(RefusedError) as refused:
        customer.start()
    assert code_of(refused) == ("numbers.too_often", 409)
    now = clock.now() + timedelta(days=7, minutes=1)
    monkeypatch.setattr(clock, "now", lambda: now)
    assert customer.buy().code == "no_stock"


# how it can end


@pytest.mark.parametrize(("mischief", "code", "who"), [
    ("numbers_out_of_stock", "no_stock", "you"), ("numbers_taken", "no_stock", "you"),
    ("numbers_quota", "microsoft_quota", "operator"), ("numbers_refused", "refused", "operator"),
    ("numbers_purchase_fails", "purchase_failed", "you"),
])  # fmt: skip
def test_each_failure_is_a_named_state(customer: Customer, world: World, mischief: str, code: str, who: str) -> None:
    world.mischief.add(mischief)
    failed = customer.buy()
    assert (failed.state, failed.code, failed.who) == ("failed", code, who)
    assert failed.what == CODES[code].what and failed.fix and failed.over
    assert not world.purchases and tenants.senders(customer.scope) == []
    world.mischief.clear()
    assert numbers.allowance(customer.services, customer.scope) == (0, 1)
    assert customer.buy().state == "done", "the next may begin at once"


def test_a_kind_that_is_not_sold_and_an_area_code(customer: Customer) -> None:
    assert customer.buy(country="NO", kind="mobile").code == "no_stock"
    assert customer.buy(kind="geographic", area_code="907").code == "no_stock"
    done = customer.buy(kind="geographic", area_code="425")
    assert (done.state, done.number) == ("done", "+14252040117")
    assert tenants.senders(customer.scope)[0].verification is None


def test_a_wrong_key_is_the_operators_matter(new_customer: Callable[..., Customer]) -> None:
    failed = new_customer(AMERICAS_COMMUNICATION_KEY="d3Jvbmc=").buy()
    assert (failed.code, failed.who) == ("not_allowed", "operator")


def test_acs_down_is_waited_for_and_given_up_after_an_hour(
    customer: Customer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = customer.start()
    world.add_fault("acs", "500", 2)
    waiting = customer.look(begun)
    assert (waiting.state, waiting.code, waiting.what) == ("searching", "waiting", CODES["waiting"].what)
    world.add_fault("acs", "429", 1)
    assert customer.look(begun).code == "waiting"
    now = clock.now() + timedelta(hours=1, minutes=1)
    monkeypatch.setattr(clock, "now", lambda: now)
    world.add_fault("acs", "500", 9)
    assert customer.look(begun).code == "unanswered"


def test_acs_down_while_it_buys_proves_nothing(customer: Customer, world: World) -> None:
    world.provisioning_s = 60
    begun = customer.start()
    assert customer.look(begun).state == "purchasing"
    world.add_fault("acs", "500", 3)
    assert [customer.look(begun).code for _ in range(3)] == ["waiting"] * 3
    world.advance(timedelta(minutes=1))
    done = customer.look(begun)
    assert (done.state, done.code) == ("done", "") and len(world.purchases) == 1


def test_a_lost_answer_to_the_purchase_buys_once(customer: Customer, world: World) -> None:
    world.patience_s = 0.2
    begun = customer.start()
    real = customer.services.numbers(customer.scope.region)
    purchase = real.purchase

    def lost(reservation_id: str) -> None:
        world.add_fault("acs", "timeout_after_accept", 1)
        purchase(reservation_id)

    real.purchase = lost  # type: ignore[method-assign]
    assert customer.look(begun).code == "waiting"
    assert customer.look(begun).state == "done" and len(world.purchases) == 1


def test_a_purchase_that_another_worker_began_at_this_moment_is_no_failure(customer: Customer, world: World) -> None:
    world.provisioning_s = 60
    begun = customer.start()
    real = customer.services.numbers(customer.scope.region)
    purchase = real.purchase

    def second(reservation_id: str) -> None:
        purchase(reservation_id)
        purchase(reservation_id)  # refused: only active reservations are bought

    real.purchase = second  # type: ignore[method-assign]
    assert (customer.look(begun).state, customer.look(begun).code) == ("purchasing", "")
    world.advance(timedelta(minutes=1))
    assert customer.look(begun).state == "done" and len(world.purchases) == 1


def test_a_reservation_that_ended_is_not_bought(customer: Customer, world: World) -> None:
    begun = customer.start()
    real = customer.services.numbers(customer.scope.region)
    real.purchase = lambda reservation_id: world.advance(timedelta(minutes=16))  # type: ignore[method-assign]
    assert customer.look(begun).state == "purchasing"
    assert customer.look(begun).code == "expired" and not world.purchases


def test_a_purchase_that_never_ends_is_said_to_be_stuck(
    customer: Customer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.provisioning_s = 10**6
    begun = customer.start()
    assert customer.look(begun, 2).state == "purchasing"
    now = clock.now() + timedelta(days=1, minutes=1)
    monkeypatch.setattr(clock, "now", lambda: now)
    stuck = customer.look(begun)
    assert (stuck.state, stuck.code, stuck.who) == ("purchasing", "stuck", "operator")
    assert customer.start().id == begun.id, "no second one is begun"
    world.advance(timedelta(seconds=10**6))
    assert customer.look(begun).state == "done" and len(world.purchases) == 1


def test_a_number_that_somebody_added_by_hand_meanwhile(customer: Customer) -> None:
    tenants.forget_number(customer.scope, FIRST)  # of another test
    typed = SenderInput(kind="phone_number", value=FIRST, label="Typed")
    sender = tenants.add_sender(customer.scope, typed, stamp.ACTOR)
    done = customer.buy()
    assert (done.state, done.sender_id) == ("done", sender.id)


def test_what_was_bought_by_one_tenant_cannot_be_added_by_another(
    customer: Customer, new_customer: Callable[..., Customer]
) -> None:
    assert customer.buy().number == FIRST
    other = new_customer()
    with pytest.raises(RefusedError) as refused:
        tenants.add_sender(other.scope, SenderInput(kind="phone_number", value=FIRST, label="Mine"), stamp.ACTOR)
    assert code_of(refused) == ("sender.taken", 409)


def test_hints_do_not_multiply(customer: Customer, world: World) -> None:
    world.provisioning_s = 10**6
    begun = customer.start()
    at = datetime.now().astimezone()
    for seconds, asked in ((0, True), (1, False), (3, False), (6, True), (7, False)):
        world.requests.clear()
        now = at + timedelta(seconds=seconds)
        work.look(customer.services, customer.scope, begun.id, real=lambda now=now: now)
        assert bool(world.requests) is asked, seconds


def test_texts_are_whole() -> None:
    for code, words in CODES.items():
        assert words.what and (not words.fix) == (code == "waiting"), code
        assert not words.fix or words.who, code


@pytest.mark.parametrize("wanted", [
    {"country": "us"}, {"country": "USA"}, {"kind": "premium"}, {"area_code": "42a"}, {"label": " "}, {"extra": 1},
])  # fmt: skip
def test_what_is_no_wish_for_a_number(wanted: dict[str, Any]) -> None:
    from pydantic import ValidationError

    with pytest.raises(ValidationError):
        numbers.NumberInput(**wanted)
