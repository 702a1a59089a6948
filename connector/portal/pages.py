"""The configuration portal: for now it shows what is configured and the integration records."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import azure.functions as func

from connector import tenants, web
from connector.launch import identity
from connector.portal.access import may_see_portal
from connector.portal.records import integration_records

if TYPE_CHECKING:
    from connector.bootstrap import Services


def blueprint(services: Callable[[], Services]) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("portal")
    @bp.route(route="portal", methods=["GET"])
    @web.answers_with_page
    def portal(req: func.HttpRequest) -> func.HttpResponse:
        who = identity(req, services().sealer, "portal")
        if who is None:
            return web.redirect(services().settings.public_url + "/signin")
        if not may_see_portal(who):
            return web.page("portal_refused.html", status=403, who=who)
        if services().settings.listed_bases(who.tenant_id) is None:
            return web.page("portal_unlisted.html", status=403, who=who)
        scope = services().directory.find(who.tenant_id)
        if scope is None:
            return web.page("portal_unpinned.html", who=who)
        senders = {sender.id: sender for sender in tenants.senders(scope)}
        shown = [
            {
                "connection": found.value,
                "sender": senders.get(found.value.sender_id or ""),
                "records": integration_records(services(), scope, found.value),
            }
            for found in tenants.connections(scope)
        ]
        return web.page(
            "portal.html", who=who, region=scope.region.value, connections=shown, senders=list(senders.values())
        )

    return bp
