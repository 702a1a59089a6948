"""Admin consent: an administrator allows the app in the organization, and a token proves it.

Source: Microsoft identity platform, "Admin consent on the Microsoft identity platform". Whatever tenant the answer
names is not believed: the consent counts for the tenant of the session that asked, when a fresh token of our own in
that tenant carries the permissions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import azure.functions as func

from connector import web
from connector.checks import REQUIRED
from connector.errors import PermanentError, RefusedError
from connector.keys import fingerprint, secret
from connector.languages import N_
from connector.portal import flow, session
from connector.portal.entrance import Route, Visit

if TYPE_CHECKING:
    from connector.bootstrap import Services


def ask(visit: Visit) -> func.HttpResponse:
    """To Microsoft's page. Only asks: nothing is changed here, so a link may lead to it."""
    state = secret()
    kept = {"consent": fingerprint(visit.who.id), "to": visit.asked("to")}
    entra = visit.services.entra
    where = entra.admin_consent_url(visit.who.tenant_id, flow.redirect_uri(visit.services), state)
    return web.redirect(where, cookies=(flow.keep(visit.services.sealer, state, kept),))


def answered(services: Services, req: func.HttpRequest, kept: dict[str, Any]) -> str:
    """The page to go on to, when the consent is proven. Raises RefusedError."""
    who = session.held(req, services.sealer)
    if who is None or fingerprint(who.id) != kept["consent"]:
        raise RefusedError(
            "consent.other_session",
            N_("You signed in as somebody else meanwhile. Ask Microsoft for the consent again."),
            status=403,
            title=N_("Please ask again"),
        )
    if web.query_one(req, "error"):
        raise RefusedError(
            "consent.refused",
            N_(
                "Microsoft reports that the consent was not given. A Global Administrator or a Privileged Role "
                "Administrator of your organization can give it; send them to this portal."
            ),
            status=403,
            title=N_("Consent was not given"),
        )
    if REQUIRED - granted(services, who.tenant_id):
        raise RefusedError(
            "consent.not_proven",
            N_(
                "Microsoft does not give this service the permissions in your organization yet. That can take a "
                "few minutes after the consent: wait, then check again."
            ),
            status=409,
            title=N_("Consent is not in force yet"),
        )
    return flow.own_page(kept["to"])


def granted(services: Services, tenant_id: str) -> frozenset[str]:
    """The permissions in a fresh token of our own; none without consent. Raises TransientError."""
    try:
        return services.entra.app_roles(tenant_id)
    except PermanentError:
        return frozenset()


ROUTES = (Route("portal_consent", "portal/consent", ask, pinned=False),)
