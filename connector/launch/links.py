"""User links: which Entra account belongs to which EHR user. Made once by the person, never overwritten."""

from __future__ import annotations

from dataclasses import dataclass

from connector import clock
from connector.adapters.tables import Row, RowExists
from connector.ehr import EhrUser
from connector.errors import RefusedError
from connector.tenants import TenantScope

LINKS = "Links"


@dataclass(frozen=True)
class UserLink:
    object_id: str
    linked_at: str


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
                "Your EHR user is already linked with another Microsoft account. "
                "Ask the operator of this service to remove the old link.",
                status=409,
                title="Already linked",
            ) from None
    return find_link(scope, connection_id, user) or UserLink(object_id, "")


def _key(scope: TenantScope, user: EhrUser) -> str:
    return f"link.{scope.index('link', user.issuer, user.fhir_user)}"
