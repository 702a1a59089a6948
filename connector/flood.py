"""How often one visit's link, or one clinic's page, may ask in this process: a flood stops here, before any I/O.

Per visit, never per network address: hospitals and mobile carriers put thousands of people behind one.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from threading import Lock

from connector.errors import RefusedError
from connector.languages import N_

PER_MINUTE = 90
"""Three devices with an open page ask six times a minute each; the rest is for people."""
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
        raise RefusedError(
            "visit.too_many",
            N_("This page was opened very often just now. Please wait a minute, then try again."),
            status=429,
            title=N_("Please wait a minute"),
        )
