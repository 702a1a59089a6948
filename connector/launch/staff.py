"""Microsoft sign-in of staff alone, without a launch: for links written into the EHR, and for when the EHR is down.

It proves an account of a Microsoft tenant and nothing about the EHR. What it opens shows times and departments, and
leads into Teams, which asks again who somebody is.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import azure.functions as func

from connector import web
from connector.keys import NotOpened, Sealer, decode, encode

if TYPE_CHECKING:
    from connector.adapters.entra import SignedInUser
    from connector.bootstrap import Services

FLOW_COOKIE = "__Host-signin"
FLOW_S = 600
ACCOUNT_S = 3600
_ACCOUNT_COOKIE = "__Host-staff"
_FLOW_PURPOSE, _ACCOUNT_PURPOSE = "cookie.signin", "cookie.staff"
_OWN_PAGE = re.compile(r"/(p|board)(/[A-Za-z0-9][A-Za-z0-9_.~-]*)*")


@dataclass(frozen=True)
class StaffAccount:
    """A Microsoft account that signed in in this browser, at most an hour ago."""

    tenant_id: str
    object_id: str


def staff_account(request: func.HttpRequest, sealer: Sealer) -> StaffAccount | None:
    value = _opened(sealer, web.read_cookie(request, _ACCOUNT_COOKIE), _ACCOUNT_PURPOSE)
    return StaffAccount(value["tenant_id"], value["object_id"]) if value else None


def begin_staff_sign_in(services: Services, to: str, *, other: bool = False) -> func.HttpResponse:
    """To Microsoft and back to our own page `to`. `other`: the person chooses another account."""
    redirect_uri = services.settings.public_url + "/signin/callback"
    uri, flow = services.entra.begin_sign_in(redirect_uri, prompt="select_account" if other else None)
    return web.redirect(uri, cookies=(keep_flow(services.sealer, {"to": to, "flow": flow}),))


def end_staff_sign_in(services: Services, to: str, user: SignedInUser) -> func.HttpResponse:
    """What the callback answers when a staff sign-in comes back."""
    account = {
        "tenant_id": user.tenant_id, "object_id": user.object_id, "expires": int(time.time()) + ACCOUNT_S
    }  # fmt: skip
    kept = web.cookie(_ACCOUNT_COOKIE, _sealed(services.sealer, account, _ACCOUNT_PURPOSE), max_age_s=ACCOUNT_S)
    where = to if _OWN_PAGE.fullmatch(to) else "/"
    return web.redirect(services.settings.public_url + where, cookies=(forget_flow(), kept))


def keep_flow(sealer: Sealer, kept: dict[str, Any]) -> str:
    """The cookie of a sign-in on its way: MSAL's flow (state, nonce, PKCE verifier) and what it is for, ten minutes
    long, so that nothing is stored and another browser cannot finish it."""
    value = _sealed(sealer, kept | {"expires": int(time.time()) + FLOW_S}, _FLOW_PURPOSE)
    return web.cookie(FLOW_COOKIE, value, max_age_s=FLOW_S)


def kept_flow(request: func.HttpRequest, sealer: Sealer) -> dict[str, Any] | None:
    return _opened(sealer, web.read_cookie(request, FLOW_COOKIE), _FLOW_PURPOSE)


def forget_flow() -> str:
    return web.cookie(FLOW_COOKIE, "", max_age_s=0)


def _sealed(sealer: Sealer, value: dict[str, Any], purpose: str) -> str:
    return encode(sealer.seal(json.dumps(value).encode(), region=None, purpose=purpose))


def _opened(sealer: Sealer, sealed: str | None, purpose: str) -> dict[str, Any] | None:
    try:
        value: dict[str, Any] = json.loads(sealer.open(decode(sealed or ""), region=None, purpose=purpose))
    except NotOpened:
        return None
    return value if int(value["expires"]) > time.time() else None
