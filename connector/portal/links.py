"""User links of a connection: which EHR user is which Microsoft account, and taking a link away."""

from __future__ import annotations

import azure.functions as func

from connector.launch import remove_link, user_links
from connector.portal import people
from connector.portal.connection import found
from connector.portal.entrance import Route, Visit


def links(visit: Visit) -> func.HttpResponse:
    connection = found(visit).value  # first: a link is found by the connection's id alone
    if visit.posted:
        remove_link(visit.scope, connection.id, visit.fields.get("link", ""), visit.actor)
        return visit.go(visit.path, removed="1")
    page = user_links(visit.scope, connection.id, limit=25, after=visit.asked("after"))
    return visit.page(
        "portal/connection_links.html",
        connection=connection,
        tab="links",
        page=page,
        people=people.names(visit, [link.object_id for link in page.items]),
        removed=bool(visit.asked("removed")),
    )


ROUTES = (Route("portal_connection_links", "portal/connections/{connection}/links", links, ("GET", "POST")),)
