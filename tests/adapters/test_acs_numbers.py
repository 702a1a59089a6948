"""Telephone numbers: one reservation is bought once, and each failure says whether it may have happened."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import flask
import pytest

from connector.adapters.acs_numbers import AcsNumbers, Offer, Reservation
from connector.errors import AmbiguousError, PermanentError, TransientError
from sandbox.acs import ACS_KEYS
from sandbox.world import World
from tests.adapters import simulated
from tests.adapters.serving import listening, shown


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with simulated.vendors(tmp_path_factory.mktemp("numbers")) as world:
        yield world


@pytest.fixture
def world(running: World) -> Iterator[World]:
    running.reset()
    running.provisioning_s = 0
    yield running
    running.mischief.clear()


@pytest.fixture
def numbers(world: World) -> AcsNumbers:
    return AcsNumbers(world.ports.url("acs_americas"), ACS_KEYS["americas"], None)


def new_id() -> str:
    return str(uuid.uuid4())


def test_a_number_from_browsing_to_giving_back(world: World, numbers: AcsNumbers) -> None:
    offers = numbers.browse("US", "toll_free")
    first = offers[0]
    assert len(offers) == 4 and first == Offer(
        "+18332040117", "US", "toll_free", ("none", "inbound+outbound"), "2.00 USD", False
    )
    held = new_id()
    assert numbers.reservation(held) is None
    assert numbers.reserve(held, first) == Reservation("active", {first.number: "reserved"})
    assert numbers.reserve(held, first) == Reservation("active", {first.number: "reserved"})
    assert first.number not in [offer.number for offer in numbers.browse("US", "toll_free")]
    assert not numbers.owns(first.number)
    numbers.purchase(held)
    assert numbers.reservation(held) == Reservation("completed", {first.number: "purchased"})
    assert numbers.owns(first.number)
    numbers.release(first.number)
    numbers.release(first.number)
    assert not numbers.owns(first.number)


def test_one_reservation_is_bought_once(world: World, numbers: AcsNumbers) -> None:
    held = new_id()
    numbers.reserve(held, numbers.browse("US", "toll_free")[0])
    numbers.purchase(held)
    for _ in range(2):
        with pytest.raises(PermanentError) as refused:
            numbers.purchase(held)
    assert (refused.value.code, refused.value.vendor_code) == ("numbers.refused", "Conflict")
    assert numbers.reservation(held) is not None and len(world.purchases) == 1


def test_a_number_that_was_taken_meanwhile(world: World, numbers: AcsNumbers) -> None:
    offer = numbers.browse("US", "toll_free")[0]
    numbers.reserve(new_id(), offer)
    assert numbers.reserve(new_id(), offer) == Reservation("active", {offer.number: "error"}, "FailedToReserveNumber")


def test_stock_and_prefix(world: World, numbers: AcsNumbers) -> None:
    assert [offer.number[:5] for offer in numbers.browse("US", "geographic", "1425")] == ["+1425"] * 2
    assert numbers.browse("US", "geographic", "1907") == numbers.browse("NO", "mobile") == []


def test_a_reservation_can_be_let_go(numbers: AcsNumbers) -> None:
    held, offer = new_id(), numbers.browse("US", "toll_free")[0]
    numbers.reserve(held, offer)
    numbers.cancel(held)
    numbers.cancel(held)
    assert numbers.reservation(held) is None


def test_another_regions_key_opens_nothing(world: World) -> None:
    with pytest.raises(PermanentError, match=r"numbers.not_allowed"):
        AcsNumbers(world.ports.url("acs_americas"), ACS_KEYS["emea"], None).browse("US", "toll_free")


def test_refusals_bear_acs_code_and_no_text(world: World, numbers: AcsNumbers) -> None:
    world.mischief.add("numbers_quota")
    held = new_id()
    numbers.reserve(held, numbers.browse("US", "toll_free")[0])
    with pytest.raises(PermanentError) as refused:
        numbers.purchase(held)
    assert (refused.value.code, refused.value.vendor_code) == ("numbers.not_allowed", "QuotaExceeded")
    assert "quota of phone numbers" not in shown(refused.value) and "127.0.0.1" not in shown(refused.value)


@pytest.mark.parametrize(("kind", "read", "change"), [
    ("429", "throttled", "throttled"), ("500", "unavailable", "unknown_outcome"),
])  # fmt: skip
def test_what_may_have_happened_is_ambiguous(
    world: World, numbers: AcsNumbers, kind: Any, read: str, change: str
) -> None:
    held, offer = new_id(), numbers.browse("US", "toll_free")[0]
    numbers.reserve(held, offer)
    asks: list[tuple[Callable[[], Any], str, bool]] = [
        (lambda: numbers.owns(offer.number), read, False),
        (lambda: numbers.purchase(held), change, kind == "500"),
    ]
    for ask, code, ambiguous in asks:
        world.add_fault("acs", kind, 1)
        with pytest.raises(TransientError) as failed:
            ask()
        assert failed.value.code == f"numbers.{code}" and isinstance(failed.value, AmbiguousError) is ambiguous
    assert kind == "500" or failed.value.retry_after_s == 1.0
    assert not world.purchases


def test_a_lost_answer_and_nobody_there(world: World, numbers: AcsNumbers) -> None:
    world.patience_s = 0.2
    held, offer = new_id(), numbers.browse("US", "toll_free")[0]
    numbers.reserve(held, offer)
    world.add_fault("acs", "timeout_after_accept", 1)
    with pytest.raises(AmbiguousError, match=r"numbers.unknown_outcome"):
        numbers.purchase(held)
    found = numbers.reservation(held)
    assert found is not None and found.status == "completed"
    with pytest.raises(TransientError) as failed:
        AcsNumbers("http://127.0.0.1:1", ACS_KEYS["americas"], None).purchase(held)
    assert (type(failed.value), failed.value.code) == (TransientError, "numbers.unreachable")


@pytest.mark.parametrize("body", ["<html>", {"status": "odd", "phoneNumbers": {}}, {"phoneNumbers": 7}])
def test_odd_answers_are_unreadable(body: Any) -> None:
    app = flask.Flask("odd")
    app.add_url_rule("/<path:path>", "any", lambda path: body)
    with listening(app) as port, pytest.raises(PermanentError) as refused:
        AcsNumbers(f"http://127.0.0.1:{port}", ACS_KEYS["americas"], None).reservation(new_id())
    assert refused.value.code == "numbers.unreadable_answer"


def test_offers_that_cannot_text_are_left_out() -> None:
    app = flask.Flask("odd")
    entry = {"id": "1", "phoneNumber": "+18332040117", "countryCode": "US", "phoneNumberType": "tollFree",
             "assignmentType": "application", "capabilities": {"calling": "none", "sms": "outbound"}}
    entries = [entry, entry | {"phoneNumber": None}, entry | {"phoneNumber": "x"}]
    app.add_url_rule("/<path:path>", "any", lambda path: {"phoneNumbers": entries}, methods=["POST"])
    with listening(app) as port:
        assert AcsNumbers(f"http://127.0.0.1:{port}", ACS_KEYS["americas"], None).browse("US", "toll_free") == []
