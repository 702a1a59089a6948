"""Time zones as people read them, the same on pages and in texts, and the country that one lies in."""

from __future__ import annotations

from datetime import datetime


def zone_name(local: datetime) -> str:
    """The abbreviation people there use (CST, CEST); an offset such as GMT-0300 where there is none."""
    name = local.tzname() or ""
    return name if name.isalpha() else f"GMT{local:%z}"


def country_of(zone: str) -> str | None:
    """ISO 3166 code of the country that a time zone lies in (CLDR); None for one like Etc/UTC."""
    from babel.core import get_global

    territory = get_global("zone_territories").get(zone)
    return territory if territory and territory.isalpha() and territory not in ("ZZ", "XX") else None
