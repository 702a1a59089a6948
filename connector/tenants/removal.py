"""Deleting a connection: what it will take away is said first, then it is gone at once, then its rows go, in order.

From the moment it is marked nobody finds it, so nothing of it is launched, joined, scanned or sent. A worker that read
it just before may still write for some minutes; so its rows are deleted in every run of the timer, and the mark goes
only when no worker can remember it. A run that dies is taken up by the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import azure.functions as func
from pydantic import BaseModel

from connector import clock, logs
from connector.adapters.tables import TRANSACTION_LIMIT, Row, RowChanged, Write
from connector.tenants.audit import Actor, audit_write, purge_history
from connector.tenants.rules import claimed_bases
from connector.tenants.scope import CONFIGURATION, Directory, TenantScope
from connector.tenants.store import DELETING, conflict, connection

if TYPE_CHECKING:
    from connector.bootstrap import Services

GRACE = timedelta(minutes=15)
"""No worker works as long with a connection that it once read: the host ends it after five minutes."""
RUN_S = 180
_PLANNED = ("Visits", "d.")
_PARTITIONS = (_PLANNED, ("Visits", ""), ("Sessions", ""), ("Links", ""))
"""Tables whose partition is a connection, planned messages first (docs/data-map.md); of what prefix."""
_ABOUT = ("checks", "checklist")
"""Rows beside it that are named after it."""


class Consequences(BaseModel):
    """What goes with a connection when it is deleted; when it is switched off, it waits."""

    visits: int
    """Video visits that are known now, with their meetings; they stay in the EHR, and lose their links."""
    planned_messages: int
    """Never sent."""
    user_links: int
    """Clinicians who would have to sign in once again."""
    open_sessions: int
    """Launches that are open in a chart right now."""


def consequences(scope: TenantScope, connection_id: str) -> Consequences:
    """Counted now. Raises RefusedError (404)."""
    connection(scope, connection_id)

    def count(table: str, prefix: str) -> int:
        end = f"{prefix[:-1]}/"
        return sum(1 for _ in scope.tables.query(table, connection_id, start=prefix, end=end))

    return Consequences(
        visits=count("Visits", "v."),
        planned_messages=count(*_PLANNED),
        user_links=count("Links", "link."),
        open_sessions=count("Sessions", "visit."),
    )


def delete_connection(scope: TenantScope, connection_id: str, etag: str, actor: Actor) -> None:
    """Nobody finds it from now on, and its bases are free; `finish_deletions` removes what is left.

    Raises RefusedError: 404, 412 when `etag` is not the present one.
    """
    present = connection(scope, connection_id)
    row = scope.tables.get(CONFIGURATION, scope.tenant_id, f"connection.{connection_id}")
    if row is None or row.etag != etag or present.etag != etag:
        raise conflict()
    marked = Row(row.partition, row.key, {**row.values, DELETING: clock.now().isoformat()}, etag)
    gone = [f"credential.{connection_id}.{persona}" for persona in present.value.credentials]
    gone += claimed_bases(present.value)
    writes = [Write("update", marked), *(Write("delete", Row(scope.tenant_id, key)) for key in gone)]
    audit = audit_write(scope, actor, "connection.deleted", connection_id, before=present.value)
    try:
        scope.tables.transact(CONFIGURATION, [*writes, audit])
    except RowChanged:
        raise conflict() from None
    logs.event("connection.deleted", connection=connection_id)


def finish_deletions(directory: Directory, scope: TenantScope, *, until: float) -> int:
    """Remove the rows of what was deleted, until `until` (of time.monotonic); how many connections are wholly gone."""
    finished = 0
    rows = scope.tables.query(CONFIGURATION, scope.tenant_id, start="connection.", end="connection/")
    for row in [row for row in rows if row.text(DELETING)]:
        connection_id, clean = row.key.removeprefix("connection."), True
        for table, prefix in _PARTITIONS:
            rows_left = list(_keys(scope, table, connection_id, prefix))
            for first in range(0, len(rows_left), TRANSACTION_LIMIT):
                found = rows_left[first : first + TRANSACTION_LIMIT]
                if time.monotonic() > until:
                    return finished
                try:
                    scope.tables.transact(table, [Write("delete", one) for one in found])
                except RowChanged:
                    clean = False  # somebody was faster with one of them: the next run takes the rest
        if clean and clock.now() - datetime.fromisoformat(row.text(DELETING)) >= GRACE:
            directory.forget_connection(scope, connection_id)
            about = [scope.tables.get(CONFIGURATION, scope.tenant_id, f"{name}.{connection_id}") for name in _ABOUT]
            gone = [Write("delete", one) for one in (*about, row) if one is not None]
            scope.tables.transact(CONFIGURATION, gone)
            finished += 1
    return finished


def _keys(scope: TenantScope, table: str, partition: str, prefix: str) -> Iterator[Row]:
    """Without ETags: what changes meanwhile goes as well."""
    end = f"{prefix[:-1]}/" if prefix else ""
    return (Row(row.partition, row.key) for row in scope.tables.query(table, partition, start=prefix, end=end))


def blueprint(services: Callable[[], Services]) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("tenants_upkeep")
    @bp.timer_trigger(arg_name="timer", schedule="15 */5 * * * *")
    def tenants_upkeep(timer: func.TimerRequest) -> None:
        """Finish deletions; drop what the history has kept for long enough. Also of tenants off the list."""
        until = time.monotonic() + RUN_S
        for scope in services().directory.every_scope():
            with logs.contained("tenants.upkeep_failed", tenant=scope.tenant_id):
                finished = finish_deletions(services().directory, scope, until=until)
                purged = purge_history(scope)
                logs.event("tenants.upkeep", tenant=scope.tenant_id, count=finished, purged=purged)

    return bp
