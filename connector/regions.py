"""The three geographies. A tenant has exactly one, for ever."""

from __future__ import annotations

from enum import StrEnum

from connector.errors import RefusedError


class Region(StrEnum):
    AMERICAS = "americas"
    EMEA = "emea"
    APAC = "apac"

    @property
    def letter(self) -> str:
        """First character of every connection id and join token of the region."""
        return _LETTERS[self]


_LETTERS = {Region.AMERICAS: "a", Region.EMEA: "e", Region.APAC: "p"}
_BY_LETTER = {letter: region for region, letter in _LETTERS.items()}


def region_of(identifier: str) -> Region:
    """The region that a connection id or join token names by its first character.

    Raises RefusedError (404) when it names none.
    """
    try:
        return _BY_LETTER[identifier[:1]]
    except KeyError:
        raise RefusedError("region.unknown", "This address is not one of ours.", status=404) from None
