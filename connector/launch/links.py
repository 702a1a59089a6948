"""User links: which Entra account belongs to which EHR user. Made once by the person, never overwritten.

Another account needs the old link gone first: released by whoever has the old account, or removed by an admin.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel

from connector import clock
from connector.adapters.tables import Row, RowChanged, RowExists
from connector.ehr import EhrUser
from connector.errors import RefusedError
from connector.tenants import Actor, Page, TenantScope, record

LINKS = "Links"
_LINK_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class UserLink:
    object_id: str
    linked_at: str


class LinkedUser(BaseModel):
    """A link as administrators see it."""

    id: str
    """Keyed hash of the EHR user."""
    ehr_user: str
    """Resource type and id, such as `Practitioner/12990411`."""
    object_id: str
    """Entra object id."""
    linked_at: datetime


def user_links(scope: TenantScope, connection_id: str, *, limit: int = 50, after: str = "") -> Page[LinkedUser]:
    """The links of a connection, in no meaningful order; `after` as the page before gave it."""
    start = f"link.{after}!" if after else "link."
    rows = list(scope.tables.query(LINKS, connection_id, start=start, end="link/", limit=limit + 1))
    items = [_linked(row) for row in rows[:limit]]
    return Page(items, items[-1].id if len(rows) > limit else None)


def is_linked(scope: TenantScope, connection_id: str, object_id: str) -> bool:
    """Whether this Microsoft account belongs to some EHR user of the connection."""
    where = ("object_id", object_id, f"{object_id}!")
    return any(scope.tables.query(LINKS, connection_id, start="link.", end="link/", where=where, limit=1))


def remove_link(scope: TenantScope, connection_id: str, link_id: str, actor: Actor) -> None:
    """An administrator takes a link away: at the next launch the EHR user may link another account.

    Audited first, for the audit stands in another table. Raises RefusedError (404).
    """
    row = scope.tables.get(LINKS, connection_id, f"link.{link_id}") if _LINK_ID.fullmatch(link_id) else None
    if row is None:
        raise RefusedError("link.unknown", "There is no such user link.", status=404, title="Not found")
    record(scope, actor, "link.removed", link_id, before=_linked(row))
    try:
        scope.tables.delete(LINKS, row)
    except RowChanged:
        pass  # links never change: somebody else removed it


def find_link(scope: TenantScope, connection_id: str, user: EhrUser) -> UserLink | None:
    row = scope.tables.get(LINKS, connection_id, _key(scope, user))
    return UserLink(row.text("object_id"), row.text("linked_at")) if row else None


def add_link(scope: TenantScope, connection_id: str, user: EhrUser, object_id: str) -> UserLink:
    """Insert once. Raises RefusedError (409) when the EHR user already has another account."""
    row = Row(
        connection_id,
        _key(scope, user),
        {
            "ehr_user": user.fhir_user,
            "object_id": object_id,
            "linked_at": clock.now().isoformat(),
        },
    )
    try:
        scope.tables.insert(LINKS, row)
    except RowExists:
        present = find_link(scope, connection_id, user)
        if present is None or present.object_id != object_id:
            raise RefusedError(
                "link.other_account",
                "Your EHR user is already linked with another Microsoft account. Release it with that account, or ask "
                "an administrator of your hospital's configuration portal to remove the old link.",
                status=409,
                title="Already linked",
            ) from None
    return find_link(scope, connection_id, user) or UserLink(object_id, "")


def _linked(row: Row) -> LinkedUser:
    return LinkedUser(
        id=row.key.removeprefix("link."),
        ehr_user=row.text("ehr_user"),
        object_id=row.text("object_id"),
        linked_at=datetime.fromisoformat(row.text("linked_at")),
    )


def release_link(scope: TenantScope, connection_id: str, user: EhrUser, object_id: str) -> None:
    """Remove the link of `user` in the name of the linked account. Raises RefusedError (403) for any other account."""
    row = scope.tables.get(LINKS, connection_id, _key(scope, user))
    if row is None:
        return
    if row.text("object_id") != object_id:
        raise RefusedError(
            "link.not_the_account",
            "This is not the Microsoft account that is linked now. Sign in with that one, or ask an administrator of "
            "your hospital's configuration portal to remove the link.",
            status=403,
            title="Another account",
        )
    remove_link(scope, connection_id, row.key.removeprefix("link."), Actor(object_id))


def _key(scope: TenantScope, user: EhrUser) -> str:
    return f"link.{scope.index('link', user.issuer, user.fhir_user)}"
