"""Taking back the consents to text patients: from that moment no connection sends, until both are given anew and its
messages are switched on again."""

from __future__ import annotations

from pydantic import BaseModel

from connector.adapters.tables import Row, RowChanged, Write
from connector.errors import TransientError
from connector.tenants.audit import Actor, audit_write
from connector.tenants.consent import Consent
from connector.tenants.models import Connection
from connector.tenants.removal import consequences
from connector.tenants.scope import CONFIGURATION, TenantScope
from connector.tenants.store import Versioned, connections, row_of

_ATTEMPTS = 10
_AT_ONCE = 40
"""Connections of one transaction: two operations each, beside those of the consents."""


class WithdrawalConsequences(BaseModel):
    connections: int
    """Whose messages are on now, and would be switched off."""
    planned_messages: int
    """Of theirs."""


def withdrawal_consequences(scope: TenantScope) -> WithdrawalConsequences:
    """Counted now."""
    sending = [found.value.id for found in connections(scope) if found.value.messages_enabled]
    planned = sum(consequences(scope, connection_id).planned_messages for connection_id in sending)
    return WithdrawalConsequences(connections=len(sending), planned_messages=planned)


def withdraw_consents(scope: TenantScope, actor: Actor) -> list[Connection]:
    """Both consents are no longer given, in whatever words; the history keeps that they were. The connections whose
    messages this switched off: tell `messages.configured` of each, so that what is on its way to a worker stops too.

    Without consents nothing changes. A connection that is switched on at the same moment stays off. Raises
    TransientError when others change something again and again.
    """
    off: list[Connection] = []
    for _ in range(_ATTEMPTS):
        rows = list(scope.tables.query(CONFIGURATION, scope.tenant_id, start="consent.", end="consent/"))
        sending = [found for found in connections(scope) if found.value.messages_enabled]
        groups = [sending[first : first + _AT_ONCE] for first in range(0, len(sending), _AT_ONCE)] or [[]]
        if not rows:
            return off
        try:
            for group in groups:
                last = rows if group is groups[-1] else []
                scope.tables.transact(CONFIGURATION, [*_taken_back(scope, last, actor), *_off(scope, group, actor)])
                off += [_without(found.value) for found in group]
            return off
        except RowChanged:
            continue
    raise TransientError("consent.contended")


def _taken_back(scope: TenantScope, rows: list[Row], actor: Actor) -> list[Write]:
    given = [Consent.model_validate_json(row.text("body"), extra="ignore") for row in rows]
    audits = [audit_write(scope, actor, "consent.withdrawn", consent.kind, before=consent) for consent in given]
    return [*(Write("delete", row) for row in rows), *audits]


def _off(scope: TenantScope, group: list[Versioned[Connection]], actor: Actor) -> list[Write]:
    writes: list[Write] = []
    for found in group:
        before, after = found.value, _without(found.value)
        writes.append(Write("update", row_of(scope, f"connection.{before.id}", after, found.etag)))
        writes.append(audit_write(scope, actor, "connection.changed", before.id, before, after))
    return writes


def _without(found: Connection) -> Connection:
    return found.model_copy(update={"messages_enabled": False})
