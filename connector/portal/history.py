"""Who changed what, when, before and after; and a connection as it was."""

from __future__ import annotations

import azure.functions as func

from connector import tenants
from connector.portal import people, settings
from connector.portal.connection import found
from connector.portal.entrance import Route, Visit
from connector.tenants import Connection, Versioned


def everything(visit: Visit) -> func.HttpResponse:
    """Changes of the whole tenant."""
    page = tenants.history(visit.scope, after=visit.asked("after"))
    named = {one.value.id: one.value.name for one in tenants.connections(visit.scope)}
    named |= _numbers(visit)
    return visit.page(
        "portal/history.html",
        page=page,
        people=people.names(visit, [change.actor for change in page.items]),
        named=named,
    )


def of_connection(visit: Visit) -> func.HttpResponse:
    present = found(visit)
    if not visit.posted:
        return _shown(visit, present)

    def change(etag: str) -> Versioned[Connection]:
        version = visit.fields.get("version", "")
        return tenants.restore(visit.scope, present.value.id, version, etag, visit.actor)

    refused = settings.attempt(visit, change)
    if refused is None:
        return visit.go(visit.path, saved="1")
    return _shown(visit, found(visit), status=refused[0], errors=refused[1])


def _shown(
    visit: Visit, present: Versioned[Connection], *, status: int = 200, errors: dict[str, str] | None = None
) -> func.HttpResponse:
    page = tenants.history(visit.scope, present.value.id, after=visit.asked("after"))
    return visit.page(
        "portal/connection_history.html",
        status=status,
        connection=present.value,
        etag=present.etag,
        tab="history",
        page=page,
        newest=not visit.asked("after"),
        named=_numbers(visit),
        people=people.names(visit, [change.actor for change in page.items]),
        saved=bool(visit.asked("saved")),
        errors=errors or {},
    )


def _numbers(visit: Visit) -> dict[str, str]:
    """What senders are called, by their ids."""
    return {one.id: one.value for one in tenants.senders(visit.scope)}


ROUTES = (
    Route("portal_history", "portal/history", everything),
    Route("portal_connection_history", "portal/connections/{connection}/history", of_connection, ("GET", "POST")),
)
