"""How often one visit's link may ask, in this process: a flood through one link stops here, before the EHR and storage.

Per visit, never per network address: hospitals and mobile carriers put thousands of people behind one.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from threading import Lock

from connector.errors import RefusedError
from connector.languages import N_

PER_MINUTE = 90
"""Three devices with an open page ask 12 times a minute each; the rest is for people."""
_REMEMBERED = 10_000
_asked: OrderedDict[str, tuple[int, int]] = OrderedDict()
_lock = Lock()


def reserve(visit: str) -> None:
    """Raises RefusedError (429) when this link was used too often in this minute."""
    minute = int(time.monotonic() // 60)
    with _lock:
        since, count = _asked.pop(visit, (minute, 0))
        count = count + 1 if since == minute else 1
        _asked[visit] = (minute, count)
        while len(_asked) > _REMEMBERED:
            _asked.popitem(last=False)
    if count > PER_MINUTE:
        raise RefusedError(
            "visit.too_many",
            N_("This link was opened very often just now. Please wait a minute, then try again."),
            status=429,
            title=N_("Please wait a minute"),
        )
