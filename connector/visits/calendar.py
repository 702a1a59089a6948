"""A visit as a calendar entry (RFC 5545): when, and the link. No patient, no clinic, no clinician."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from connector.keys import fingerprint

_LINE_OCTETS = 75


def calendar_entry(*, title: str, note: str, link: str, start: datetime, end: datetime | None, now: datetime) -> str:
    """An iCalendar of one event with an alarm a quarter of an hour before. A later one of the same link replaces it."""
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//open-teams-ehr-connector//visit//EN",
        "METHOD:PUBLISH",
        "BEGIN:VEVENT",
        f"UID:{fingerprint(link)[:32]}@video-visit",
        f"SEQUENCE:{int(now.timestamp()) // 60}",
        f"DTSTAMP:{_utc(now)}",
        f"DTSTART:{_utc(start)}",
        f"DTEND:{_utc(end or start + timedelta(minutes=30))}",
        f"SUMMARY:{_escaped(title)}",
        f"DESCRIPTION:{_escaped(note)} {link}",
        f"URL:{link}",
        "CLASS:PRIVATE",
        "BEGIN:VALARM",
        "ACTION:DISPLAY",
        f"DESCRIPTION:{_escaped(title)}",
        "TRIGGER:-PT15M",
        "END:VALARM",
        "END:VEVENT",
        "END:VCALENDAR",
    ]
    return "".join(f"{_folded(line)}\r\n" for line in lines)


def _utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _escaped(text: str) -> str:
    for character in "\\;,":
        text = text.replace(character, f"\\{character}")
    return text.replace("\n", "\\n")


def _folded(line: str) -> str:
    """Broken after at most 75 octets, never within a character (section 3.1)."""
    folded, room = "", _LINE_OCTETS
    for character in line:
        size = len(character.encode())
        if size > room:
            folded, room = f"{folded}\r\n ", _LINE_OCTETS - 1
        folded, room = folded + character, room - size
    return folded
