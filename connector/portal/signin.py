"""Microsoft sign-in of administrators: the first, the renewal of roles without a prompt, and the repeated proof."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import azure.functions as func

from connector import web
from connector.errors import RefusedError
from connector.languages import N_
from connector.portal import consent, flow, session
from connector.portal.access import may_see_portal
from connector.portal.session import PortalSession

if TYPE_CHECKING:
    from connector.adapters.entra import SignedInUser
    from connector.bootstrap import Services

_SKEW_S = 60


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
        uri, begun = services().entra.begin_sign_in(flow.redirect_uri(services()), **asked)
        kept = {"flow": begun, "why": why, "to": web.query_one(req, "to")}
        return web.redirect(uri, cookies=(flow.keep(services().sealer, str(begun["state"]), kept),))

    @bp.function_name("portal_callback")
    @bp.route(route="portal/callback", methods=["GET"])
    @web.answers_with_page
    def portal_callback(req: func.HttpRequest) -> func.HttpResponse:
        state = web.query_one(req, "state") or ""
        kept = flow.kept(req, services().sealer, state)
        if "consent" in kept:
            to = consent.answered(services(), req, kept)
            return web.redirect(services().settings.public_url + to, cookies=(flow.forget(state),))
        return _signed_in(services(), req, kept, flow.forget(state))

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


def _signed_in(
    services: Services, req: func.HttpRequest, kept: dict[str, Any], over: str
) -> func.HttpResponse:
    to = flow.own_page(kept["to"])
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
            N_("You confirmed with another account, or your session ended meanwhile. Nothing was changed."),
            status=403,
            title=N_("Please start this step again"),
        )
    if user.authenticated_at is None:
        raise RefusedError(
            "signin.no_auth_time",
            N_(
                "Microsoft does not say when you signed in, so this step cannot be confirmed. The operator of this "
                "service can add the optional claim auth_time to the ID token of the app registration."
            ),
            status=403,
            title=N_("This step cannot be confirmed"),
        )
    if user.authenticated_at + _SKEW_S < kept["at"]:
        raise RefusedError(
            "signin.not_repeated",
            N_("Microsoft signed you in without asking again, so this step is not confirmed. Please start it again."),
            status=403,
            title=N_("Please start this step again"),
        )
