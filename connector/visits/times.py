"""Dates and times as people read them, always in the department's zone and with the zone said."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from connector.languages import ENGLISH, locale_of, time_of
from connector.zones import zone_name


def day_and_time(at: datetime, zone: ZoneInfo, language: str = ENGLISH) -> str:
    """Such as `Tuesday, March 3, 2026, 9:00 AM CST`, as the language is written in the zone's country."""
    return _both(zone, language).format(time_and_zone(at, zone, language), day(at, zone, language))


def weekday_and_time(at: datetime, zone: ZoneInfo, language: str = ENGLISH) -> str:
    """Such as `Tuesday, 9:00 AM`, where day and zone are said beside it."""
    from babel.dates import format_date

    weekday = format_date(at.astimezone(zone), "EEEE", locale=locale_of(language, zone.key))
    return _both(zone, language).format(time_of_day(at, zone, language), weekday)


def _both(zone: ZoneInfo, language: str) -> str:
    from babel.dates import get_datetime_format

    return str(get_datetime_format("medium", locale=locale_of(language, zone.key)))


def day(at: datetime, zone: ZoneInfo, language: str = ENGLISH) -> str:
    from babel.dates import format_date

    return format_date(at.astimezone(zone), "full", locale=locale_of(language, zone.key))


def time_and_zone(at: datetime, zone: ZoneInfo, language: str = ENGLISH) -> str:
    return f"{time_of_day(at, zone, language)} {zone_name(at.astimezone(zone))}"


def time_of_day(at: datetime, zone: ZoneInfo, language: str = ENGLISH) -> str:
    return time_of(at.astimezone(zone), locale_of(language, zone.key))
