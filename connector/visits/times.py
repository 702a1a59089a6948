"""Dates and times as people read them, always in the department's zone and with the zone said."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from connector.zones import zone_name


def day_and_time(at: datetime, zone: ZoneInfo, language: str = "en") -> str:
    """Such as `Tuesday, March 3, 2026, 9:00 AM CST`."""
    from babel.dates import format_date

    local = at.astimezone(zone)
    day = format_date(local, "full", locale=language)
    return f"{day}, {time_of_day(at, zone, language)} {zone_name(local)}"


def time_of_day(at: datetime, zone: ZoneInfo, language: str = "en") -> str:
    from babel.dates import format_time

    return format_time(at.astimezone(zone), "short", tzinfo=zone, locale=language)
