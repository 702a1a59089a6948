"""The configuration portal and the configuration API, over the same functions of `tenants` and `messages`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from connector.portal import entrance, messages_pages, pages
from connector.portal.api import blueprint as api_blueprint
from connector.portal.signin import blueprint as signin_blueprint

if TYPE_CHECKING:
    import azure.functions as func

    from connector.bootstrap import Services

__all__ = ["api_blueprint", "pages_blueprint", "signin_blueprint"]


def pages_blueprint(services: Callable[[], Services]) -> func.Blueprint:
    return entrance.blueprint(services, (*pages.ROUTES, *messages_pages.ROUTES))
