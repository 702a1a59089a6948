"""Messages to patients: discover video visits, plan what must be told, send it exactly once, and stop when told."""

from __future__ import annotations

from connector.messages.brakes import as_restored
from connector.messages.contacts import Contact
from connector.messages.events import blueprint as events_blueprint
from connector.messages.health import SenderFault
from connector.messages.health import faults as sender_faults
from connector.messages.ledger import count_states
from connector.messages.lost_link import blueprint as lost_link_blueprint
from connector.messages.one_off import OneOff, reachable, send_link
from connector.messages.optouts import EMAIL
from connector.messages.previews import email_previews, previews
from connector.messages.register import was_moved
from connector.messages.revoke import revoke_links
from connector.messages.routes import blueprint as routes_blueprint
from connector.messages.routes import configured
from connector.messages.self_test import send_test
from connector.messages.status import Forecast, MessageStatus
from connector.messages.status import forecast as connection_forecast
from connector.messages.status import status as connection_status
from connector.messages.stops import enter_opt_out, forget_due, pause, pause_sender, release, resume
from connector.messages.text import answered
from connector.messages.triggers import blueprint
from connector.messages.upcoming import Upcoming, upcoming
from connector.tenants import TenantScope

__all__ = [
    "EMAIL",
    "Contact",
    "Forecast",
    "MessageStatus",
    "OneOff",
    "SenderFault",
    "Upcoming",
    "answered",
    "as_restored",
    "blueprint",
    "configured",
    "connection_forecast",
    "connection_status",
    "email_previews",
    "enter_opt_out",
    "events_blueprint",
    "forget_due",
    "lost_link_blueprint",
    "pause",
    "pause_sender",
    "previews",
    "reachable",
    "release",
    "resume",
    "revoke_links",
    "routes_blueprint",
    "send_link",
    "send_test",
    "sender_faults",
    "status",
    "upcoming",
    "was_moved",
]


def status(scope: TenantScope, connection_id: str) -> dict[str, int]:
    """How many messages of a connection are planned, claimed, sent, failed, skipped or uncertain."""
    return count_states(scope, connection_id)
