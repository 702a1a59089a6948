"""The timer that checks every connection once a night, before a clinician notices."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import azure.functions as func

from connector import clock, logs
from connector.checks.run import check_connection, due, latest_of_all
from connector.tenants import Connection, TenantScope, connections

if TYPE_CHECKING:
    from connector.bootstrap import Services

RUN_S = 60.0
"""No check begins later in a run: the host ends a run after five minutes, one with a slow EHR takes
almost four, and the next run comes in fifteen."""


def blueprint(services: Callable[[], Services]) -> func.Blueprint:
    made = func.Blueprint()

    @made.function_name("checks_nightly")
    @made.timer_trigger(arg_name="timer", schedule="0 5/15 * * * *")
    def checks_nightly(timer: func.TimerRequest) -> None:
        check_due(services())

    return made


def check_due(services: Services) -> int:
    """Check whatever is due, one after the other; how many. One tenant's trouble never stops another's checks."""
    until = time.monotonic() + RUN_S
    everywhere = _stored(services)
    checked = 0
    for scope, connection in _due(everywhere):
        if time.monotonic() > until:
            break
        others = frozenset(
            stored.fhir_base_url
            for other, listed in everywhere
            if other.tenant_id != scope.tenant_id and other.region is scope.region
            for stored in listed
        )
        try:
            report = check_connection(services, scope, connection, others=others)
        except Exception as error:
            logs.failure("checks.failed", error, tenant=scope.tenant_id, connection=connection.id)
            continue
        checked += 1
        failed = sum(check.state == "fail" for check in report.checks)
        logs.event("checks.completed", connection=connection.id, state=report.state, count=failed)
    return checked


def _stored(services: Services) -> list[tuple[TenantScope, list[Connection]]]:
    found = []
    for scope in services.directory.scopes():
        try:
            found.append((scope, [stored.value for stored in connections(scope)]))
        except Exception as error:
            logs.failure("checks.failed", error, tenant=scope.tenant_id)
    return found


def _due(everywhere: list[tuple[TenantScope, list[Connection]]]) -> Iterator[tuple[TenantScope, Connection]]:
    for scope, listed in everywhere:
        try:
            reports = latest_of_all(scope)
        except Exception as error:
            logs.failure("checks.failed", error, tenant=scope.tenant_id)
            continue
        for connection in listed:
            last = reports.get(connection.id)
            if connection.active and due(connection, last.at if last else None, clock.now()):
                yield scope, connection
