"""Who said STOP to which sender: keyed hashes of telephone numbers and e-mail addresses, never purged.

Table `OptOuts`, partition `{tenant}.{sender}`, the sender of all e-mail being `email`:
`{hash}`   HMAC of the E.164 number or the address under the tenant's index key `optout`, which no rotation changes
`version`  changes with every row, so that a worker that knows this version knows the partition: one read a chunk

The table is apart from `Visits`, so that a purge or a restore of messages never forgets a STOP.

    record(scope, sender, number, out=True, via="link"); by staff: via="staff", by=actor
    opted_out(scope, sender.id, numbers) -> the numbers that must not be texted
    stop_token(scope, sealer, address) -> what an e-mail's link to stop says of its reader, taken by record_token
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from typing import Literal

from pydantic import BaseModel

from connector import clock, keys
from connector.adapters.tables import Row, Write
from connector.errors import RefusedError
from connector.languages import N_
from connector.messages.phone import country_of_number
from connector.tenants import Actor, Sender, TenantScope
from connector.tenants import record as audit

TABLE = "OptOuts"
EMAIL = "email"
"""The sender of all e-mail of a tenant; ids of other senders are hexadecimal."""
Via = Literal["link", "staff", "reply", "carrier"]
PATIENT, CARRIER = Actor("patient"), Actor("carrier")
_VERSION = "version"
_REMEMBERED = 64
_known: dict[str, tuple[str, frozenset[str]]] = {}
"""Partition to version and hashes, of the senders that this process used last."""


class OptOutChange(BaseModel):
    """What the tenant's history says of a stop, or of its end."""

    out: bool
    contact: str
    """The row's key: a keyed hash."""
    via: Via


def record(scope: TenantScope, sender_id: str, number: str, *, out: bool, via: Via, by: Actor | None = None) -> None:
    """Stop or restart the messages of one sender to a number or address; doing it again changes nothing.

    `by` is who entered it for a patient who told staff. Each change is written into the tenant's history first.
    """
    actor = by or (CARRIER if via == "carrier" else PATIENT)
    _record(scope, sender_id, _hash(scope, number), actor, out=out, via=via)


def stop_token(scope: TenantScope, sealer: keys.Sealer, address: str) -> str:
    """Names the reader of an e-mail in its link to stop. It holds for this address only, whatever the record says
    later, needs no EHR, and nobody can make one for another person."""
    hashed = bytes.fromhex(_hash(scope, address))
    return keys.encode(sealer.seal(hashed, region=scope.region, purpose="stop", context=scope.tenant_id))


def record_token(scope: TenantScope, sealer: keys.Sealer, token: str, *, out: bool) -> None:
    """As `record`, for the address that a stop token names. Raises NotOpened, before any I/O."""
    opened = sealer.open(keys.decode(token), region=scope.region, purpose="stop", context=scope.tenant_id)
    _record(scope, EMAIL, opened.hex(), PATIENT, out=out, via="link")


def _record(scope: TenantScope, sender_id: str, hashed: str, actor: Actor, *, out: bool, via: Via) -> None:
    partition = _partition(scope, sender_id)
    present = scope.tables.get(TABLE, partition, hashed)
    if (present is not None and present.values.get("out") is True) is out:
        return
    action = "optout.entered" if out else "optout.ended"
    audit(scope, actor, action, sender_id, after=OptOutChange(out=out, contact=hashed, via=via))
    values = {"out": out, "via": via, "at": clock.now().isoformat()}
    scope.tables.transact(
        TABLE,
        [
            Write("upsert", Row(partition, hashed, values)),
            Write("upsert", Row(partition, _VERSION, {"version": secrets.token_hex(8)})),
        ],
    )


def opted_out(scope: TenantScope, sender_id: str, numbers: Collection[str]) -> frozenset[str]:
    """Those of the E.164 numbers that said STOP to this sender; one storage operation unless somebody did lately."""
    if not numbers:
        return frozenset()
    hashes = _hashes(scope, _partition(scope, sender_id))
    return frozenset(number for number in numbers if _hash(scope, number) in hashes) if hashes else frozenset()


def international(number: str, sender: Sender) -> str:
    """A number as staff type it, in E.164; without a country code it is of the sender's country.

    Raises RefusedError (422).
    """
    import phonenumbers

    try:
        parsed = phonenumbers.parse(number, country_of_number(sender.value))
    except phonenumbers.NumberParseException:
        parsed = None
    if parsed is None or not phonenumbers.is_possible_number(parsed):
        raise RefusedError(
            "optout.not_a_number",
            "This is not a phone number in international form.",
            status=422,
            title="Not a phone number",
            details={"number": N_("must look like +18005550100")},
        )
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def _hashes(scope: TenantScope, partition: str) -> frozenset[str]:
    row = scope.tables.get(TABLE, partition, _VERSION)
    if row is None:
        return frozenset()
    version = row.text("version")
    known = _known.get(partition)
    if known is None or known[0] != version:
        # read after the version: what is written in between is found now, and again under its own version
        rows = scope.tables.query(TABLE, partition)
        known = version, frozenset(found.key for found in rows if found.values.get("out") is True)
        while len(_known) >= _REMEMBERED:
            _known.pop(next(iter(_known)), None)
        _known[partition] = known
    return known[1]


def _partition(scope: TenantScope, sender_id: str) -> str:
    return f"{scope.tenant_id}.{sender_id}"


def _hash(scope: TenantScope, number: str) -> str:
    return scope.index("optout", number)
