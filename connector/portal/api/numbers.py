"""Telephone numbers: each purchase and release is an operation that outlives every process."""

from __future__ import annotations

from pydantic import BaseModel

from connector import numbers
from connector.numbers import NumberInput, NumberOperation, ReleaseInput
from connector.portal.api.operations import Answer, Call, Registry
from connector.tenants import Page

api = Registry()
_OPERATIONS = "/numbers/operations"


class NumberAllowance(BaseModel):
    held: int
    allowed: int
    """By the operator of this service; 0: numbers cannot be bought here."""


@api.operation("GET", "/numbers", "Numbers that were bought here and are held")
def numbers_held(call: Call) -> Page[NumberOperation]:
    return call.page((one.id, one) for one in numbers.bought(call.scope))


@api.operation("GET", "/numbers/allowance", "How many numbers you hold, and may hold")
def numbers_allowance(call: Call) -> NumberAllowance:
    held, allowed = numbers.allowance(call.services, call.scope)
    return NumberAllowance(held=held, allowed=allowed)


@api.operation("GET", _OPERATIONS, "Purchases and releases, newest first")
def numbers_operations(call: Call) -> Page[NumberOperation]:
    newest_first = numbers.operations(call.scope)
    return call.page((f"{rank:06d}", one) for rank, one in enumerate(newest_first))


@api.operation("POST", _OPERATIONS, "Begin to buy a number; asked again meanwhile, it is the same purchase", status=202)
def numbers_buy(call: Call, body: NumberInput) -> Answer[NumberOperation]:
    begun = numbers.start(call.services, call.scope, body, call.actor)
    return Answer(begun, location=f"{_OPERATIONS}/{begun.id}")


@api.operation("GET", f"{_OPERATIONS}/{{operation}}", "How far a purchase or release is")
def numbers_operation(call: Call) -> NumberOperation:
    return numbers.operation(call.scope, call.param("operation"))


@api.operation("POST", "/numbers/{number}/release", "Begin to give a number back, for good", status=202)
def numbers_release(call: Call, body: ReleaseInput) -> Answer[NumberOperation]:
    begun = numbers.release(call.scope, call.param("number"), body.confirm, call.actor)
    return Answer(begun, location=f"{_OPERATIONS}/{begun.id}")
