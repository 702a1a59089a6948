"""What the texts of a connection look like, with a made-up visit and a link as long as a real one."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from connector.messages.email_text import compose_email
from connector.messages.text import Preview, Words, preview
from connector.tenants import Connection, MessageSettings

if TYPE_CHECKING:
    from connector.adapters.acs_email import Email

_TOKEN = "a" + "x" * 39
RULES = {"confirmation": "confirmation.new", "change": "change.moved", "cancellation": "cancellation.cancelled"}


def previews(
    connection: Connection, settings: MessageSettings, answered: bool, public_url: str, now: datetime
) -> dict[str, Preview]:
    """By kind, in the first language; a reminder as its shortest lead says it. `answered` as in `Words`."""
    words = _words(connection, answered, public_url, now)
    return {kind: preview(rule, words, settings) for kind, rule in _rules(settings).items()}


def email_previews(
    connection: Connection, settings: MessageSettings, public_url: str, now: datetime
) -> dict[str, Email]:
    """The same as e-mails; none where the connection sends none."""
    if "email" not in settings.channels:
        return {}
    words = _words(connection, False, public_url, now)
    stop = f"{words.link}/stop"
    return {kind: compose_email(rule, words, settings, stop) for kind, rule in _rules(settings).items()}


def _rules(settings: MessageSettings) -> dict[str, str]:
    return RULES | {"reminder": f"reminder.{min(settings.reminder_leads_minutes, default=15)}"}


def _words(connection: Connection, answered: bool, public_url: str, now: datetime) -> Words:
    return Words(
        clinic=connection.clinic_name,
        start=(now + timedelta(days=1)).replace(minute=30),
        zone=connection.departments[0].time_zone if connection.departments else "UTC",
        link=f"{public_url}/j/{_TOKEN}",
        phone=connection.contact_phone,
        answered=answered,
    )
