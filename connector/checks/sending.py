"""Can this connection text its patients: consents, sender, what carriers say of it, e-mail, live status?"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from connector import tenants, visits
from connector.checks.models import Check, found
from connector.errors import ConnectorError, PermanentError
from connector.tenants import Connection, Sender, TenantScope

if TYPE_CHECKING:
    from connector.bootstrap import Services

_MANAGED = ".azurecomm.net"
"""Domains that Azure lends out for trying, with 10 messages an hour (Communication Services, "Service limits")."""


def check_sending(services: Services, scope: TenantScope, connection: Connection) -> list[Check]:
    """Two requests to Azure, for a number and for e-mail."""
    served = services.settings.region(scope.region)
    ready = bool(served.communication_endpoint)
    made = [
        found("sender.consents", "missing" if tenants.missing_consents(scope) else "given"),
        found("sender.service", "ready" if ready else "missing"),
    ]
    sender = tenants.sender(scope, connection.sender_id) if connection.sender_id else None
    if sender is None:
        made.append(found("sender.state", "gone" if connection.sender_id else "none"))
    else:
        made.append(sender_state(sender))
        if sender.kind == "phone_number":
            made.append(_owned(services, scope, sender) if ready else found("sender.owned", "not_asked"))
    made.append(_email(services, scope, connection))
    return [*made, _live(services, scope, connection)]


def sender_state(sender: Sender) -> Check:
    """As recorded: Azure has no API for the verification of toll-free numbers. Pure."""
    kept = sender.verification
    if kept is None:
        return found("sender.state", "name" if sender.kind == "alphanumeric" else "number", value=sender.value)
    if kept.state == "submitted":
        asked = kept.submitted_on.isoformat() if kept.submitted_on else "?"
        return found("sender.state", "submitted", value=sender.value, date=asked)
    return found("sender.state", kept.state, value=sender.value)


def _live(services: Services, scope: TenantScope, connection: Connection) -> Check:
    if not services.settings.graph_notification_certificates:
        return found("live.status", "no_certificate")
    subscribed, refused = visits.live_counts(scope, connection.id)
    if refused:
        return found("live.status", "refused", refused=refused, count=subscribed + refused)
    return found("live.status", "ready")


def _owned(services: Services, scope: TenantScope, sender: Sender) -> Check:
    try:
        owned = services.numbers(scope.region).owns(sender.value)
    except ConnectorError:
        return found("sender.owned", "unanswered")
    return found("sender.owned", "owned" if owned else "strange")


def _email(services: Services, scope: TenantScope, connection: Connection) -> Check:
    """Asks Azure how far a message is that there never was: whoever is let in is told that there is none."""
    if "email" not in connection.messages.channels:
        return found("email.sender", "unused")
    mailer = services.email(scope.region)
    if mailer is None:
        return found("email.sender", "missing")
    try:
        mailer.progress(str(uuid.uuid4()))
    except PermanentError:
        return found("email.sender", "refused")
    except ConnectorError:
        return found("email.sender", "unanswered")
    managed = mailer.sender.lower().endswith(_MANAGED)
    return found("email.sender", "managed" if managed else "ready", address=mailer.sender)
