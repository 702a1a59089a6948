"""The configuration as timers and workers read it, so that a message costs no reading of its own.

What this process writes it sees at once; what another one writes, `KEPT_S` of real time later at most. Brakes (among
them that messages are off) and opt-outs are no configuration: they are read afresh for each chunk of messages.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from connector.tenants.models import Connection, Sender
from connector.tenants.scope import CONFIGURATION, TenantScope
from connector.tenants.sender_store import senders
from connector.tenants.store import connections

KEPT_S = 10.0
T = TypeVar("T")


def recent_connections(scope: TenantScope) -> dict[str, Connection]:
    """By id."""
    return _kept(scope, "connections", lambda: {one.value.id: one.value for one in connections(scope)})


def recent_senders(scope: TenantScope) -> dict[str, Sender]:
    """By id."""
    return _kept(scope, "senders", lambda: {one.id: one for one in senders(scope)})


def _kept(scope: TenantScope, name: str, read: Callable[[], T]) -> T:
    present = scope.recent.get(name)
    writes, at = scope.tables.writes(CONFIGURATION), time.monotonic()
    if present is None or present[0] != writes or at - present[1] > KEPT_S:
        present = scope.recent[name] = (writes, at, read())
    found: T = present[2]
    return found
