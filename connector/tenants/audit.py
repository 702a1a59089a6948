"""Who changed what, when, and how it was before and after: one row in the transaction of each change.

Kept for six years (45 CFR 164.316(b)(2)(i), how long HIPAA documentation must last), then purged; it outlives the
connection that it is about. No secrets: credentials are stored apart, and only their time and client id are shown.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from connector import clock
from connector.adapters.tables import TRANSACTION_LIMIT, Row, Write
from connector.errors import RefusedError
from connector.tenants.scope import CONFIGURATION, TenantScope

KEEP = timedelta(days=6 * 365 + 2)
PAGE = 50
CHANGE_ID = re.compile(r"[0-9]{13}\.[0-9a-f]{8}")
_LONGEST = 64 * 1024
"""Bytes of a string property, in UTF-16 (Azure Table Storage, data types)."""
_NOTHING: tuple[Any, ...] = (None, "", [], {})
"""Between these there is no difference that anybody chose."""
V = TypeVar("V")
Json = dict[str, Any]


@dataclass(frozen=True)
class Actor:
    """Who changes something: an Entra object id (of a person or of an automation client)."""

    object_id: str


@dataclass(frozen=True)
class Page(Generic[V]):
    """Part of a list; `after` is what to ask for the rest with, None when there is no more."""

    items: list[V]
    after: str | None = None


class FieldChange(BaseModel):
    path: str
    """Such as `messages.quiet_from` or `departments.Family Medicine.location_ids`."""
    before: Any = None
    after: Any = None


class Change(BaseModel):
    """One change of the configuration."""

    id: str
    at: datetime
    actor: str
    """Entra object id."""
    action: str
    """Such as `connection.changed`."""
    target: str
    """Id of the connection, sender or link."""
    source: str | None = None
    """Of a restored version: the change after which it was in force."""
    fields: list[FieldChange]
    restorable: bool
    """Whether the connection can be made again as it was after this change."""


def audit_write(
    scope: TenantScope,
    actor: Actor,
    action: str,
    target: str,
    before: BaseModel | None = None,
    after: BaseModel | None = None,
    source: str = "",
) -> Write:
    """The row to put into the transaction of a change in `Configuration`."""
    at = clock.now()
    values = {"at": at.isoformat(), "actor": actor.object_id, "action": action, "target": target}
    values |= {"before": stored(before)} if before else {}
    values |= {"after": stored(after)} if after else {}
    values |= {"source": source} if source else {}
    return Write("insert", Row(scope.tenant_id, f"audit.{_newest_first(at)}.{secrets.token_hex(4)}", values))


def record(
    scope: TenantScope,
    actor: Actor,
    action: str,
    target: str,
    before: BaseModel | None = None,
    after: BaseModel | None = None,
) -> None:
    """Audit what is changed elsewhere. Call it first: a change that is recorded and fails can be seen to have."""
    scope.tables.transact(CONFIGURATION, [audit_write(scope, actor, action, target, before, after)])


def stored(value: BaseModel) -> str:
    """The JSON that is kept. Raises RefusedError (422) when it does not fit a row."""
    text = value.model_dump_json()
    if len(text.encode("utf-16-le")) > _LONGEST:
        raise RefusedError(
            "connection.too_large",
            "This configuration holds more than can be stored: about 32,000 characters. Split it into two connections.",
            status=422,
            title="Too much",
        )
    return text


def history(scope: TenantScope, target: str = "", *, limit: int = PAGE, after: str = "") -> Page[Change]:
    """Changes, newest first: all, or those of one connection, sender or link. `after` as the page before gave it."""
    where = ("target", target, f"{target}!") if target else None  # no id holds a character below "!"
    start = f"audit.{after}!" if after else "audit."
    rows = list(
        scope.tables.query(CONFIGURATION, scope.tenant_id, start=start, end="audit/", limit=limit + 1, where=where)
    )
    items = [_change(row) for row in rows[:limit]]
    return Page(items, items[-1].id if len(rows) > limit else None)


def version_after(scope: TenantScope, connection_id: str, change_id: str) -> Json:
    """The connection as it was after a change. Raises RefusedError (404) when that change has no such version."""
    known = CHANGE_ID.fullmatch(change_id)
    row = scope.tables.get(CONFIGURATION, scope.tenant_id, f"audit.{change_id}") if known else None
    if row is None or row.text("target") != connection_id or not _restorable(row):
        raise RefusedError(
            "history.unknown", "There is no such earlier version of this connection.", status=404, title="Not found"
        )
    found: Json = json.loads(row.text("after"))
    return found


def purge_history(scope: TenantScope) -> int:
    """Delete the rows that are older than six years; how many."""
    oldest = _newest_first(clock.now() - KEEP)
    rows = list(scope.tables.query(CONFIGURATION, scope.tenant_id, start=f"audit.{oldest}", end="audit/", limit=1000))
    for first in range(0, len(rows), TRANSACTION_LIMIT):
        scope.tables.transact(CONFIGURATION, [Write("delete", row) for row in rows[first : first + TRANSACTION_LIMIT]])
    return len(rows)


def differences(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[FieldChange]:
    """What differs, field by field, in the order of the fields; values that are not there are None."""
    old, new = dict(_leaves(before or {})), dict(_leaves(after or {}))
    paths = [*new, *(path for path in old if path not in new)]
    return [
        FieldChange(path=path, before=old.get(path), after=new.get(path))
        for path in paths
        if old.get(path) != new.get(path) and not (old.get(path) in _NOTHING and new.get(path) in _NOTHING)
    ]


def _leaves(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Fields that hold no others; entries of a list of objects go by their name."""
    for name, below in value.items():
        here = f"{path}{name}"
        if isinstance(below, list) and below and all(isinstance(one, dict) for one in below):
            below = {str(one.get("name", number)): one for number, one in enumerate(below)}
        if isinstance(below, dict) and below:
            yield from _leaves(below, f"{here}.")
        else:
            yield here, below


def _change(row: Row) -> Change:
    before, after = (json.loads(row.text(name) or "null") for name in ("before", "after"))
    return Change(
        id=row.key.removeprefix("audit."),
        at=datetime.fromisoformat(row.text("at")),
        actor=row.text("actor"),
        action=row.text("action"),
        target=row.text("target"),
        source=row.text("source") or None,
        fields=differences(before, after),
        restorable=_restorable(row),
    )


def _restorable(row: Row) -> bool:
    return row.text("action").startswith("connection.") and bool(row.text("after"))


def _newest_first(at: datetime) -> str:
    return f"{10**13 - int(at.timestamp() * 1000):013d}"
