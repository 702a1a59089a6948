"""The configuration as a plain JSON file: to look at, to keep under version control, to bring to another stamp.

In a stable order, so that two exports can be compared line by line; without secrets, which never leave; without what is
not chosen (ETags, times). An import is checked like a form, as a whole, before anything is written; then each
connection is written in a transaction of its own. What the file does not mention stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from connector.errors import RefusedError, Text
from connector.keys import fingerprint, new_connection_id
from connector.tenants.audit import Actor, FieldChange, differences
from connector.tenants.models import Connection, ConnectionInput, Departments, Guid, Model
from connector.tenants.rules import check
from connector.tenants.scope import Directory, TenantScope
from connector.tenants.sender_store import senders
from connector.tenants.store import Versioned, change, conflict, connections, insert, merged
from connector.tenants.validation import invalid

FILE_VERSION = 1
Outcome = Literal["added", "changed", "unchanged", "refused"]


class FileConnection(ConnectionInput):
    """A connection with everything that is chosen for it."""

    id: str | None = None
    """Left out: a new connection is added."""
    departments: Departments = Field(default_factory=list)
    sender: str | None = None
    """The number or name of a sender that is there."""
    active: bool = True
    messages_enabled: bool = False


class ConfigurationFile(Model):
    file_version: Literal[1]
    tenant_id: Guid | None = None
    """Whose connections the ids are. Left out with them, the connections may be imported anywhere."""
    connections: list[FileConnection]


class ImportedConnection(BaseModel):
    id: str | None
    """None of what a dry run would add."""
    name: str
    outcome: Outcome
    fields: list[FieldChange]
    reason: str | None = None
    """Why it was refused: somebody changed something at the same moment. The others were imported."""


class ImportResult(BaseModel):
    dry_run: bool
    connections: list[ImportedConnection]


def export(scope: TenantScope) -> Versioned[ConfigurationFile]:
    """The file, and an ETag over everything in it."""
    found, labels = connections(scope), {sender.id: sender.value for sender in senders(scope)}
    shown = [_shown(one.value, labels) for one in sorted(found, key=lambda one: one.value.fhir_base_url)]
    file = ConfigurationFile(file_version=1, tenant_id=scope.tenant_id, connections=shown)
    return Versioned(file, _etag(found))


def import_file(
    directory: Directory, scope: TenantScope, document: object, etag: str, actor: Actor, *, dry_run: bool
) -> tuple[ImportResult, list[Versioned[Connection]]]:
    """What became, or would become, of each connection of the file; and those that were written.

    Raises RefusedError: 412 when `etag` is not that of an export now; 422 with every fault by its path, and then
    nothing was written.
    """
    present = {one.value.id: one for one in connections(scope)}
    if _etag(list(present.values())) != etag:
        raise conflict()
    plan = _Plan(scope, {identity: one.value for identity, one in present.items()})
    wanted = plan.checked(_parsed(scope, document))
    results, written = list[ImportedConnection](), list[Versioned[Connection]]()
    for made in wanted:
        before = present.get(made.id)
        was = before.value.model_dump(mode="json") if before else None
        fields = differences(was, made.model_dump(mode="json"))
        result = ImportedConnection(
            id=made.id, name=made.name, fields=fields,
            outcome="added" if before is None else "changed" if fields else "unchanged",
        )  # fmt: skip
        try:
            if before is None and not dry_run:
                written.append(insert(directory, scope, made, actor, "connection.imported"))
            elif before is not None and fields and not dry_run:
                changes = made.model_dump()
                written.append(change(scope, made.id, before.etag, changes, actor, "connection.imported"))
        except RefusedError as error:
            result = result.model_copy(update={"outcome": "refused", "reason": str(error.message)})
        if dry_run and before is None:
            result = result.model_copy(update={"id": None})
        results.append(result)
    return ImportResult(dry_run=dry_run, connections=results), written


def _parsed(scope: TenantScope, document: object) -> ConfigurationFile:
    """Another version or another tenant is said first, for all else would follow from it."""
    if isinstance(document, Mapping) and document.get("file_version", FILE_VERSION) != FILE_VERSION:
        raise RefusedError(
            "import.unknown_version",
            Text("This file has a form that this service does not know; it knows version %(version)s. Export "
                 "again from here and take over your changes.", version=FILE_VERSION),
            status=422,
            title="Unknown version",
            details={"file_version": "is not known here"},
        )  # fmt: skip
    try:
        file = ConfigurationFile.model_validate(document)
    except ValidationError as error:
        raise invalid(error) from None
    if file.tenant_id not in (None, scope.tenant_id):
        raise RefusedError(
            "import.other_tenant",
            "This file belongs to another organization. To add its connections here, take out tenant_id and every id.",
            status=422,
            title="Another organization's file",
            details={"tenant_id": "is not your organization's"},
        )
    return file


class _Plan:
    """Every connection of a file as it would be, and every fault by its path."""

    def __init__(self, scope: TenantScope, present: Mapping[str, Connection]) -> None:
        self._scope, self._present = scope, present
        self._senders = {sender.value: sender.id for sender in senders(scope)}
        self._faults: dict[str, str] = {}

    def checked(self, file: ConfigurationFile) -> list[Connection]:
        """Raises RefusedError (422) with every fault of every connection."""
        seen, wanted = set[str](), list[Connection]()
        for number, one in enumerate(file.connections):
            path = f"connections.{number}."
            for name in ("id", "fhir_base_url"):
                if getattr(one, name) in seen:
                    self._faults[path + name] = "is in the file twice"
            seen |= {one.fhir_base_url} | ({one.id} if one.id else set())
            wanted += self._connection(path, one)
        if self._faults:
            raise invalid(self._faults)
        return wanted

    def _connection(self, path: str, one: FileConnection) -> list[Connection]:
        """The connection as it would be; none when that cannot be said."""
        present = self._present.get(one.id or "")
        if one.id and present is None:
            self._faults[path + "id"] = "names no connection of your organization; leave it out to add one"
            return []
        if one.sender and one.sender not in self._senders:
            self._faults[path + "sender"] = "is not one of your numbers and names; add it first"
            return []
        for name in ("environment", "fhir_base_url"):
            if present and getattr(one, name) != getattr(present, name):
                self._faults[path + name] = "cannot be changed; leave out the id to add another connection"
        if one.messages_enabled and not one.active:
            self._faults[path + "messages_enabled"] = "cannot be on while the connection is switched off"
        chosen = one.model_dump(exclude={"id", "sender"}) | {"sender_id": self._senders.get(one.sender or "")}
        made = merged(present, chosen) if present else Connection(id=new_connection_id(self._scope.region), **chosen)
        try:
            check(self._scope, present, made)
        except RefusedError as error:
            self._faults |= {path + name: said for name, said in error.details.items()}
        return [made]


def _shown(found: Connection, labels: Mapping[str, str]) -> FileConnection:
    values: dict[str, Any] = {name: getattr(found, name) for name in FileConnection.model_fields if name != "sender"}
    return FileConnection(**values, sender=labels.get(found.sender_id or ""))


def _etag(found: list[Versioned[Connection]]) -> str:
    return f'"{fingerprint(" ".join(sorted(f"{one.value.id} {one.etag}" for one in found)))[:32]}"'
