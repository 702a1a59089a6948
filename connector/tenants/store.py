"""Reading and changing a tenant's connections; every change is audited in the same transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from connector.adapters.tables import Row, RowChanged, RowExists, Write
from connector.errors import RefusedError
from connector.keys import new_connection_id
from connector.tenants.audit import Actor, audit_write, stored, version_after
from connector.tenants.models import Connection, ConnectionInput, ConnectionPatch, Department
from connector.tenants.rules import check, rows_with
from connector.tenants.scope import CONFIGURATION, Directory, TenantScope
from connector.tenants.validation import invalid

SCHEMA = 1
"""Version of the stored form; raised when old rows need reading differently."""
DELETING = "deleting"
"""Column of a connection that is being deleted: since when. Nobody finds it any more."""

M = TypeVar("M", bound=BaseModel)
V = TypeVar("V")


@dataclass(frozen=True)
class Versioned(Generic[V]):
    """A stored value and the ETag under which it was read."""

    value: V
    etag: str


def connection(scope: TenantScope, connection_id: str) -> Versioned[Connection]:
    """Raises RefusedError (404), also for another tenant's connection."""
    row = scope.tables.get(CONFIGURATION, scope.tenant_id, f"connection.{connection_id}")
    if row is None or row.text(DELETING):
        raise RefusedError("connection.unknown", "There is no such connection.", status=404, title="Not found")
    return read(row, Connection)


def connections(scope: TenantScope) -> list[Versioned[Connection]]:
    rows = scope.tables.query(CONFIGURATION, scope.tenant_id, start="connection.", end="connection/")
    return [read(row, Connection) for row in rows if not row.text(DELETING)]


def add_connection(
    directory: Directory, scope: TenantScope, wanted: ConnectionInput, actor: Actor
) -> Versioned[Connection]:
    """Raises RefusedError (409) when a base is already used in this tenant.

    What another tenant says about a base counts for nothing here, and nothing is reserved from it: a base can be used
    only with the operator's listing or with credentials that its EHR accepts.
    """
    made = Connection(id=new_connection_id(scope.region), **wanted.model_dump())
    return insert(directory, scope, made, actor, "connection.added")


def insert(
    directory: Directory, scope: TenantScope, made: Connection, actor: Actor, action: str
) -> Versioned[Connection]:
    """A new connection as it is given, with all that `check` asks of it."""
    check(scope, None, made)
    directory.add_connection(scope, made.id)
    writes = [Write("insert", row_of(scope, f"connection.{made.id}", made)), *rows_with(scope, None, made)]
    try:
        scope.tables.transact(CONFIGURATION, [*writes, audit_write(scope, actor, action, made.id, after=made)])
    except (RowExists, RowChanged):
        check(scope, None, made)  # names what somebody took, or removed, meanwhile
        raise
    return connection(scope, made.id)


def change_connection(
    scope: TenantScope, connection_id: str, etag: str, patch: ConnectionPatch, actor: Actor
) -> Versioned[Connection]:
    """Raises RefusedError: 404, 412 when `etag` is not the present one, 422 when sending cannot begin."""
    return change(scope, connection_id, etag, patch.changes(), actor, "connection.changed")


def set_departments(
    scope: TenantScope, connection_id: str, etag: str, departments: list[Department], actor: Actor
) -> Versioned[Connection]:
    changes = {"departments": [d.model_dump() for d in departments]}
    return change(scope, connection_id, etag, changes, actor, "connection.departments_set")


def link_sender(
    scope: TenantScope, connection_id: str, etag: str, sender_id: str | None, actor: Actor
) -> Versioned[Connection]:
    """None: nothing is texted from it any more; refused (422) while messages are on."""
    action = "connection.sender_linked" if sender_id else "connection.sender_unlinked"
    return change(scope, connection_id, etag, {"sender_id": sender_id}, actor, action)


def restore(
    scope: TenantScope, connection_id: str, change_id: str, etag: str, actor: Actor
) -> Versioned[Connection]:
    """Make a connection again as it was after an earlier change: itself a change, checked like one that is typed.

    What it is stays (id, environment, FHIR base URL), and so do credentials and whether it is active. Raises
    RefusedError: 404, 412, 422 by field.
    """
    version = version_after(scope, connection_id, change_id)
    fixed = {"id", "environment", "fhir_base_url", "credentials", "active"}
    chosen = {name: value for name, value in version.items() if name not in fixed}
    if not connection(scope, connection_id).value.active:
        chosen["messages_enabled"] = False
    return change(scope, connection_id, etag, chosen, actor, "connection.restored", source=change_id)


def change(
    scope: TenantScope,
    connection_id: str,
    etag: str,
    changes: Mapping[str, Any],
    actor: Actor,
    action: str,
    *,
    source: str = "",
    also: Sequence[Write] = (),
) -> Versioned[Connection]:
    """Replace fields of a connection, audited and with other rows in one transaction; nothing is written when nothing
    differs."""
    present = connection(scope, connection_id)
    if present.etag != etag:
        raise conflict()
    changed = merged(present.value, changes)
    if changed == present.value:
        return present
    check(scope, present.value, changed)
    writes = [Write("update", row_of(scope, f"connection.{connection_id}", changed, etag))]
    writes += [*also, *rows_with(scope, present.value, changed)]
    writes.append(audit_write(scope, actor, action, connection_id, present.value, changed, source))
    try:
        scope.tables.transact(CONFIGURATION, writes)
    except RowExists:
        check(scope, present.value, changed)
        raise
    except RowChanged:
        raise conflict() from None
    return connection(scope, connection_id)


def merged(present: Connection, changes: Mapping[str, Any]) -> Connection:
    """Switching a connection off switches its messages off. Raises RefusedError (422) with each wrong field."""
    wanted = present.model_dump() | dict(changes)
    if changes.get("active") is False:
        wanted["messages_enabled"] = False
    try:
        return Connection.model_validate(wanted)
    except ValidationError as error:
        raise invalid(error) from None


def conflict() -> RefusedError:
    return RefusedError(
        "connection.conflict",
        "Somebody changed this connection since you read it. Read it again and repeat your change.",
        status=412,
        title="Changed meanwhile",
    )


def read(row: Row, model: type[M]) -> Versioned[M]:
    return Versioned(model.model_validate_json(row.text("body"), extra="ignore"), row.etag or "")


def row_of(scope: TenantScope, key: str, value: BaseModel, etag: str | None = None) -> Row:
    return Row(scope.tenant_id, key, {"schema": SCHEMA, "body": stored(value)}, etag)
