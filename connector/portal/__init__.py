"""The configuration portal and the configuration API, over the same functions of `tenants` and `messages`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from connector.portal import (
    connection,
    consent,
    credentials,
    departments,
    entrance,
    history,
    links,
    messages_pages,
    numbers_pages,
    onboarding,
    pages,
    parts,
    removal,
    selftest,
    setup,
    transfer,
)
from connector.portal.api import blueprint as api_blueprint
from connector.portal.signin import blueprint as signin_blueprint

if TYPE_CHECKING:
    import azure.functions as func

    from connector.bootstrap import Services

__all__ = ["api_blueprint", "pages_blueprint", "signin_blueprint"]


def pages_blueprint(services: Callable[[], Services]) -> func.Blueprint:
    """Every page behind the door of `entrance`."""
    of_tenant = (pages, onboarding, consent, setup, numbers_pages, history, transfer)
    of_connection = (connection, parts, departments, credentials, links, messages_pages, selftest, removal)
    routes = (route for module in (*of_tenant, *of_connection) for route in module.ROUTES)
    return entrance.blueprint(services, routes)
