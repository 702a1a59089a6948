"""Switching a connection off, or deleting it: what will happen is said first."""

from __future__ import annotations

from collections.abc import Mapping

import azure.functions as func

from connector import tenants
from connector.errors import RefusedError
from connector.languages import N_
from connector.portal import entrance, settings
from connector.portal.connection import found
from connector.portal.entrance import Route, Visit
from connector.tenants import Connection, ConnectionPatch, Versioned


def remove(visit: Visit) -> func.HttpResponse:
    present = found(visit)
    if not visit.posted:
        return _shown(visit, present)
    done = visit.fields.get("do", "")
    if done == "delete":
        return _delete(visit, present)
    if done not in ("on", "off"):
        raise entrance.unknown_action()
    active = done == "on"

    def change(etag: str) -> Versioned[Connection]:
        patch = ConnectionPatch(active=active)
        return tenants.change_connection(visit.scope, present.value.id, etag, patch, visit.actor)

    refused = settings.attempt(visit, change)
    if refused is None:
        return visit.go(visit.path, saved="1")
    return _shown(visit, found(visit), status=refused[0], errors=refused[1])


def _delete(visit: Visit, present: Versioned[Connection]) -> func.HttpResponse:
    """After a repeated sign-in, and the name of the connection typed again."""
    if not visit.who.confirmed:
        return visit.go("/portal/signin", why="confirm", to=visit.path)
    if visit.fields.get("confirm", "").strip() != present.value.name:
        return _shown(visit, present, status=422, errors={"confirm": N_("must be the name, as it stands above")})
    try:
        tenants.delete_connection(visit.scope, present.value.id, visit.fields.get("etag", ""), visit.actor)
    except RefusedError as error:
        if error.status != 412:
            raise
        return _shown(visit, found(visit), status=412, errors={"": error.message})
    return visit.go("/portal", deleted="1")


def _shown(
    visit: Visit, present: Versioned[Connection], *, status: int = 200, errors: Mapping[str, str] | None = None
) -> func.HttpResponse:
    return visit.page(
        "portal/connection_remove.html",
        status=status,
        connection=present.value,
        etag=present.etag,
        tab="remove",
        consequences=tenants.consequences(visit.scope, present.value.id),
        confirmed=visit.who.confirmed,
        typed=visit.fields.get("confirm", ""),
        saved=bool(visit.asked("saved")),
        errors=errors or {},
        **settings.meanwhile(visit, present.value.id, status),
    )


ROUTES = (Route("portal_connection_remove", "portal/connections/{connection}/remove", remove, ("GET", "POST")),)
