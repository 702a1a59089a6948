"""Forgetting: a visit's rows go a day after it ended, sessions and unused launches when they expire.

Runs hourly. What it deletes, and when, is promised in docs/data-map.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import azure.functions as func

from connector import clock, logs
from connector.adapters.tables import TRANSACTION_LIMIT, Row, RowChanged, Write
from connector.launch import SESSIONS
from connector.tenants import TenantScope, connections
from connector.visits.presence import VISITS

if TYPE_CHECKING:
    from connector.bootstrap import Services

KEEP_VISITS = timedelta(days=1)


def blueprint(services: Callable[[], Services]) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("visits_purge")
    @bp.timer_trigger(arg_name="timer", schedule="0 17 * * * *")
    def visits_purge(timer: func.TimerRequest) -> None:
        for scope in services().directory.every_scope():
            with logs.contained("purge.failed", tenant=scope.tenant_id):
                purge_sessions(scope, scope.tenant_id)  # the portal's
            with logs.contained("purge.failed", tenant=scope.tenant_id):
                for found in connections(scope):
                    with logs.contained("purge.failed", connection=found.value.id):
                        visits = purge_visits(scope, found.value.id)
                        sessions = purge_sessions(scope, found.value.id)
                        logs.event("purge.completed", connection=found.value.id, visits=visits, sessions=sessions)

    return bp


def purge_visits(scope: TenantScope, connection_id: str) -> int:
    """Delete every row of the visits that ended more than a day ago; how many visits."""
    before = clock.now() - KEEP_VISITS
    over: set[str] = set()
    kept: set[str] = set()
    for prefix in ("l.", "o.", "p.", "v."):
        for row in scope.tables.query(VISITS, connection_id, start=prefix, end=_after(prefix)):
            visit = row.key.split(".")[1]
            (over if _ended(row) < before else kept).add(visit)
    waiting = list(_waiting(scope, connection_id)) if over - kept else []
    for visit in over - kept:
        _forget(scope, connection_id, visit, waiting)
    _delete(scope, VISITS, _left_over(scope, connection_id, before))
    return len(over - kept)


def erase_visit(scope: TenantScope, connection_id: str, visit: str) -> int:
    """Delete every row of one visit now; how many there were."""
    return _forget(scope, connection_id, visit, _waiting(scope, connection_id))


def visit_over(scope: TenantScope, connection_id: str, visit: str, now: datetime) -> bool:
    """Whether nothing is stored of the visit that says it is still to come or going on."""
    rows = (scope.tables.get(VISITS, connection_id, f"{kind}.{visit}") for kind in ("o", "v"))
    return all(_ended(row) < now for row in rows if row)


def _left_over(scope: TenantScope, connection_id: str, before: datetime) -> list[Row]:
    """Claims (named by real time), and sends whose reports are awaited: what sends messages ends them sooner, but only
    while it may work for the tenant."""
    yesterday = datetime.now(UTC) - KEEP_VISITS
    claims = scope.tables.query(VISITS, connection_id, start="k.", end=f"k.{yesterday:%Y%m%dT%H%M%SZ}/")
    awaited = scope.tables.query(VISITS, connection_id, start="r.", end="r/")
    return [*claims, *(row for row in awaited if row.text("at") < before.isoformat())]


def _waiting(scope: TenantScope, connection_id: str) -> Iterator[Row]:
    return scope.tables.query(VISITS, connection_id, start="d.", end="d/")


def _forget(scope: TenantScope, connection_id: str, visit: str, waiting: Iterable[Row]) -> int:
    rows = [Row(connection_id, f"{kind}.{visit}") for kind in ("e", "g", "o", "p", "v", "w")]
    for prefix in (f"l.{visit}.", f"m.{visit}."):
        rows += scope.tables.query(VISITS, connection_id, start=prefix, end=_after(prefix))
    rows += [row for row in waiting if row.key.split(".")[3:4] == [visit]]
    found = [row for row in rows if row.etag or scope.tables.get(VISITS, connection_id, row.key)]
    _delete(scope, VISITS, found)
    return len(found)


def purge_sessions(scope: TenantScope, partition: str) -> int:
    """Delete launches and sessions of a connection, or the portal's of the tenant, that expired (real time)."""
    rows = [row for row in scope.tables.query(SESSIONS, partition) if row.number("expires") < time.time()]
    _delete(scope, SESSIONS, rows)
    return len(rows)


def _delete(scope: TenantScope, table: str, rows: Sequence[Row]) -> None:
    for begin in range(0, len(rows), TRANSACTION_LIMIT):
        writes = [Write("delete", Row(row.partition, row.key)) for row in rows[begin : begin + TRANSACTION_LIMIT]]
        try:
            scope.tables.transact(table, writes)
        except RowChanged:
            continue  # somebody else deleted one of them: the next run takes the rest


def _ended(row: Row) -> datetime:
    """When the visit ended; a meeting that was never finished counts from when it was begun. A row that says neither
    keeps nothing alive: another row of its visit may."""
    told = row.text("end") or row.text("created")
    return datetime.fromisoformat(told).astimezone(UTC) if told else datetime.min.replace(tzinfo=UTC)


def _after(prefix: str) -> str:
    """The first key after every key with this prefix."""
    return prefix[:-1] + "/"
