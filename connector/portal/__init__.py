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

__all__ = ["ROUTES", "api_blueprint", "pages_blueprint", "signin_blueprint"]

_OF_TENANT = (pages, onboarding, consent, setup, numbers_pages, history, transfer)
_OF_CONNECTION = (connection, parts, departments, credentials, links, messages_pages, selftest, removal)
ROUTES = tuple(route for module in (*_OF_TENANT, *_OF_CONNECTION) for route in module.ROUTES)
"""Every page behind the door of `entrance`."""


def pages_blueprint(services: Callable[[], Services]) -> func.Blueprint:
    return entrance.blueprint(services, ROUTES)
