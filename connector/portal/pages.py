"""The front page, and the region that comes before it."""

from __future__ import annotations

import azure.functions as func

from connector import tenants
from connector.portal.entrance import Route, Visit
from connector.portal.records import integration_records


def home(visit: Visit) -> func.HttpResponse:
    senders = {sender.id: sender for sender in tenants.senders(visit.scope)}
    shown = [
        {
            "connection": found.value,
            "sender": senders.get(found.value.sender_id or ""),
            "records": integration_records(visit.services, visit.scope, found.value),
        }
        for found in tenants.connections(visit.scope)
    ]
    return visit.page(
        "portal/home.html", region=visit.scope.region.value, connections=shown, senders=list(senders.values())
    )


def region(visit: Visit) -> func.HttpResponse:
    return visit.go("/portal") if visit.found else visit.page("portal/region.html")


ROUTES = (
    Route("portal", "portal", home),
    Route("portal_region", "portal/region", region, pinned=False),
)
