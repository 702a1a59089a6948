"""The self-test of a connection: the whole chain once, without a patient."""

from __future__ import annotations

import azure.functions as func

from connector import checks
from connector.portal.connection import found
from connector.portal.entrance import Route, Visit


def self_test(visit: Visit) -> func.HttpResponse:
    """The number that is typed is used once and kept nowhere."""
    connection = found(visit).value
    made = []
    if visit.posted:
        number = visit.fields.get("number", "").strip()
        made = checks.self_test(visit.services, visit.scope, connection, number, visit.actor)
    return visit.page(
        "portal/connection_selftest.html",
        connection=connection,
        tab="selftest",
        found=[check.formatted(visit.language.gettext) for check in made],
        number=visit.fields.get("number", ""),
    )


ROUTES = (
    Route("portal_connection_selftest", "portal/connections/{connection}/selftest", self_test, ("GET", "POST")),
)
