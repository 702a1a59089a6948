"""The volume breaker: an abnormal number of new messages of a kind is held for an admin's release.

A migration, an outage or a wrong import of the EHR looks like thousands of new, moved or cancelled visits. Counted
is what a scan is about to plan, in `b.counts` (messages of each kind in each hour of the last days), so that nothing
is on its way before it is held. Silent baselines plan nothing and are not counted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from connector.adapters.tables import Row, RowChanged, RowExists
from connector.errors import TransientError
from connector.messages import brakes
from connector.messages.ledger import TABLE
from connector.tenants import Connection, TenantScope

FLOOR = 50
"""A forecast is never below this many messages of a kind an hour: no small clinic is held for a busy morning."""
FACTOR = 3
BUSY_HOURS = 10
"""In which a day's visits are booked, where no earlier day tells."""
CANCELLED_COUNT, CANCELLED_SHARE = 20, 0.3
"""Cancellations to be told within an hour that are never held, and of a full day's visits."""
DAYS = 7
_ATTEMPTS = 10
Counts = dict[str, dict[str, int]]


def admit(
    scope: TenantScope,
    connection: Connection,
    planned: Mapping[str, int],
    now: datetime,
    *,
    visits_a_day: int = 0,
    first_scan: bool = False,
) -> frozenset[str]:
    """Count what a scan is about to plan, by kind, and hold a kind that is too much; the kinds that are held now.

    `visits_a_day`: of the fullest day that is known. `first_scan`: all visits of the scanned day are new. Planning
    goes on: what is held waits as planned. Two storage operations, none when there is nothing to plan.
    """
    if not any(planned.values()):
        return frozenset()
    state, totals, forecasts = _count(scope, connection, planned, now)
    usual = visits_a_day if first_scan else visits_a_day // BUSY_HOURS
    too_much = {
        kind: "held_volume" for kind in planned if planned[kind] and totals[kind] > FACTOR * max(forecasts[kind], usual)
    }
    if planned.get("cancellation") and totals["cancellation"] > max(CANCELLED_COUNT, visits_a_day * CANCELLED_SHARE):
        too_much["cancellation"] = "held_mass_cancellation"
    until = state.released
    new = {k: r for k, r in too_much.items() if k not in state.held and (k not in until or until[k] < now)}
    if new:
        state = brakes.change(scope, connection, now, lambda held: replace(held, held={**held.held, **new}))
    return frozenset(state.held)


def forecast(counts: Mapping[str, Mapping[str, int]], kind: str, now: datetime) -> int:
    """Messages of a kind to be expected in this hour: the mean of the same hour on the days that are known."""
    days = {hour[:8] for hour in counts} - {_hour(now)[:8]}
    same = [counts.get(f"{day}{_hour(now)[8:]}", {}).get(kind, 0) for day in days]
    return max(FLOOR, round(sum(same) / len(same)) if same else 0)


def _count(
    scope: TenantScope, connection: Connection, planned: Mapping[str, int], now: datetime
) -> tuple[brakes.State, dict[str, int], dict[str, int]]:
    """Written before anything is planned. Raises TransientError when it cannot be: then nothing is planned."""
    for _ in range(_ATTEMPTS):
        state = brakes.peek(scope, connection)
        oldest = _hour(now - timedelta(days=DAYS))
        kept: Counts = json.loads(state.counts.text("hours")) if state.counts else {}
        kept = {hour: kinds for hour, kinds in kept.items() if hour >= oldest}
        this = kept.get(_hour(now), {})
        totals = {kind: this.get(kind, 0) + number for kind, number in planned.items()}
        forecasts = {kind: forecast(kept, kind, now) for kind in planned}
        kept[_hour(now)] = this | totals
        values = {"hours": json.dumps(kept, separators=(",", ":"))}
        row = Row(connection.id, brakes.COUNTS, values, state.counts.etag if state.counts else None)
        try:
            scope.tables.update(TABLE, row) if row.etag else scope.tables.insert(TABLE, row)
        except (RowChanged, RowExists):
            continue
        return state, totals, forecasts
    raise TransientError("messages.counts_contended")


def _hour(now: datetime) -> str:
    return f"{now.astimezone(UTC):%Y%m%d%H}"
