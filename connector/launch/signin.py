"""Microsoft sign-in of clinicians, in one pair of routes; administrators have their own in the portal.

The MSAL flow (state, nonce, PKCE verifier) lives in a sealed cookie of the browser that began it, ten minutes long, so
nothing is stored and another browser can not finish it. What comes out is a sealed identity cookie for one purpose.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import azure.functions as func

from connector import web
from connector.errors import RefusedError
from connector.keys import NotOpened, Sealer, decode, encode
from connector.launch.session import SESSION_ID

if TYPE_CHECKING:
    from connector.adapters.entra import SignedInUser
    from connector.bootstrap import Services

Purpose = Literal["visit"]
_FLOW_COOKIE = "__Host-signin"
_FLOW_S = 600
_IDENTITY_S = {"visit": 600}


@dataclass(frozen=True)
class Identity:
    """A Microsoft account that signed in here for one purpose; `target` is the visit session, or empty."""

    purpose: Purpose
    target: str
    tenant_id: str
    object_id: str
    name: str
    username: str
    roles: tuple[str, ...]
    directory_roles: tuple[str, ...]
    expires: int


def identity(request: func.HttpRequest, sealer: Sealer, purpose: Purpose, target: str = "") -> Identity | None:
    """Who signed in for this purpose and target in this browser, if anybody."""
    value = _open(sealer, web.read_cookie(request, f"__Host-{purpose}"), purpose)
    if value is None or value.get("target") != target:
        return None
    return Identity(**{**value, "roles": tuple(value["roles"]), "directory_roles": tuple(value["directory_roles"])})


def forget(purpose: Purpose) -> str:
    """The cookie that ends a sign-in."""
    return web.cookie(f"__Host-{purpose}", "", max_age_s=0)


def blueprint(services: Callable[[], Services]) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("signin_start")
    @bp.route(route="signin", methods=["GET"])
    @web.answers_with_page
    def signin_start(req: func.HttpRequest) -> func.HttpResponse:
        session = web.query_one(req, "session")
        if session is None or not SESSION_ID.fullmatch(session):
            raise RefusedError(
                "signin.no_session",
                "This sign-in belongs to no visit. Open the visit from the patient's chart again.",
                title="Please open it from the chart again",
            )
        uri, flow = services().entra.begin_sign_in(_redirect_uri(services()), prompt="select_account")
        kept = {"target": session, "flow": flow, "expires": int(time.time()) + _FLOW_S}
        sealed = _seal(services().sealer, kept, "signin")
        return web.redirect(uri, cookies=(web.cookie(_FLOW_COOKIE, sealed, max_age_s=_FLOW_S),))

    @bp.function_name("signin_callback")
    @bp.route(route="signin/callback", methods=["GET"])
    @web.answers_with_page
    def signin_callback(req: func.HttpRequest) -> func.HttpResponse:
        kept = _open(services().sealer, web.read_cookie(req, _FLOW_COOKIE), "signin")
        if kept is None:
            raise RefusedError(
                "signin.expired",
                "This sign-in was not started in this browser or took longer than ten minutes. Please start again.",
                status=400,
                title="Please sign in again",
            )
        parameters = {name: values[0] for name, values in web.query(req).items() if len(values) == 1}
        user = services().entra.finish_sign_in(kept["flow"], parameters)
        purpose: Purpose = "visit"
        made = _identity_of(user, purpose, kept["target"])
        cookies = (
            web.cookie(_FLOW_COOKIE, "", max_age_s=0),
            web.cookie(
                f"__Host-{purpose}", _seal(services().sealer, asdict(made), purpose), max_age_s=_IDENTITY_S[purpose]
            ),
        )
        return web.redirect(f"{services().settings.public_url}/visits/{made.target}", cookies=cookies)

    return bp


def _redirect_uri(services: Services) -> str:
    return services.settings.public_url + "/signin/callback"


def _identity_of(user: SignedInUser, purpose: Purpose, target: str) -> Identity:
    return Identity(
        purpose=purpose,
        target=target,
        tenant_id=user.tenant_id,
        object_id=user.object_id,
        name=user.name[:120],
        username=user.username[:120],
        roles=tuple(sorted(user.roles)),
        directory_roles=tuple(sorted(user.directory_roles)),
        expires=int(time.time()) + _IDENTITY_S[purpose],
    )


def _seal(sealer: Sealer, value: dict[str, Any], purpose: str) -> str:
    return encode(
        sealer.seal(json.dumps(value, separators=(",", ":")).encode(), region=None, purpose=f"cookie.{purpose}")
    )


def _open(sealer: Sealer, sealed: str | None, purpose: str) -> dict[str, Any] | None:
    if not sealed:
        return None
    try:
        value: dict[str, Any] = json.loads(sealer.open(decode(sealed), region=None, purpose=f"cookie.{purpose}"))
    except NotOpened:
        return None
    return value if int(value.get("expires", 0)) > time.time() else None
