"""What the texts of a connection look like, with a made-up visit and a link as long as a real one."""

from __future__ import annotations

from datetime import datetime, timedelta

from connector.messages.text import Preview, Words, preview
from connector.tenants import Connection, MessageSettings, Sender

_TOKEN = "a" + "x" * 39
RULES = {"confirmation": "confirmation.new", "change": "change.moved", "cancellation": "cancellation.cancelled"}


def previews(
    connection: Connection, settings: MessageSettings, sender: Sender | None, public_url: str, now: datetime
) -> dict[str, Preview]:
    """By kind, in the first language; a reminder as its shortest lead says it."""
    words = Words(
        clinic=connection.clinic_name,
        start=(now + timedelta(days=1)).replace(minute=30),
        zone=connection.departments[0].time_zone if connection.departments else "UTC",
        link=f"{public_url}/j/{_TOKEN}",
        phone=connection.contact_phone,
        sender=sender.kind if sender else "alphanumeric",
    )
    rules = RULES | {"reminder": f"reminder.{min(settings.reminder_leads_minutes, default=15)}"}
    return {kind: preview(rule, words, settings) for kind, rule in rules.items()}
