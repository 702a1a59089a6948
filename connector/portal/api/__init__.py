"""The configuration API, /api/v1: Entra bearer tokens, If-Match on writes, problem+json."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import azure.functions as func

from connector import web
from connector.portal.api import checks, connections, history, messages, numbers, tenant
from connector.portal.api.limits import Limiter
from connector.portal.api.operations import ROOT, register

if TYPE_CHECKING:
    from connector.bootstrap import Services

OPERATIONS = tuple(
    one for module in (tenant, connections, history, messages, checks, numbers) for one in module.api.operations
)


@cache
def _document(public_url: str) -> dict[str, Any]:
    """Made once: anybody may ask for it."""
    from connector.portal.api.openapi import document

    return document(public_url, OPERATIONS)


def blueprint(services: Callable[[], Services], limiter: Limiter | None = None) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("api_openapi")
    @bp.route(route=f"{ROOT}/openapi.json", methods=["GET"])
    @web.answers_with_problem
    def api_openapi(req: func.HttpRequest) -> func.HttpResponse:
        return web.json_response(_document(services().settings.public_url))

    register(bp, services, OPERATIONS, limiter or Limiter())
    return bp
