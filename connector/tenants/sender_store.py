"""Senders: the numbers and names that patients see. A value is a tenant's own once."""

from __future__ import annotations

import secrets

from connector.adapters.tables import Row, RowChanged, RowExists, Write
from connector.errors import RefusedError
from connector.keys import fingerprint
from connector.tenants.audit import Actor, audit_write
from connector.tenants.models import Sender, SenderInput, SenderPatch, Verification
from connector.tenants.scope import CONFIGURATION, DIRECTORY, TenantScope
from connector.tenants.store import Versioned, connections, read, row_of


def senders(scope: TenantScope) -> list[Sender]:
    rows = scope.tables.query(CONFIGURATION, scope.tenant_id, start="sender.", end="sender/")
    return [read(row, Sender).value for row in rows]


def versioned_sender(scope: TenantScope, sender_id: str) -> Versioned[Sender]:
    """Raises RefusedError (404)."""
    row = scope.tables.get(CONFIGURATION, scope.tenant_id, f"sender.{sender_id}")
    if row is None:
        raise RefusedError("sender.unknown", "There is no such sender.", status=404, title="Not found")
    return read(row, Sender)


def sender(scope: TenantScope, sender_id: str) -> Sender | None:
    row = scope.tables.get(CONFIGURATION, scope.tenant_id, f"sender.{sender_id}")
    return read(row, Sender).value if row else None


def add_sender(scope: TenantScope, wanted: SenderInput, actor: Actor) -> Sender:
    """Raises RefusedError: not a number or name that can send, already present, or bought by another tenant."""
    value, verification = _value(wanted)
    _require_own(scope, value)
    made = Sender(
        id=secrets.token_hex(4), kind=wanted.kind, value=value, label=wanted.label, verification=verification
    )
    claim = Row(scope.tenant_id, _claim_key(made.value), {"sender": made.id})
    audit = audit_write(scope, actor, "sender.added", made.id, after=made)
    try:
        scope.tables.transact(
            CONFIGURATION,
            [Write("insert", row_of(scope, f"sender.{made.id}", made)), Write("insert", claim), audit],
        )
    except RowExists:
        raise RefusedError(
            "sender.duplicate",
            "This sender is already there.",
            status=409,
            title="Already configured",
            details={"value": "is already configured"},
        ) from None
    return made


def prove_number(scope: TenantScope, number: str) -> None:
    """Remember that the tenant bought this E.164 number: no other tenant of the region may add it. Who bought it last
    has it."""
    row = Row("number", number.removeprefix("+"), {"tenant_id": scope.tenant_id})
    scope.tables.transact(DIRECTORY, [Write("upsert", row)])


def forget_number(scope: TenantScope, number: str) -> None:
    """It was given back: whoever has it next may use it."""
    try:
        scope.tables.delete(DIRECTORY, Row("number", number.removeprefix("+")))
    except RowChanged:
        return


def _require_own(scope: TenantScope, value: str) -> None:
    """What was only typed reserves nothing; what was bought does."""
    owner = scope.tables.get(DIRECTORY, "number", value.removeprefix("+")) if value.startswith("+") else None
    if owner is not None and owner.text("tenant_id") != scope.tenant_id:
        raise RefusedError(
            "sender.taken",
            "This number belongs to another organization of this service.",
            status=409,
            title="Not your number",
            details={"value": "belongs to another organization"},
        )


def change_sender(
    scope: TenantScope, sender_id: str, etag: str, patch: SenderPatch, actor: Actor
) -> Versioned[Sender]:
    """Raises RefusedError: 404, 412 when `etag` is not the present one."""
    present = versioned_sender(scope, sender_id)
    changes = {name: value for name in patch.model_fields_set if (value := getattr(patch, name)) is not None}
    changed = present.value.model_copy(update=changes)
    row = row_of(scope, f"sender.{sender_id}", changed, etag)
    audit = audit_write(scope, actor, "sender.changed", sender_id, present.value, changed)
    _transact(scope, present, etag, [Write("update", row), audit])
    return versioned_sender(scope, sender_id)


def remove_sender(scope: TenantScope, sender_id: str, etag: str, actor: Actor) -> None:
    """Take a sender away. Raises RefusedError: 404, 409 while a connection is linked with it, 412 as above."""
    present = versioned_sender(scope, sender_id)
    if any(found.value.sender_id == sender_id for found in connections(scope)):
        raise RefusedError(
            "sender.linked",
            "A connection sends from this number or name. Link that connection with another sender first.",
            status=409,
            title="Still in use",
        )
    row = Row(scope.tenant_id, f"sender.{sender_id}", etag=etag)  # a link made since it was read has changed it
    gone = [Write("delete", row), Write("delete", Row(scope.tenant_id, _claim_key(present.value.value)))]
    audit = audit_write(scope, actor, "sender.removed", sender_id, before=present.value)
    _transact(scope, present, etag, [*gone, audit])


def _transact(scope: TenantScope, present: Versioned[Sender], etag: str, writes: list[Write]) -> None:
    try:
        if present.etag != etag:
            raise RowChanged("sender.conflict")
        scope.tables.transact(CONFIGURATION, writes)
    except RowChanged:
        raise RefusedError(
            "sender.conflict",
            "Somebody changed this sender, or linked it, since you read it. Read it again and repeat your change.",
            status=412,
            title="Changed meanwhile",
        ) from None


def _claim_key(value: str) -> str:
    return f"value.{fingerprint(value)[:32]}"


def _value(wanted: SenderInput) -> tuple[str, Verification | None]:
    """The value in its one form; toll-free numbers of North America begin unverified."""
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
        toll_free = phonenumbers.number_type(number) == phonenumbers.PhoneNumberType.TOLL_FREE
        value = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
        return value, Verification(state="unverified") if toll_free and number.country_code == 1 else None
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
    return wanted.value, None
