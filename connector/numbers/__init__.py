"""Telephone numbers: bought, named and given back by the customer itself, within what the operator allows."""

from connector.numbers.models import NumberInput, NumberOperation, ReleaseInput
from connector.numbers.orders import allowance, bought, operation, operations, release, start
from connector.numbers.triggers import blueprint

__all__ = [
    "NumberInput",
    "NumberOperation",
    "ReleaseInput",
    "allowance",
    "blueprint",
    "bought",
    "operation",
    "operations",
    "release",
    "start",
]
