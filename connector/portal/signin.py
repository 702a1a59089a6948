"""Microsoft sign-in of administrators: the first, the renewal of roles without a prompt, and the repeated proof.

The MSAL flow (state, nonce, PKCE verifier) lives in a sealed cookie of the browser that began it, ten minutes long and
named by its state, so that two tabs do not disturb each other.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import azure.functions as func

from connector import web
from connector.errors import RefusedError
from connector.keys import NotOpened, Sealer, decode, encode
from connector.portal import session
from connector.portal.access import may_see_portal
from connector.portal.session import PortalSession

if TYPE_CHECKING:
    from connector.adapters.entra import SignedInUser
    from connector.bootstrap import Services

FLOW_S = 600
_SKEW_S = 60
_STATE = re.compile(r"[A-Za-z0-9_-]{8,64}")
_OWN_PAGE = re.compile(r"/portal(/[A-Za-z0-9][A-Za-z0-9_.~-]*)*(\?[A-Za-z0-9_.~=&%+-]*)?")


def blueprint(services: Callable[[], Services]) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("portal_signin")
    @bp.route(route="portal/signin", methods=["GET"])
    @web.answers_with_page
    def portal_signin(req: func.HttpRequest) -> func.HttpResponse:
        """`why`: nothing, `other` (another account), `roles` (named again, without a prompt), `confirm`."""
        before, why = session.held(req, services().sealer), web.query_one(req, "why")
        asked: dict[str, Any] = {"login_hint": before.username} if before and why != "other" else {}
        if why == "confirm":
            asked |= {"prompt": "login", "max_age_s": 0}
        elif not asked:
            asked["prompt"] = "select_account"
        elif why == "roles":
            asked["prompt"] = "none"
        uri, flow = services().entra.begin_sign_in(redirect_uri(services()), **asked)
        kept = {"flow": flow, "why": why, "to": web.query_one(req, "to"), "at": int(time.time())}
        return web.redirect(uri, cookies=(keep(services().sealer, str(flow["state"]), kept),))

    @bp.function_name("portal_callback")
    @bp.route(route="portal/callback", methods=["GET"])
    @web.answers_with_page
    def portal_callback(req: func.HttpRequest) -> func.HttpResponse:
        state = web.query_one(req, "state") or ""
        kept = kept_flow(req, services().sealer, state)
        return _signed_in(services(), req, kept, forget(state))

    @bp.function_name("portal_signout")
    @bp.route(route="portal/signout", methods=["POST"])
    @web.answers_with_page
    def portal_signout(req: func.HttpRequest) -> func.HttpResponse:
        """Needs no form value: an ended session must be able to go, and Fetch metadata keep others away."""
        web.require_same_origin(req, services().settings.public_url)
        who = session.held(req, services().sealer)
        if who is not None:
            scope = services().directory.find(who.tenant_id)
            session.end(who, scope, everywhere="everywhere" in web.form(req))
        return web.redirect(services().settings.public_url + "/", cookies=(session.cookie(None, services().sealer),))

    return bp


def redirect_uri(services: Services) -> str:
    return services.settings.public_url + "/portal/callback"


def keep(sealer: Sealer, state: str, kept: dict[str, Any]) -> str:
    """The cookie of a flow on its way."""
    sealed = sealer.seal(json.dumps(kept).encode(), region=None, purpose="cookie.portal-flow", context=state)
    return web.cookie(_cookie(state), encode(sealed), max_age_s=FLOW_S)


def kept_flow(req: func.HttpRequest, sealer: Sealer, state: str) -> dict[str, Any]:
    """The flow that this browser began under `state`, at most ten minutes ago. Raises RefusedError."""
    try:
        sealed = decode(web.read_cookie(req, _cookie(state)) or "") if _STATE.fullmatch(state) else b""
        kept: dict[str, Any] = json.loads(sealer.open(sealed, region=None, purpose="cookie.portal-flow", context=state))
    except NotOpened:
        kept = {"at": 0}
    if kept["at"] + FLOW_S < time.time():
        raise RefusedError(
            "signin.expired",
            "This sign-in was not started in this browser or took longer than ten minutes. Please start again.",
            title="Please sign in again",
        )
    return kept


def forget(state: str) -> str:
    return web.cookie(_cookie(state), "", max_age_s=0)


def _cookie(state: str) -> str:
    return f"__Host-portal-{state}"


def _signed_in(
    services: Services, req: func.HttpRequest, kept: dict[str, Any], over: str
) -> func.HttpResponse:
    to = kept["to"] if _OWN_PAGE.fullmatch(kept["to"] or "") else "/portal"
    parameters = {name: values[0] for name, values in web.query(req).items() if len(values) == 1}
    try:
        user = services.entra.finish_sign_in(kept["flow"], parameters)
    except RefusedError as error:
        if error.code != "entra.interaction_required" or kept["why"] != "roles":
            raise
        visible = f"{services.settings.public_url}/portal/signin?{urlencode({'to': to})}"
        return web.redirect(visible, cookies=(over,))
    made = _session(services, session.held(req, services.sealer), user, kept)
    cookies = (over, session.cookie(made, services.sealer))
    return web.redirect(services.settings.public_url + to, cookies=cookies)


def _session(
    services: Services, before: PortalSession | None, user: SignedInUser, kept: dict[str, Any]
) -> PortalSession:
    """The session goes on when the same person proved it again and still holds a role; else a new one begins."""
    scope = services.directory.find(user.tenant_id) if may_see_portal(user) else None
    same = before is not None and before.is_of(user) and before.stored and session.counts(before, scope)
    if kept["why"] == "confirm":
        _require_proof(user, kept, same=same)
    if before is not None and same:
        return before.renewed(user, confirmed=kept["why"] == "confirm")
    if before is not None:
        session.end(before, services.directory.find(before.tenant_id))
    return session.begin(user, scope, before)


def _require_proof(user: SignedInUser, kept: dict[str, Any], *, same: bool) -> None:
    if not same:
        raise RefusedError(
            "signin.other_person",
            "You confirmed with another account, or your session ended meanwhile. Nothing was changed.",
            status=403,
            title="Please start this step again",
        )
    if user.authenticated_at is None:
        raise RefusedError(
            "signin.no_auth_time",
            "Microsoft does not say when you signed in, so this step can not be confirmed. The operator of this "
            "service adds the optional claim auth_time to the ID token of the app registration.",
            status=403,
            title="This step can not be confirmed",
        )
    if user.authenticated_at + _SKEW_S < kept["at"]:
        raise RefusedError(
            "signin.not_repeated",
            "Microsoft signed you in without asking again, so this step is not confirmed. Please start it again.",
            status=403,
            title="Please start this step again",
        )
