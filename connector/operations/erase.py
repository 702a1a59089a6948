"""Erasing ahead of time: one visit by its appointment id, or a whole tenant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby

from connector import clock
from connector.adapters.tables import TRANSACTION_LIMIT, Row, Tables, Write
from connector.bootstrap import Services
from connector.errors import RefusedError
from connector.regions import Region
from connector.tenants import DIRECTORY
from connector.visits import erase_visit, visit_key, visit_over


def visit(services: Services, connection_id: str, appointment_id: str, *, although_live: bool) -> int:
    """Delete every row of one visit; how many there were.

    Raises RefusedError: no such connection, or the visit is not over, so that the next scan would remember it again.
    """
    scope = services.directory.scope_of_connection(connection_id)
    key = visit_key(scope, connection_id, appointment_id)
    if not although_live and not visit_over(scope, connection_id, key, clock.now()):
        raise RefusedError(
            "erase.live",
            "This visit is not over: the next scan would find it again, and might text the patient again. Have it "
            "cancelled in the EHR first, or say --although-live.",
        )
    return erase_visit(scope, connection_id, key)


def tenant(services: Services, tenant_id: str) -> Counter[str]:
    """Delete every row of a tenant in its region, then its place in the directory; rows by table.

    Every partition begins with the tenant's id or is one of its connections' (docs/data-map.md). May be repeated until
    nothing is left. Raises RefusedError while the tenant is on the operator's list: it could write again meanwhile.
    """
    if services.settings.listed_bases(tenant_id) is not None:
        raise RefusedError("erase.listed", "This tenant is still in CONNECTOR_TENANTS. Take it off and deploy first.")
    counts: Counter[str] = Counter()
    for served in services.settings.regions:
        tables = services.storage.tables[served.region]
        for table, rows in _rows(tables, tenant_id, served.region):
            counts[table] += _delete(tables, table, rows)
    home = services.storage.tables[services.settings.regions[0].region]
    if place := home.get(DIRECTORY, "tenant", tenant_id):
        home.delete(DIRECTORY, place)
        counts[DIRECTORY] += 1
    return counts


def _rows(tables: Tables, tenant_id: str, region: Region) -> Iterator[tuple[str, list[Row]]]:
    """The directory's last: it says which connections there are."""
    directory = [row for row in tables.scan(DIRECTORY) if row.text("tenant_id") == tenant_id]
    connections = [row.key for row in directory if row.partition == "connection"]
    for table in sorted(set(tables.names()) - {DIRECTORY}):
        rows = list(tables.scan(table, tenant_id, f"{tenant_id}~"))
        for connection_id in connections:
            rows += tables.query(table, connection_id)
        yield table, rows
    yield DIRECTORY, directory


def _delete(tables: Tables, table: str, rows: list[Row]) -> int:
    for _, together in groupby(rows, lambda row: row.partition):
        part = list(together)
        for first in range(0, len(part), TRANSACTION_LIMIT):
            tables.transact(table, [Write("delete", Row(r.partition, r.key)) for r in part[first:][:TRANSACTION_LIMIT]])
    return len(rows)
