"""Reading and changing a tenant's configuration; every change is audited in the same transaction."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from connector import clock
from connector.adapters.tables import Row, RowChanged, RowExists, Write
from connector.errors import RefusedError
from connector.keys import new_connection_id
from connector.tenants.faults import invalid
from connector.tenants.models import (
    Connection,
    ConnectionInput,
    ConnectionPatch,
    Department,
    Sender,
    SenderInput,
)
from connector.tenants.scope import CONFIGURATION, Directory, TenantScope

SCHEMA = 1
"""Version of the stored form; raised when old rows need reading differently."""

M = TypeVar("M", bound=BaseModel)
V = TypeVar("V")


@dataclass(frozen=True)
class Versioned(Generic[V]):
    """A stored value and the ETag under which it was read."""

    value: V
    etag: str


@dataclass(frozen=True)
class Actor:
    """Who changes something: an Entra object id (of a person or of an automation client)."""

    object_id: str


def connection(scope: TenantScope, connection_id: str) -> Versioned[Connection]:
    """Raises RefusedError (404), also for another tenant's connection."""
    row = scope.tables.get(CONFIGURATION, scope.tenant_id, f"connection.{connection_id}")
    if row is None:
        raise RefusedError("connection.unknown", "There is no such connection.", status=404, title="Not found")
    return _read(row, Connection)


def connections(scope: TenantScope) -> list[Versioned[Connection]]:
    rows = scope.tables.query(CONFIGURATION, scope.tenant_id, start="connection.", end="connection/")
    return [_read(row, Connection) for row in rows]


def senders(scope: TenantScope) -> list[Sender]:
    rows = scope.tables.query(CONFIGURATION, scope.tenant_id, start="sender.", end="sender/")
    return [Sender.model_validate_json(row.text("body")) for row in rows]


def sender(scope: TenantScope, sender_id: str) -> Sender | None:
    row = scope.tables.get(CONFIGURATION, scope.tenant_id, f"sender.{sender_id}")
    return Sender.model_validate_json(row.text("body")) if row else None


def add_connection(
    directory: Directory, scope: TenantScope, listed_bases: tuple[str, ...], wanted: ConnectionInput, actor: Actor
) -> Versioned[Connection]:
    """Raises RefusedError: base not on the operator's list, or already used in this tenant."""
    _require_listed(wanted, listed_bases)
    for present in connections(scope):
        if present.value.fhir_base_url == wanted.fhir_base_url:
            raise RefusedError(
                "connection.duplicate",
                f"This FHIR base URL already belongs to “{present.value.name}”.",
                status=409,
                title="Already configured",
                details={"fhir_base_url": "is already configured"},
            )
    new_id = new_connection_id(scope.region)
    directory.add_connection(scope, new_id)
    made = Connection(id=new_id, **wanted.model_dump())
    row = _row(scope, f"connection.{new_id}", made)
    _write(scope, Write("insert", row), actor, "connection.added", new_id)
    return connection(scope, new_id)


def _require_listed(wanted: ConnectionInput, listed_bases: tuple[str, ...]) -> None:
    bases = {"fhir_base_url": wanted.fhir_base_url, "patient_fhir_base_url": wanted.patient_fhir_base_url}
    details = {
        name: "is not on the operator's list for your organization"
        for name, base in bases.items()
        if base and base not in listed_bases and "*" not in listed_bases
    }
    if details:
        raise RefusedError(
            "connection.unlisted_base",
            "The operator of this service must first list this FHIR base URL for your "
            "organization, because the service's own EHR credentials would be used with it.",
            status=403,
            title="FHIR base URL not listed",
            details=details,
        )


def change_connection(
    scope: TenantScope, connection_id: str, etag: str, patch: ConnectionPatch, actor: Actor
) -> Versioned[Connection]:
    """Raises RefusedError: 404, 412 when `etag` is not the present one, 422 when sending cannot begin."""
    return _change(scope, connection_id, etag, patch.changes(), actor, "connection.changed")


def set_departments(
    scope: TenantScope, connection_id: str, etag: str, departments: list[Department], actor: Actor
) -> Versioned[Connection]:
    return _change(
        scope,
        connection_id,
        etag,
        {"departments": [d.model_dump() for d in departments]},
        actor,
        "connection.departments_set",
    )


def link_sender(
    scope: TenantScope, connection_id: str, etag: str, sender_id: str, actor: Actor
) -> Versioned[Connection]:
    if sender(scope, sender_id) is None:
        raise RefusedError(
            "sender.unknown",
            "There is no such sender.",
            status=422,
            title="Unknown sender",
            details={"sender_id": "names no sender"},
        )
    return _change(scope, connection_id, etag, {"sender_id": sender_id}, actor, "connection.sender_linked")


def _change(
    scope: TenantScope, connection_id: str, etag: str, changes: dict[str, object], actor: Actor, action: str
) -> Versioned[Connection]:
    present = connection(scope, connection_id)
    if present.etag != etag:
        raise _conflict()
    try:
        changed = Connection.model_validate(present.value.model_dump() | changes)
    except ValidationError as error:
        raise invalid(error) from None
    _require_departments(changed)
    if changed.messages_enabled:
        _require_sendable(changed)
    row = _row(scope, f"connection.{connection_id}", changed, etag)
    try:
        _write(scope, Write("update", row), actor, action, connection_id)
    except RowChanged:
        raise _conflict() from None
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
    unknown = set(changed.messages.excluded_departments) - {department.name for department in changed.departments}
    if unknown:
        raise RefusedError(
            "connection.unknown_department",
            "An excluded department is none of this connection's departments.",
            status=422,
            title="Unknown department",
            details={"messages.excluded_departments": "names no department"},
        )


def _require_sendable(changed: Connection) -> None:
    missing: dict[str, str] = {}
    if not changed.sender_id:
        missing["sender_id"] = "link a sender first"
    if not changed.departments:
        missing["departments"] = "add a department first"
    if changed.environment == "test" and not changed.messages.allowed_numbers:
        missing["messages.allowed_numbers"] = (
            "a test connection sends only to listed numbers, for test domains are often copies of production"
        )
    if missing:
        raise RefusedError(
            "connection.not_sendable",
            "Messages can not be switched on yet.",
            status=422,
            title="Not ready to send",
            details=missing,
        )


def _conflict() -> RefusedError:
    return RefusedError(
        "connection.conflict",
        "Somebody changed this connection since you read it. Read it again and repeat your change.",
        status=412,
        title="Changed meanwhile",
    )


def add_sender(scope: TenantScope, wanted: SenderInput, actor: Actor) -> Sender:
    """Raises RefusedError: not a number or name that can send, or already present."""
    value = _sender_value(wanted)
    for present in senders(scope):
        if present.value == value:
            raise RefusedError(
                "sender.duplicate",
                "This sender is already there.",
                status=409,
                title="Already configured",
                details={"value": "is already configured"},
            )
    made = Sender(id=secrets.token_hex(4), kind=wanted.kind, value=value, label=wanted.label)
    try:
        _write(scope, Write("insert", _row(scope, f"sender.{made.id}", made)), actor, "sender.added", made.id)
    except RowExists:
        return add_sender(scope, wanted, actor)
    return made


def _sender_value(wanted: SenderInput) -> str:
    if wanted.kind == "phone_number":
        import phonenumbers

        try:
            number = phonenumbers.parse(wanted.value, None)
        except phonenumbers.NumberParseException:
            number = None
        if number is None or not phonenumbers.is_valid_number(number):
            raise RefusedError(
                "sender.not_a_number",
                "This is not a phone number in international form.",
                status=422,
                title="Not a phone number",
                details={"value": "must look like +18005550100"},
            )
        return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    if not (
        wanted.value.isascii()
        and wanted.value.replace(" ", "").isalnum()
        and len(wanted.value) <= 11
        and any(c.isalpha() for c in wanted.value)
    ):
        raise RefusedError(
            "sender.not_a_name",
            "A sender name has up to 11 letters, digits and spaces.",
            status=422,
            title="Not a sender name",
            details={"value": "use up to 11 letters, digits and spaces"},
        )
    return wanted.value


def _read(row: Row, model: type[M]) -> Versioned[M]:
    return Versioned(model.model_validate_json(row.text("body")), row.etag or "")


def _row(scope: TenantScope, key: str, value: BaseModel, etag: str | None = None) -> Row:
    return Row(scope.tenant_id, key, {"schema": SCHEMA, "body": value.model_dump_json()}, etag)


def _write(scope: TenantScope, write: Write, actor: Actor, action: str, target: str) -> None:
    at = clock.now()
    newest_first = 10**13 - int(at.timestamp() * 1000)
    audit = Row(
        scope.tenant_id,
        f"audit.{newest_first:013d}.{secrets.token_hex(4)}",
        {"at": at.isoformat(), "actor": actor.object_id, "action": action, "target": target},
    )
    scope.tables.transact(CONFIGURATION, [write, Write("insert", audit)])
