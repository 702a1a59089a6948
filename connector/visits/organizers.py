"""Whose name a meeting is made in: the least used of a connection's organizer accounts.

Row `meetings.{yyyymm}.{organizer}` in Configuration counts what an account made in a month (UTC), over all connections
of the tenant. Source: Microsoft Graph, "Throttling limits": 2,000 meetings for each user and month.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from connector import clock
from connector.adapters.tables import Row, RowChanged, RowExists
from connector.errors import RefusedError
from connector.tenants import CONFIGURATION, TenantScope

PER_MONTH = 2000
_TRIES = 5


def counts(scope: TenantScope) -> dict[str, int]:
    """Meetings made this month, by Entra object id of the organizer."""
    prefix = _prefix()
    rows = scope.tables.query(CONFIGURATION, scope.tenant_id, start=prefix, end=prefix[:-1] + "/")
    return {row.key.removeprefix(prefix): row.number("count") for row in rows}


def least_used(scope: TenantScope, organizers: Sequence[str], visit: str) -> str:
    """Among equals the visit's hash decides, so that meetings made at once are spread.

    Raises RefusedError (409) when there is none, or every account has made as many as Teams allows.
    """
    if not organizers:
        raise RefusedError(
            "meeting.no_organizer",
            "No organizer account is configured for video visits. Your administrator can add one to the connection.",
            status=409,
            title="Not set up yet",
        )
    used, turn = counts(scope), int(visit[:8], 16)
    by_use = sorted(range(len(organizers)), key=lambda n: (used.get(organizers[n], 0), (n - turn) % len(organizers)))
    chosen = organizers[by_use[0]]
    if used.get(chosen, 0) >= PER_MONTH:
        raise RefusedError(
            "meeting.organizers_exhausted",
            "The organizer accounts have made as many meetings this month as Teams allows. Your administrator can add "
            "another organizer account to the connection.",
            status=409,
            title="No meeting can be made",
        )
    return chosen


def count(scope: TenantScope, organizer: str) -> None:
    """One meeting more. A count that loses every race is left out: it only spreads the load."""
    key = f"{_prefix()}{organizer}"
    for _ in range(_TRIES):
        row = scope.tables.get(CONFIGURATION, scope.tenant_id, key)
        try:
            if row is None:
                scope.tables.insert(CONFIGURATION, Row(scope.tenant_id, key, {"count": 1}))
            else:
                scope.tables.update(CONFIGURATION, replace(row, values={"count": row.number("count") + 1}))
        except (RowExists, RowChanged):
            continue
        return


def _prefix() -> str:
    return f"meetings.{clock.now():%Y%m}."
