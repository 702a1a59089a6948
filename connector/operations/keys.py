"""Wrapping everything that is stored wrapped under the newest wrapping key, so that an older one can be dropped.

Index keys themselves never change: what they name (opt-outs above all) could not be named anew, for the numbers are
stored nowhere.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from connector.adapters.tables import Row, RowChanged, Tables
from connector.keys import NotOpened, Wrapper
from connector.settings import Key
from connector.tenants import CONFIGURATION, wrapping_context


def wrapped(tables: Tables, keys: tuple[Key, ...]) -> Counter[str]:
    """How many wrapped values open with the newest key (`newest`), only with an older one (`older`), or with none
    of these keys (`lost`)."""
    return Counter(_opens_with(row, keys) for row in tables.scan(CONFIGURATION) if row.text("wrapped"))


def rewrap(tables: Tables, keys: tuple[Key, ...]) -> Counter[str]:
    """Wrap what is under an older key anew; how many values are now under the newest, and how many are `lost`."""
    every = Wrapper(keys)
    for row in tables.scan(CONFIGURATION):
        present: Row | None = row
        while present is not None and present.text("wrapped") and _opens_with(present, keys) == "older":
            context = wrapping_context(present)
            value = every.wrap(every.unwrap(present.text("wrapped"), context=context), context=context)
            try:
                tables.update(CONFIGURATION, replace(present, values={**present.values, "wrapped": value}))
                break
            except RowChanged:  # an administrator entered another credential meanwhile
                present = tables.get(CONFIGURATION, row.partition, row.key)
    return wrapped(tables, keys)


def _opens_with(row: Row, keys: tuple[Key, ...]) -> str:
    context = wrapping_context(row)
    for answer, some in (("newest", keys[:1]), ("older", keys[1:])):
        try:
            Wrapper(some).unwrap(row.text("wrapped"), context=context)
        except NotOpened:
            continue
        return answer
    return "lost"
