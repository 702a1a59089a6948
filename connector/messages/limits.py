"""What no fault may exceed: messages a tenant, a visit and a person's number get, and the countries they go to.

Table `Limits`, partition `{tenant}.{business day}`, one row for each chunk that was about to be sent: the keyed
hashes of its numbers and visits. A chunk is written first and counted afterwards with all others, so two workers at
once may both refuse, but never both exceed. A worker remembers what it counted: two storage operations a chunk.

    reserve(scope, [Ask(message.key, to), ...], now) -> {message key: rule} of those that must not be sent
    give_back(scope, asks, now) -> what was surely not sent counts no longer
    reaches(sender, to) -> whether the sender can, and may, text this number's country
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock

from connector.adapters.tables import TRANSACTION_LIMIT, Row, RowChanged, Write
from connector.messages.phone import country_of_number
from connector.tenants import Sender, TenantScope

TABLE = "Limits"
PER_TENANT = 20_000
"""Messages a business day (UTC)."""
PER_RECIPIENT = 6
"""Messages a number gets in a business day, whatever the visits."""
PER_CLINICIAN = 60
"""Links and words of delay that one person sends in a business day."""
PER_STRANGER = 3
"""Lost links that a number gets in a business day: anybody may ask for them, and what was planned must have room."""
PER_HELP = 500
"""Replies of a tenant's day that are answered by the help text: anybody may text a number, or invent senders."""
PER_VISIT = 12
"""Messages of a visit in a business day, and tellings (confirmation, changes, cancellations) in its life."""
URGENT = frozenset({"change", "cancellation", "late"})
"""Without these somebody waits for a visit that does not take place: the limits of number, visit and tenant are twice
as high for them, so that reminders never use up what a cancellation needs."""
NORTH_AMERICA = frozenset({"US", "PR", "CA"})
"""Azure Communication Services, SMS number types: toll-free numbers reach no other country."""
ALPHANUMERIC = frozenset({
    "AT", "DK", "EE", "FR", "DE", "IE", "LV", "LT", "NL", "PL", "PT", "ES", "SE", "CH", "AU", "CZ", "FI", "IT", "NO",
    "SK", "SI", "GB",
})  # fmt: skip
"""Azure Communication Services, SMS number types: countries of alphanumeric sender ids."""
_OVERLAP = timedelta(minutes=10)
"""Rows are named by the clock of who wrote them, and may appear late: this much is read again."""


@dataclass(frozen=True)
class Ask:
    """One message that is about to be sent to an E.164 number or an e-mail address."""

    message_key: str
    number: str
    by: str = ""
    """Who caused it outside the plan, with a limit of their own: a clinician's Entra object id, or what else it is."""
    most: int = PER_CLINICIAN


@dataclass
class _Seen:
    """What this process counted of a tenant's day."""

    rows: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    """By recipient, by visit, by who asked, and `""` for all."""
    last: datetime | None = None


_lock = Lock()
_seen: dict[str, _Seen] = {}


def reaches(sender: Sender, number: str) -> bool:
    """Pure. A phone number of +1 texts the US, Puerto Rico and Canada, another only its own country."""
    country, own = country_of_number(number), country_of_number(sender.value)
    if sender.kind == "alphanumeric":
        return country in ALPHANUMERIC
    return country in NORTH_AMERICA if sender.value.startswith("+1") else country is not None and country == own


def reserve(scope: TenantScope, asks: Sequence[Ask], now: datetime, *, real: datetime | None = None) -> dict[str, str]:
    """Reserve a chunk before it is sent; message key to the rule that refuses it (`tenant_limit`, `recipient_limit`,
    `visit_limit`, `asker_limit`). What is refused uses up nothing: asking again and again takes no room from others.

    Raises TransientError when it cannot be reserved: then nothing may be sent.
    """
    if not asks:
        return {}
    partition, at = _partition(scope, now), (real or datetime.now(UTC)).astimezone(UTC)
    entries = _entries(scope, asks)
    scope.tables.insert(TABLE, _row(partition, at, entries))
    counts = _others(scope, partition, entries, at)
    refused: dict[str, str] = {}
    for ask, (recipient, visit, *by) in zip(asks, entries, strict=True):
        rule = _rule(ask, counts[recipient], counts[visit], counts[""])
        if any(counts[name] >= ask.most for name in by):
            rule = "asker_limit"
        if rule:
            refused[ask.message_key] = rule
        else:
            counts.update(("", recipient, visit, *by))
    give_back(scope, [ask for ask in asks if ask.message_key in refused], now)
    return refused


def give_back(scope: TenantScope, asks: Sequence[Ask], now: datetime) -> None:
    """What was reserved at the business time `now` and surely not sent: else whom throttling met all morning would
    have no message left. A worker that dies gives nothing back."""
    if asks:
        row = _row(_partition(scope, now), datetime.now(UTC), _entries(scope, asks))
        scope.tables.insert(TABLE, Row(row.partition, row.key, {**row.values, "back": True}))


def _partition(scope: TenantScope, now: datetime) -> str:
    return f"{scope.tenant_id}.{now.astimezone(UTC):%Y%m%d}"


def _row(partition: str, at: datetime, entries: Sequence[tuple[str, ...]]) -> Row:
    packed = ",".join("".join(entry) for entry in entries)
    return Row(partition, f"{at:%Y%m%dT%H%M%S}.{secrets.token_hex(6)}", {"entries": packed})


def _entries(scope: TenantScope, asks: Sequence[Ask]) -> list[tuple[str, ...]]:
    return [(_recipient(scope, ask.number), _visit(ask.message_key), *_by(scope, ask)) for ask in asks]


def replies_partition(scope: TenantScope, now: datetime) -> str:
    """Where it stands which answers a number got today."""
    return f"{_partition(scope, now)}.replies"


def purge(scope: TenantScope, now: datetime) -> int:
    """Forget the days before yesterday that a daily run can have left; how many rows."""
    gone = 0
    days = [(now - timedelta(days=days)).astimezone(UTC) for days in range(2, 10)]
    for partition in [f"{scope.tenant_id}.{day:%Y%m%d}{kind}" for day in days for kind in ("", ".replies", ".links")]:
        rows = [Row(row.partition, row.key) for row in scope.tables.query(TABLE, partition)]
        for first in range(0, len(rows), TRANSACTION_LIMIT):
            writes = [Write("delete", row) for row in rows[first : first + TRANSACTION_LIMIT]]
            try:
                scope.tables.transact(TABLE, writes)
            except RowChanged:
                continue  # somebody else deletes the same: the next run takes the rest
            gone += len(writes)
        with _lock:
            _seen.pop(partition, None)
    return gone


def _rule(ask: Ask, to_recipient: int, of_visit: int, of_tenant: int) -> str:
    times = 2 if ask.message_key.split(".")[3] in URGENT else 1
    if max(of_visit, _tellings(ask.message_key)) >= PER_VISIT * times:
        return "visit_limit"
    if to_recipient >= PER_RECIPIENT * times:
        return "recipient_limit"
    return "tenant_limit" if of_tenant >= PER_TENANT * times else ""


def _others(scope: TenantScope, partition: str, asked: Sequence[tuple[str, ...]], at: datetime) -> Counter[str]:
    """What this day's rows hold, without what was just asked, for those who are asked for and for all."""
    with _lock:
        seen = _seen.setdefault(partition, _Seen())
        start = f"{seen.last - _OVERLAP:%Y%m%dT%H%M%S}" if seen.last else ""
    rows = list(scope.tables.query(TABLE, partition, start=start))
    with _lock:
        for row in rows:
            if row.key not in seen.rows:
                seen.rows.add(row.key)
                (seen.counts.subtract if row.values.get("back") else seen.counts.update)(_named(row))
        seen.last = max(seen.last or at, at)
        counts = Counter({name: seen.counts[name] for entry in asked for name in ("", *entry)})
    counts.subtract(name for entry in asked for name in ("", *entry))
    return counts


def _named(row: Row) -> list[str]:
    entries = row.text("entries").split(",")
    by = [entry[32:] for entry in entries if entry[32:]]
    return [*by, *(name for entry in entries for name in ("", entry[:16], entry[16:32]))]


def _by(scope: TenantScope, ask: Ask) -> list[str]:
    return [scope.index("limit", "by", ask.by)[:16]] if ask.by else []


def _recipient(scope: TenantScope, number: str) -> str:
    return scope.index("limit", number)[:16]


def _visit(message_key: str) -> str:
    return message_key.split(".")[1][:16].ljust(16, "-")


def _tellings(message_key: str) -> int:
    """The n of `m.{visit}.{recipient}.{kind}.{n}` or `…reminder.{n}-{lead}`."""
    return int(message_key.rsplit(".", 1)[1].split("-")[0])
