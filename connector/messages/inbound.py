"""What patients reply to our numbers (Americas)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector import logs
from connector.adapters.acs_events import Reply
from connector.messages import optouts
from connector.regions import Region
from connector.tenants import senders

if TYPE_CHECKING:
    from connector.bootstrap import Services

STOP = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT"})
START = frozenset({"START", "UNSTOP"})
"""The words that carriers act on too (Azure Communication Services, SMS FAQ: opt-out of toll-free numbers)."""


def take(services: Services, reply: Reply) -> str:
    """Do what a reply asks for; what was done, in a constant word."""
    word = reply.text.strip().strip(".!").upper()
    if word not in STOP | START:
        return "ignored"
    for scope in services.directory.scopes():
        if scope.region is Region.AMERICAS:
            for one in senders(scope):
                if one.value == reply.to:
                    optouts.record(scope, one.id, reply.sender, out=word in STOP, via="reply")
                    logs.event("messages.reply_taken", tenant=scope.tenant_id, sender=one.id, stop=word in STOP)
    return "stop" if word in STOP else "start"
