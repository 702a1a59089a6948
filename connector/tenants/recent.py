"""The configuration as timers and workers read it, so that a message costs no reading of its own.

What this process writes it sees at once; what another one writes, seconds of real time later at most. Brakes (among
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
TIMER_S = 100.0
"""For timers that run each minute and only look for work."""
T = TypeVar("T")


def recent_connections(scope: TenantScope, kept_s: float | None = None) -> dict[str, Connection]:
    """By id; at most `kept_s` old (`KEPT_S`)."""
    return _kept(scope, "connections", kept_s, lambda: {one.value.id: one.value for one in connections(scope)})


def recent_senders(scope: TenantScope, kept_s: float | None = None) -> dict[str, Sender]:
    """By id; at most `kept_s` old (`KEPT_S`)."""
    return _kept(scope, "senders", kept_s, lambda: {one.id: one for one in senders(scope)})


def _kept(scope: TenantScope, name: str, kept_s: float | None, read: Callable[[], T]) -> T:
    present = scope.recent.get(name)
    writes, at = scope.tables.writes(CONFIGURATION), time.monotonic()
    if present is None or present[0] != writes or at - present[1] > (KEPT_S if kept_s is None else kept_s):
        present = scope.recent[name] = (writes, at, read())
    found: T = present[2]
    return found
