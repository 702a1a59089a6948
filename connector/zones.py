"""The name of a time zone as people read it, the same on pages and in texts."""

from __future__ import annotations

from datetime import datetime


def zone_name(local: datetime) -> str:
    """The abbreviation people there use (CST, CEST); an offset such as GMT-0300 where there is none."""
    name = local.tzname() or ""
    return name if name.isalpha() else f"GMT{local:%z}"
