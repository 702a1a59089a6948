"""Azure Table Storage of one region: rows, ETags, insert-once, transactions.

Only this file imports azure-data-tables, and only `connector.tenants` hands instances out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from connector.adapters.identity import credential
from connector.errors import AmbiguousError, ConnectorError, TransientError
from connector.settings import RegionSettings

if TYPE_CHECKING:
    from azure.data.tables import TableClient, TableServiceClient

Value = str | int | bool
TRANSACTION_LIMIT = 100
"""Operations in one transaction (Azure Table Storage, entity group transactions)."""


class RowExists(ConnectorError):
    """Insert-once lost: the row is there already."""


class RowChanged(ConnectorError):
    """The row is not as it was read: changed or deleted since."""


@dataclass(frozen=True)
class Row:
    """One row. Keys hold our own ids, hashes and times, never a patient's."""

    partition: str
    key: str
    values: Mapping[str, Value] = field(default_factory=dict)
    etag: str | None = None

    def text(self, name: str) -> str:
        value = self.values.get(name, "")
        return value if isinstance(value, str) else str(value)

    def number(self, name: str) -> int:
        value = self.values.get(name, 0)
        return value if isinstance(value, int) else int(value)


@dataclass(frozen=True)
class Write:
    """One operation of a transaction. `update` and `delete` need the ETag that was read; `merge` sets the columns
    it names of a row that must be there, `put` of one that is made if need be."""

    kind: Literal["insert", "update", "upsert", "merge", "put", "delete"]
    row: Row


T = TypeVar("T")


class Tables:
    """The tables of one region."""

    def __init__(self, settings: RegionSettings) -> None:
        self._settings = settings
        self._service: TableServiceClient | None = None
        self._lock = Lock()
        self._writes: Counter[str] = Counter()

    def writes(self, table: str) -> int:
        """Grows with whatever this process writes, or may have written, to a table: what was read before is old."""
        return self._writes[table]

    def get(self, table: str, partition: str, key: str) -> Row | None:
        """Point read; None when there is no such row."""
        from azure.core.exceptions import ResourceNotFoundError

        try:
            return _row(self._run(table, lambda client: client.get_entity(partition, key)))
        except ResourceNotFoundError:
            return None

    def insert(self, table: str, row: Row) -> Row:
        """Insert once. Raises RowExists."""
        from azure.core.exceptions import ResourceExistsError

        try:
            metadata = self._write(table, lambda client: client.create_entity(_entity(row)))
        except ResourceExistsError:
            raise RowExists("storage.row_exists") from None
        return _with_etag(row, metadata)

    def update(self, table: str, row: Row) -> Row:
        """Replace the row that was read as `row.etag`. Raises RowChanged."""
        from azure.core import MatchConditions
        from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError
        from azure.data.tables import UpdateMode

        def replace(client: TableClient) -> Mapping[str, Any]:
            return client.update_entity(
                _entity(row),
                mode=UpdateMode.REPLACE,
                etag=row.etag,
                match_condition=MatchConditions.IfNotModified,
            )

        try:
            metadata = self._write(table, replace)
        except (ResourceModifiedError, ResourceNotFoundError):
            raise RowChanged("storage.row_changed") from None
        return _with_etag(row, metadata)

    def delete(self, table: str, row: Row) -> None:
        """Delete the row that was read as `row.etag`: single use. Raises RowChanged when it is gone or changed.

        By a transaction of one, for the SDK's delete_entity hides a 404, and two callers would both believe that
        they took the row.
        """
        self.transact(table, [Write("delete", row)])

    def query(
        self,
        table: str,
        partition: str,
        *,
        start: str = "",
        end: str = "",
        limit: int | None = None,
        where: tuple[str, Value, Value] | None = None,
        among: tuple[str, Sequence[str]] | None = None,
    ) -> Iterator[Row]:
        """Rows of a partition with start <= key < end, in key order; `where` (column, low, high) keeps those with
        low <= column < high, of ASCII text or of numbers, and `among` (column, values) those with one of at most ten
        values (a filter holds 15 comparisons)."""
        terms = ["PartitionKey eq @partition"]
        if start:
            terms.append("RowKey ge @start")
        if end:
            terms.append("RowKey lt @end")
        parameters: dict[str, Value] = {"partition": partition, "start": start, "end": end}
        if where:
            column, parameters["low"], parameters["high"] = where
            terms += [f"{column} ge @low", f"{column} lt @high"]
        if among:
            names = [f"among{number}" for number in range(len(among[1]))]
            parameters |= dict(zip(names, among[1], strict=True))
            terms.append(f"( {' or '.join(f'{among[0]} eq @{name}' for name in names)} )")  # the SDK splits at spaces
        size = min(limit or 1000, 1000)

        def pages(client: TableClient) -> list[Row]:
            found = client.query_entities(" and ".join(terms), parameters=parameters, results_per_page=size)
            rows = []
            for entity in found:
                rows.append(_row(entity))
                if limit is not None and len(rows) >= limit:
                    break
            return rows

        yield from self._run(table, pages)

    def transact(self, table: str, writes: Sequence[Write]) -> list[str | None]:
        """All or nothing, in one partition; the new ETag of each row.

        Raises RowExists or RowChanged; AmbiguousError when the outcome is unknown.
        """
        from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
        from azure.data.tables import TableTransactionError

        if not writes:
            return []
        operations = [_operation(write) for write in writes]
        try:
            done = self._write(table, lambda client: client.submit_transaction(operations))
            return [metadata.get("etag") for metadata in done]
        except ResourceExistsError:
            raise RowExists("storage.row_exists") from None
        except (ResourceModifiedError, ResourceNotFoundError):
            raise RowChanged("storage.row_changed") from None
        except TableTransactionError as error:
            kind = RowExists if error.status_code == 409 else RowChanged
            raise kind("storage.transaction_refused") from None

    def names(self) -> list[str]:
        """The tables of the region."""
        from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError

        try:
            return [table.name for table in self._client().list_tables()]
        except (ServiceRequestError, ServiceResponseError):
            raise TransientError("storage.unreachable") from None
        except HttpResponseError as error:
            raise TransientError("storage.failed", vendor_status=error.status_code) from None

    def scan(self, table: str, first: str = "", last: str = "") -> Iterator[Row]:
        """Every row with first <= partition < last; for operators' commands, never on a request."""
        terms = [term for term, value in (("PartitionKey ge @first", first), ("PartitionKey lt @last", last)) if value]

        def everything(client: TableClient) -> list[Row]:
            if not terms:
                return [_row(entity) for entity in client.list_entities()]
            found = client.query_entities(" and ".join(terms), parameters={"first": first, "last": last})
            return [_row(entity) for entity in found]

        yield from self._run(table, everything)

    def create(self, table: str) -> None:
        from azure.core.exceptions import ResourceExistsError

        try:
            self._client().create_table(table)
        except ResourceExistsError:
            return

    def _write(self, table: str, work: Callable[[TableClient], T]) -> T:
        try:
            return self._run(table, work)
        finally:
            self._writes[table] += 1

    def _run(self, table: str, work: Callable[[TableClient], T]) -> T:
        """Run `work`, making the table on its first use and translating the faults of the wire."""
        from azure.core.exceptions import (
            HttpResponseError,
            ResourceExistsError,
            ResourceModifiedError,
            ResourceNotFoundError,
            ServiceRequestError,
            ServiceResponseError,
        )

        client = self._client().get_table_client(table)
        try:
            try:
                return work(client)
            except HttpResponseError as error:
                # an insert's 404 carries no error code in the SDK, and can only mean the table
                if error.status_code != 404 or getattr(error, "error_code", None) not in (None, "TableNotFound"):
                    raise
                self.create(table)
                return work(client)
        except (ResourceExistsError, ResourceModifiedError, ResourceNotFoundError):
            raise
        except ServiceRequestError:
            raise TransientError("storage.unreachable") from None
        except ServiceResponseError:
            raise AmbiguousError("storage.no_answer") from None
        except HttpResponseError as error:
            if error.status_code in (404, 409, 412):
                raise
            raise TransientError("storage.failed", vendor_status=error.status_code) from None

    def _client(self) -> TableServiceClient:
        with self._lock:
            if self._service is None:
                from azure.data.tables import TableServiceClient

                connection = self._settings.storage_connection
                if connection:
                    self._service = TableServiceClient.from_connection_string(connection)
                else:
                    uri = self._settings.table_service_uri or ""
                    self._service = TableServiceClient(uri, credential=credential(self._settings))
            return self._service


def _entity(row: Row) -> dict[str, Any]:
    return {"PartitionKey": row.partition, "RowKey": row.key, **row.values}


def _row(entity: Mapping[str, Any]) -> Row:
    values = {name: value for name, value in entity.items() if name not in ("PartitionKey", "RowKey")}
    metadata = getattr(entity, "metadata", {})
    return Row(entity["PartitionKey"], entity["RowKey"], values, metadata.get("etag"))


def _with_etag(row: Row, metadata: Mapping[str, Any]) -> Row:
    return Row(row.partition, row.key, row.values, metadata.get("etag"))


def _operation(write: Write) -> Any:
    from azure.core import MatchConditions
    from azure.data.tables import UpdateMode

    entity = _entity(write.row)
    condition = {"etag": write.row.etag, "match_condition": MatchConditions.IfNotModified}
    if write.kind == "insert":
        return ("create", entity)
    if write.kind == "upsert":
        return ("upsert", entity, {"mode": UpdateMode.REPLACE})
    if write.kind == "put":
        return ("upsert", entity, {"mode": UpdateMode.MERGE})
    if write.kind == "merge":
        return ("update", entity, {"mode": UpdateMode.MERGE})
    if write.kind == "update":
        return ("update", entity, {"mode": UpdateMode.REPLACE, **condition})
    return ("delete", entity, condition if write.row.etag else {})
