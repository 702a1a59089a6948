"""The patient's link, opened: every page behind `/j/{token}` begins here."""

from __future__ import annotations

from connector.errors import RefusedError
from connector.keys import JoinToken, NotOpened, Sealer
from connector.languages import N_


def open_join_link(token: str, sealer: Sealer) -> JoinToken:
    """What the link names. Raises RefusedError (404), before any I/O, for one that is not ours.

    Whether it was revoked stands in the visit's presence row (`Presence.require_current`).
    """
    try:
        return JoinToken.open(token, sealer)
    except NotOpened:
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
