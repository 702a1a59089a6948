"""What must be true of a connection as a whole, and the rows that see to it that it stays true."""

from __future__ import annotations

from connector.adapters.tables import Row, Write
from connector.errors import RefusedError, Text
from connector.keys import fingerprint
from connector.tenants.consent import missing_consents, still_given
from connector.tenants.models import Connection, Sender
from connector.tenants.scope import CONFIGURATION, TenantScope
from connector.tenants.validation import invalid


def check(scope: TenantScope, present: Connection | None, changed: Connection) -> None:
    """Raises RefusedError with each field that is wrong: 422, or 409 for a base that another connection has."""
    _require_departments(changed)
    if changed.sender_id not in (None, present and present.sender_id) and not _sender_row(scope, changed):
        raise RefusedError(
            "sender.unknown",
            "There is no such sender.",
            status=422,
            title="Unknown sender",
            details={"sender_id": "names no sender"},
        )
    if changed.messages_enabled:
        _require_sendable(scope, present, changed)
    _require_free(scope, present, changed)


def rows_with(scope: TenantScope, present: Connection | None, changed: Connection) -> list[Write]:
    """To write with the change. They fail when a base was taken, the sender removed or a consent taken back since
    `check`."""
    before, after = set(_bases(present).values()) if present else set(), set(_bases(changed).values())
    writes = [Write("delete", _claim(scope, "", base)) for base in sorted(before - after)]
    writes += [Write("insert", _claim(scope, changed.id, base)) for base in sorted(after - before)]
    if changed.sender_id not in (None, present and present.sender_id):
        # touching it also makes whoever removes it at this moment read it again
        writes.append(Write("merge", Row(scope.tenant_id, f"sender.{changed.sender_id}", {"schema": 1})))
    return writes + (still_given(scope) if _begins(present, changed) else [])


def claimed_bases(found: Connection) -> list[str]:
    """Keys of the rows that reserve its bases."""
    return sorted({_claim_key(base) for base in _bases(found).values()})


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
            "An excluded department is not one of this connection's departments.",
            status=422,
            title="Unknown department",
            details={"messages.excluded_departments": "names no department"},
        )


def _require_sendable(scope: TenantScope, present: Connection | None, changed: Connection) -> None:
    missing: dict[str, str] = {}
    if not changed.active:
        missing["active"] = "switch the connection on first"
    if not changed.sender_id and "sms" in changed.messages.channels:
        missing["sender_id"] = (
            "is needed while messages are on: switch them off first"
            if present is not None and present.sender_id
            else "link one first"
        )
    if not changed.departments:
        missing["departments"] = "add a department first"
    if changed.environment == "test" and not (changed.messages.allowed_numbers or changed.messages.allowed_addresses):
        missing["messages.allowed_numbers"] = (
            "a test connection sends only to whom it lists, for test domains are often copies of production"
        )
    if _begins_to_text(present, changed) and _is_blocked(scope, changed):
        missing["sender_id"] = "is a toll-free number that carriers have not verified: they block every text from it"
    if _begins(present, changed):
        missing |= {f"consents.{kind}": "agree to this first" for kind in missing_consents(scope)}
    if missing:
        raise RefusedError(
            "connection.not_sendable",
            "Messages cannot be switched on yet.",
            status=422,
            title="Not ready to send",
            details=missing,
        )


def _begins(present: Connection | None, changed: Connection) -> bool:
    """Whether messages are switched on."""
    return changed.messages_enabled and (present is None or not present.messages_enabled)


def _begins_to_text(present: Connection | None, changed: Connection) -> bool:
    """Whether patients are to be texted from this sender who were not before."""
    texted = present is not None and present.messages_enabled and "sms" in present.messages.channels
    from_it = texted and present is not None and present.sender_id == changed.sender_id
    return changed.environment == "production" and "sms" in changed.messages.channels and not from_it


def _is_blocked(scope: TenantScope, found: Connection) -> bool:
    row = _sender_row(scope, found) if found.sender_id else None
    verification = Sender.model_validate_json(row.text("body")).verification if row else None
    return verification is not None and verification.state != "verified"


def _sender_row(scope: TenantScope, found: Connection) -> Row | None:
    return scope.tables.get(CONFIGURATION, scope.tenant_id, f"sender.{found.sender_id}")


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


def _require_free(scope: TenantScope, present: Connection | None, changed: Connection) -> None:
    held = set(_bases(present).values()) if present else set[str]()
    details: dict[str, str] = {}
    for name, base in _bases(changed).items():
        row = None if base in held else scope.tables.get(CONFIGURATION, scope.tenant_id, _claim_key(base))
        if row is not None and row.text("connection") != changed.id:
            owner = scope.tables.get(CONFIGURATION, scope.tenant_id, f"connection.{row.text('connection')}")
            named = Connection.model_validate_json(owner.text("body"), extra="ignore").name if owner else ""
            details[name] = Text("already belongs to “%(name)s”", name=named)
    if details:
        raise RefusedError(
            "connection.duplicate",
            "This FHIR base URL already belongs to another connection of your organization.",
            status=409,
            title="Already configured",
            details=details,
        )
