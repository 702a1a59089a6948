"""A way to Microsoft and back: what is kept meanwhile, in a cookie of the browser that began it.

Sealed, ten minutes long, and named by its state, so that two tabs do not disturb each other.
"""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import azure.functions as func

from connector import web
from connector.errors import RefusedError
from connector.keys import NotOpened, Sealer, decode, encode
from connector.languages import N_

if TYPE_CHECKING:
    from connector.bootstrap import Services

_LIFETIME_S = 600
_PURPOSE = "cookie.portal-flow"
_STATE = re.compile(r"[A-Za-z0-9_-]{8,64}")
_OWN_PAGE = re.compile(r"/portal(/[A-Za-z0-9][A-Za-z0-9_.~-]*)*(\?[A-Za-z0-9_.~=&%+-]*)?")


def redirect_uri(services: Services) -> str:
    """Registered in Entra, for sign-in and for admin consent."""
    return services.settings.public_url + "/portal/callback"


def keep(sealer: Sealer, state: str, kept: dict[str, Any]) -> str:
    """The Set-Cookie that keeps `kept` until the browser comes back with `state`."""
    text = json.dumps(kept | {"at": int(time.time())})
    sealed = sealer.seal(text.encode(), region=None, purpose=_PURPOSE, context=state)
    return web.cookie(_name(state), encode(sealed), max_age_s=_LIFETIME_S)


def kept(req: func.HttpRequest, sealer: Sealer, state: str) -> dict[str, Any]:
    """What this browser kept under `state`, and `at`, when it began. Raises RefusedError."""
    try:
        sealed = decode(web.read_cookie(req, _name(state)) or "") if _STATE.fullmatch(state) else b""
        found: dict[str, Any] = json.loads(sealer.open(sealed, region=None, purpose=_PURPOSE, context=state))
    except NotOpened:
        found = {"at": 0}
    if found["at"] + _LIFETIME_S < time.time():
        raise RefusedError(
            "signin.expired",
            N_("This sign-in was not started in this browser or took longer than ten minutes. Please start again."),
            title=N_("Please sign in again"),
        )
    return found


def forget(state: str) -> str:
    return web.cookie(_name(state), "", max_age_s=0)


def own_page(path: str | None) -> str:
    """A path that a request asked to go on to, when it is one of the portal; else its front page."""
    return path if path and _OWN_PAGE.fullmatch(path) else "/portal"


def _name(state: str) -> str:
    return f"__Host-portal-{state}"
