"""A region's tables as files of JSON lines, and back.

One file for each table, one line for each row: partition, key, columns. It holds what the tables hold
(docs/data-map.md), and is worthless without the wrapping keys, which are not in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from connector.adapters.tables import TRANSACTION_LIMIT, Row, Tables, Write
from connector.errors import RefusedError
from connector.messages import as_restored


def backup(tables: Tables, folder: Path) -> dict[str, int]:
    """Rows written, by table. The folder must be new or empty: two backups never mix."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise RefusedError("backup.folder_not_empty", "The folder is not empty. Name a new one.")
    counts = {}
    for table in sorted(tables.names()):
        path = folder / f"{table}.jsonl"
        path.touch(mode=0o600)
        with path.open("w", encoding="utf-8") as file:
            counts[table] = 0
            for row in tables.scan(table):
                file.write(json.dumps([row.partition, row.key, dict(row.values)], ensure_ascii=False) + "\n")
                counts[table] += 1
    return counts


def restore(tables: Tables, folder: Path) -> dict[str, int]:
    """Rows written, by table; afterwards every connection is held until its administrator looks.

    Raises RefusedError: a table has rows, which would mix with those of the backup.
    """
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise RefusedError("backup.none", "There is no backup in this folder.")
    present = set(tables.names())
    full = [file.stem for file in files if file.stem in present and next(tables.scan(file.stem), None)]
    if full:
        raise RefusedError("backup.not_empty", f"These tables have rows: {', '.join(full)}. Nothing was written.")
    return {file.stem: _write(tables, file.stem, map(as_restored, read(file))) for file in files}


def read(file: Path) -> Iterator[Row]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            partition, key, values = json.loads(line)
            yield Row(partition, key, values)


def _write(tables: Tables, table: str, rows: Iterable[Row]) -> int:
    """An empty table is made as well: what is in it later must not depend on who came first."""
    tables.create(table)
    count = 0
    for _, together in groupby(rows, lambda row: row.partition):
        of_partition = list(together)
        for first in range(0, len(of_partition), TRANSACTION_LIMIT):
            part = of_partition[first : first + TRANSACTION_LIMIT]
            tables.transact(table, [Write("insert", row) for row in part])
            count += len(part)
    return count
