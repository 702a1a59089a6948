"""Staff revoke the links of a visit: those given out stop, and no message leaves with one that has stopped.

Row `p.{visit}` says which generation of links is good. It is raised first, and new links have it at once; the links
before go on (`previous_until`, real time) until nobody is sending one any more. A worker compares its messages with
these rows after its claim and again while it sends, so that is soon: mostly at once, and at the latest when the time is
over that an attempt can take.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from connector import logs
from connector.adapters.tables import Row, RowChanged, Value, Write
from connector.errors import RefusedError, TransientError
from connector.messages.ledger import TABLE, real_now, stamp
from connector.messages.register import messages_of
from connector.tenants import TenantScope

LAST_GENERATION = 250
"""The link's token has one byte for it."""
FRESH_S = 15.0
"""A worker that read the generations longer ago reads them again before it sends."""
UNDER_WAY = timedelta(seconds=30)
"""From a worker's last reading to the beginning of the last attempt that rests on it: FRESH_S, and an attempt that
hangs (`adapters/acs.py`) before its replay."""
_LOOK_S = 0.2
_ATTEMPTS = 5


class Generations:
    """Which generation of its links each visit has, never read longer ago than FRESH_S."""

    def __init__(self, scope: TenantScope, partition: str) -> None:
        self._scope, self._partition = scope, partition
        self._found: dict[str, int] = {}
        self._read: float | None = None

    def of(self, visit: str) -> int:
        """One storage operation when it is time to read. Raises TransientError when that fails: then nothing with a
        link may be sent."""
        if self._read is None or time.monotonic() - self._read > FRESH_S:
            begun = time.monotonic()
            self._found = generations(self._scope, self._partition)
            self._read = begun
        return self._found.get(visit, 0)


def generations(scope: TenantScope, partition: str) -> dict[str, int]:
    """By visit, for those whose links were revoked."""
    rows = scope.tables.query(TABLE, partition, start="p.", end="p/", where=("generation", 1, LAST_GENERATION + 1))
    return {row.key.removeprefix("p."): row.number("generation") for row in rows}


def revoke_links(scope: TenantScope, connection_id: str, visit: str, end: datetime) -> int:
    """The generation of the visit's links from now on; the links before have stopped when this returns.

    `end` of the visit, as known, says when the row may be forgotten. Raises RefusedError (409) when links were
    replaced too often; TransientError when nothing was changed.
    """
    generation = _raise(scope, connection_id, visit, end)
    until = time.monotonic() + UNDER_WAY.total_seconds()
    try:
        while _under_way(scope, connection_id, visit) and time.monotonic() < until:
            time.sleep(_LOOK_S)
        stopped = Row(connection_id, f"p.{visit}", {"previous_until": ""})
        scope.tables.transact(TABLE, [Write("merge", stopped)])
    except (RowChanged, TransientError) as error:  # they stop by themselves
        logs.failure("messages.links_stop_later", error, connection=connection_id)
    return generation


def _raise(scope: TenantScope, connection_id: str, visit: str, end: datetime) -> int:
    for _ in range(_ATTEMPTS):
        row = scope.tables.get(TABLE, connection_id, f"p.{visit}")
        generation = (row.number("generation") if row else 0) + 1
        if generation > LAST_GENERATION:
            raise RefusedError("visit.revoked_too_often", "This link was replaced too often.", status=409)
        until = (real_now() + UNDER_WAY).isoformat()
        noted: dict[str, Value] = {"end": end.isoformat(), "generation": generation, "previous_until": until}
        writes = [Write("put", Row(connection_id, f"p.{visit}", noted))]
        try:
            scope.tables.transact(TABLE, [*writes, *_regenerated(scope, connection_id, visit, generation)])
        except RowChanged:
            continue
        return generation
    raise TransientError("visit.not_revoked")


def _regenerated(scope: TenantScope, partition: str, visit: str, generation: int) -> list[Write]:
    """The writes by which what a visit remembers, and what waits to be sent about it, has links of this generation.

    Their transaction fails when a worker takes one of the messages meanwhile.
    """
    changed: dict[str, Value] = {"generation": generation}
    found = scope.tables.get(TABLE, partition, f"v.{visit}")
    waiting = [row for row in messages_of(scope, partition, [visit])[visit] if row.text("state") == "planned"]
    keys = [found.key] if found else []
    keys += [f"d.{stamp(datetime.fromisoformat(row.text('due')))}.{row.key}" for row in waiting if row.text("due")]
    return [Write("merge", Row(partition, key, changed)) for key in keys]


def _under_way(scope: TenantScope, connection_id: str, visit: str) -> bool:
    """Whether somebody has taken a message about the visit, planned or sent by hand, and not said what became of it."""
    query, by_hand = scope.tables.query, (real_now() - UNDER_WAY).isoformat()
    taken = list(query(TABLE, connection_id, start=f"m.{visit}.", end=f"m.{visit}/"))
    taken += query(TABLE, connection_id, start=f"l.{visit}.", end=f"l.{visit}/", where=("at", by_hand, "9"))
    return any(row.text("state") == "claimed" for row in taken)
