"""How fast a region's e-mail goes out: what its domain may send a minute and an hour, over all tenants and workers.

Table `Limits`, partition `email.{region}`, row `pace`:
`sent`  how many in each ten seconds of the last hour, in real time
`next`  until when those that must wait have been given their times

The channel of a message is known only when the patient's record is read, so it is the worker that keeps this pace,
not the dispatcher. Who finds room goes at once; the others get times one after the other, and when theirs has come,
look again. Source of the rates: Azure Communication Services, "Service limits".
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from connector.adapters.tables import Row, RowChanged, RowExists, Value
from connector.errors import TransientError
from connector.messages.ledger import real_now
from connector.messages.limits import TABLE
from connector.tenants import TenantScope

KEY = "pace"
STEP_S = 10
_ATTEMPTS = 10


def reserve(
    scope: TenantScope, rate: tuple[int, int], count: int, *, real: datetime | None = None
) -> list[timedelta]:
    """For each of `count` e-mails how long it must wait; no time at all: it may go, and room is taken for it.

    Two storage operations. Raises TransientError when nothing can be reserved: then nothing may be sent.
    """
    partition, at = f"email.{scope.region}", int((real or real_now()).timestamp())
    for _ in range(_ATTEMPTS):
        row = scope.tables.get(TABLE, partition, KEY)
        sent: dict[str, int] = json.loads(row.text("sent")) if row else {}
        sent = {step: n for step, n in sent.items() if int(step) > at - 3600 - STEP_S}
        going, step = min(count, _room(sent, rate, at)[0]), str(at - at % STEP_S)
        sent[step] = sent.get(step, 0) + going
        late, first = count - going, max(_room(sent, rate, at)[1], row.number("next") if row else 0)
        gap = 60 / rate[0] if late <= rate[1] - sum(sent.values()) else 3600 / rate[1]
        waits = [first + round(gap * number) for number in range(late)]
        values: dict[str, Value] = {"sent": json.dumps(sent, separators=(",", ":")), "next": first + round(gap * late)}
        changed = Row(partition, KEY, values, row.etag if row else None)
        try:
            scope.tables.update(TABLE, changed) if row else scope.tables.insert(TABLE, changed)
        except (RowChanged, RowExists):
            continue
        return [timedelta()] * going + [timedelta(seconds=max(1, until - at)) for until in waits]
    raise TransientError("messages.pace_contended")


def _room(sent: dict[str, int], rate: tuple[int, int], at: int) -> tuple[int, int]:
    """How many may go now, and when more may if none: a step counts until its last second is out of the span."""
    room, opens = min(rate), at
    for limit, span in ((rate[0], 60), (rate[1], 3600)):
        inside = {int(step): n for step, n in sent.items() if n and int(step) > at - span - STEP_S}
        free = limit - sum(inside.values())
        room = min(room, max(free, 0))
        if free <= 0:
            opens = max(opens, min(inside) + span + STEP_S)
    return room, opens
