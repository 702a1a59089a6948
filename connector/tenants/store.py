"""Reading and changing a tenant's connections; every change is audited in the same transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from connector.adapters.tables import Row, RowChanged, RowExists, Write
from connector.errors import RefusedError, Text
from connector.keys import fingerprint, new_connection_id
from connector.tenants.audit import Actor, audit_write, stored, version_after
from connector.tenants.consent import missing_consents
from connector.tenants.models import Connection, ConnectionInput, ConnectionPatch, Department
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
    bases = _bases(made)
    _require_free(scope, bases)
    directory.add_connection(scope, made.id)
    writes = [Write("insert", row_of(scope, f"connection.{made.id}", made))]
    writes += [Write("insert", _claim(scope, made.id, base)) for base in bases.values()]
    writes.append(audit_write(scope, actor, "connection.added", made.id, after=made))
    try:
        scope.tables.transact(CONFIGURATION, writes)
    except RowExists:
        _require_free(scope, bases)
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
    scope: TenantScope, connection_id: str, etag: str, sender_id: str, actor: Actor
) -> Versioned[Connection]:
    return change(scope, connection_id, etag, {"sender_id": sender_id}, actor, "connection.sender_linked")


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
    wanted = present.value.model_dump() | dict(changes)
    if changes.get("active") is False:
        wanted["messages_enabled"] = False
    try:
        changed = Connection.model_validate(wanted)
    except ValidationError as error:
        raise invalid(error) from None
    if changed == present.value:
        return present
    _require_departments(changed)
    if changed.messages_enabled:
        _require_sendable(scope, changed, begins=not present.value.messages_enabled)
    writes = [Write("update", row_of(scope, f"connection.{connection_id}", changed, etag))]
    writes += [*also, *_sender_writes(scope, present.value, changed), *_base_writes(scope, present.value, changed)]
    writes.append(audit_write(scope, actor, action, connection_id, present.value, changed, source))
    try:
        scope.tables.transact(CONFIGURATION, writes)
    except RowExists:
        _require_free(scope, _bases(changed), connection_id)
        raise
    except RowChanged:
        raise conflict() from None
    return connection(scope, connection_id)


def _require_departments(changed: Connection) -> None:
    """Names and locations are each one department's; an exclusion that names nobody would let a sensitive clinic's
    patients be texted."""
    twice: dict[str, str] = {}
    names, locations = set[str](), set[str]()
    for number, department in enumerate(changed.departments):
        if department.name in names:
            twice[f"departments.{number}.name"] = "names a second department"
        if not locations.isdisjoint(department.location_ids):
            twice[f"departments.{number}.location_ids"] = "holds a location of another department"
        names.add(department.name)
        locations |= set(department.location_ids)
    if twice:
        raise invalid(twice)
    if not names.issuperset(changed.messages.excluded_departments):
        raise RefusedError(
            "connection.unknown_department",
            "An excluded department is none of this connection's departments.",
            status=422,
            title="Unknown department",
            details={"messages.excluded_departments": "names no department"},
        )


def _require_sendable(scope: TenantScope, changed: Connection, *, begins: bool) -> None:
    missing: dict[str, str] = {}
    if not changed.active:
        missing["active"] = "switch the connection on first"
    if not changed.sender_id:
        missing["sender_id"] = "link a sender first"
    if not changed.departments:
        missing["departments"] = "add a department first"
    if changed.environment == "test" and not changed.messages.allowed_numbers:
        missing["messages.allowed_numbers"] = (
            "a test connection sends only to listed numbers, for test domains are often copies of production"
        )
    if begins:
        missing |= {f"consents.{kind}": "agree to this first" for kind in missing_consents(scope)}
    if missing:
        raise RefusedError(
            "connection.not_sendable",
            "Messages can not be switched on yet.",
            status=422,
            title="Not ready to send",
            details=missing,
        )


def _sender_writes(scope: TenantScope, present: Connection, changed: Connection) -> list[Write]:
    """A sender that is linked must be there, and must not be removed meanwhile: touching its row sees to both."""
    if changed.sender_id in (None, present.sender_id):
        return []
    row = scope.tables.get(CONFIGURATION, scope.tenant_id, f"sender.{changed.sender_id}")
    if row is None:
        raise RefusedError(
            "sender.unknown",
            "There is no such sender.",
            status=422,
            title="Unknown sender",
            details={"sender_id": "names no sender"},
        )
    return [Write("merge", Row(row.partition, row.key, {"schema": SCHEMA}))]


def _bases(found: Connection) -> dict[str, str]:
    """The addresses that are one connection's within a tenant, by field."""
    bases = {"fhir_base_url": found.fhir_base_url}
    if found.patient_fhir_base_url not in (None, found.fhir_base_url):
        bases["patient_fhir_base_url"] = found.patient_fhir_base_url or ""
    return bases


def _claim_key(base: str) -> str:
    return f"base.{fingerprint(base)[:32]}"


def _claim(scope: TenantScope, connection_id: str, base: str) -> Row:
    return Row(scope.tenant_id, _claim_key(base), {"connection": connection_id})


def claimed_bases(found: Connection) -> list[str]:
    """Keys of the rows that reserve its bases."""
    return sorted({_claim_key(base) for base in _bases(found).values()})


def _base_writes(scope: TenantScope, present: Connection, changed: Connection) -> list[Write]:
    before, after = set(_bases(present).values()), set(_bases(changed).values())
    gone = [_claim(scope, present.id, base) for base in sorted(before - after)]
    return [Write("delete", row) for row in gone] + [
        Write("insert", _claim(scope, present.id, base)) for base in sorted(after - before)
    ]


def _require_free(scope: TenantScope, bases: Mapping[str, str], but: str = "") -> None:
    """Raises RefusedError (409) when a base is another connection's of this tenant."""
    details: dict[str, str] = {}
    for name, base in bases.items():
        row = scope.tables.get(CONFIGURATION, scope.tenant_id, _claim_key(base))
        if row is not None and row.text("connection") != but:
            owner = connection(scope, row.text("connection")).value
            details[name] = Text("already belongs to “%(name)s”", name=owner.name)
    if details:
        raise RefusedError(
            "connection.duplicate",
            "This FHIR base URL already belongs to another connection of your organization.",
            status=409,
            title="Already configured",
            details=details,
        )


def conflict() -> RefusedError:
    return RefusedError(
        "connection.conflict",
        "Somebody changed this connection since you read it. Read it again and repeat your change.",
        status=412,
        title="Changed meanwhile",
    )


def read(row: Row, model: type[M]) -> Versioned[M]:
    return Versioned(model.model_validate_json(row.text("body")), row.etag or "")


def row_of(scope: TenantScope, key: str, value: BaseModel, etag: str | None = None) -> Row:
    return Row(scope.tenant_id, key, {"schema": SCHEMA, "body": stored(value)}, etag)
