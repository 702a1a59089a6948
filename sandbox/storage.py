"""What a region's storage account holds right now, as stored: for the page a privacy officer looks at."""

from __future__ import annotations

import base64
from itertools import islice
from typing import Any

from azure.data.tables import TableServiceClient
from azure.storage.queue import QueueServiceClient

from sandbox.world import Json

ROWS = 200
"""Rows of a table, and messages of a queue, that the page shows at most (a queue shows 32)."""


def dump(region: str, connection_string: str) -> Json:
    """Tables with their rows, those with the same columns together; queues with the messages that wait in them."""
    with TableServiceClient.from_connection_string(connection_string) as service:
        tables = [_table(service, table.name) for table in service.list_tables()]
    with QueueServiceClient.from_connection_string(connection_string) as queues:
        names = [queue.name for queue in queues.list_queues()]
        waiting = {
            name: [str(message.content) for message in queues.get_queue_client(name).peek_messages(32)]
            for name in names
        }
    return {"region": region, "tables": tables, "queues": waiting}


def _table(service: TableServiceClient, name: str) -> Json:
    entities = list(islice(service.get_table_client(name).list_entities(), ROWS + 1))
    kinds: dict[tuple[str, ...], list[list[str]]] = {}
    for entity in entities[:ROWS]:
        kinds.setdefault(tuple(entity), []).append([_shown(value) for value in entity.values()])
    return {"name": name, "count": min(len(entities), ROWS), "kinds": kinds, "more": len(entities) > ROWS}


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    # Int64 and GUID columns come as (value, type) or as objects that print themselves.
    return str(getattr(value, "value", value))
