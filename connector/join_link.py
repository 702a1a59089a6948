"""The patient's link, opened: every page behind `/j/{token}` begins here."""

from __future__ import annotations

from connector.errors import RefusedError
from connector.keys import JoinToken, NotOpened, Sealer
from connector.languages import N_
from connector.tenants import Connection, Directory, TenantScope, connection


def open_join_link(token: str, sealer: Sealer) -> JoinToken:
    """What the link names. Raises RefusedError (404), before any I/O, for one that is not ours.

    Whether it was revoked stands in the visit's presence row (`Presence.require_current`).
    """
    try:
        return JoinToken.open(token, sealer)
    except NotOpened:
        raise wrong_link() from None


def scope_of(directory: Directory, token: JoinToken) -> TenantScope:
    """The tenant of a link. Raises RefusedError (404) when its connection is gone."""
    try:
        return directory.scope_of_connection(token.connection_id)
    except RefusedError:
        raise wrong_link() from None


def connection_of(scope: TenantScope, token: JoinToken) -> Connection:
    """Raises RefusedError (404) when the connection is being deleted: the words of the portal are not for patients."""
    try:
        return connection(scope, token.connection_id).value
    except RefusedError:
        raise wrong_link() from None


def wrong_link() -> RefusedError:
    """One answer for forged, revoked and unknown links: it reveals nothing."""
    return RefusedError(
        "visit.wrong_link",
        N_(
            "This link does not open a visit. Please use the link in the newest message "
            "from your clinic, or call the clinic."
        ),
        status=404,
        title=N_("This link does not work"),
    )
