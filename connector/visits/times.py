"""Dates and times as people read them, always in the department's zone and with the zone said."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from connector.languages import ENGLISH, locale_of
from connector.zones import zone_name


def day_and_time(at: datetime, zone: ZoneInfo, language: str = ENGLISH) -> str:
    """Such as `Tuesday, March 3, 2026, 9:00 AM CST`, as the language is written in the zone's country."""
    from babel.dates import format_date, get_datetime_format

    local, locale = at.astimezone(zone), locale_of(language, zone.key)
    day = format_date(local, "full", locale=locale)
    both = str(get_datetime_format("medium", locale=locale))
    return f"{both.format(time_of_day(at, zone, language), day)} {zone_name(local)}"


def time_of_day(at: datetime, zone: ZoneInfo, language: str = ENGLISH) -> str:
    from babel.dates import format_time, get_time_format

    locale = locale_of(language, zone.key)
    spelled = get_time_format("short", locale=locale).pattern.replace("a", "aaaa")  # CLDR's short Korean noon is "PM"
    return format_time(at.astimezone(zone), spelled, tzinfo=zone, locale=locale)
