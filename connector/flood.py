"""How often one visit's link, or one clinic's page, may ask.

Per visit, never per network address: hospitals and mobile carriers put thousands of people behind one.

    reserve(what) counts in this process, before any I/O. It stands before everything, and alone before what only looks
    (pages, polls, the calendar): to count those in storage would cost more than they do. It also stands alone before
    STOP, which nobody may be kept from.
    within(scope, what) counts in storage, for all processes together: what makes a meeting, writes, or costs traffic.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING

from connector.adapters.tables import Row
from connector.errors import RefusedError
from connector.languages import N_

if TYPE_CHECKING:
    from connector.tenants import TenantScope

PER_MINUTE = 90
"""Three devices with an open page ask six times a minute each; the rest is for people."""
MOST = 30
"""Of each thing that is counted in storage, of one visit in a quarter of an hour."""
_QUARTER = timedelta(minutes=15)
_REMEMBERED = 10_000
_asked: OrderedDict[str, tuple[int, int]] = OrderedDict()
_lock = Lock()


def reserve(what: str, per_minute: int = PER_MINUTE) -> None:
    """Raises RefusedError (429) when this was asked too often in this minute. `what` holds ids and hashes only."""
    minute = int(time.monotonic() // 60)
    with _lock:
        since, count = _asked.pop(what, (minute, 0))
        count = count + 1 if since == minute else 1
        _asked[what] = (minute, count)
        while len(_asked) > _REMEMBERED:
            _asked.popitem(last=False)
    if count > per_minute:
        raise too_many()


def within(scope: TenantScope, what: str, *, now: datetime | None = None) -> bool:
    """Whether this may be done once more in this quarter of an hour (real time): two storage operations.

    `what` is a kind and a visit's keyed hash. It is written first and counted afterwards: two at once may both be
    refused, but never both exceed.
    """
    at = (now or datetime.now(UTC)).astimezone(UTC)
    partition = f"{scope.tenant_id}.{at:%Y%m%d}.links"
    own = Row(partition, f"{what}.{at:%Y%m%dT%H%M%S}.{secrets.token_hex(6)}", {"at": at.isoformat()})
    scope.tables.insert("Limits", own)
    since = f"{what}.{at - _QUARTER:%Y%m%dT%H%M%S}"
    return len(list(scope.tables.query("Limits", partition, start=since, end=f"{what}/", limit=MOST + 1))) <= MOST


def too_many() -> RefusedError:
    return RefusedError(
        "visit.too_many",
        N_("This page was opened very often just now. Please wait a minute, then try again."),
        status=429,
        title=N_("Please wait a minute"),
    )
