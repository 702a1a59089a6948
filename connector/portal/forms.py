"""From typed fields to models, and from what is wrong with a model back to the field that was typed."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from connector.errors import Text


def lines(text: str) -> list[str]:
    """The entries of a field that takes several: one a line, or with commas between."""
    return [entry.strip() for entry in text.replace(",", "\n").splitlines() if entry.strip()]


def on_fields(details: Mapping[str, str], fields: Collection[str]) -> dict[str, str]:
    """Messages by the field that holds the faulty value: the second organizer's fault stands at `organizers`."""
    placed: dict[str, str] = {}
    for path, message in details.items():
        name, rest = path, ""
        while name not in fields and "." in name:
            name, _, last = name.rpartition(".")
            rest = f"{last}.{rest}" if rest else last
        number = rest.partition(".")[0]
        if number.isdecimal() and name in fields:
            fault = message if isinstance(message, Text) else Text(message)
            message = Text("entry %(number)s %(fault)s", number=int(number) + 1, fault=fault)
        placed.setdefault(name, message)
    return placed
