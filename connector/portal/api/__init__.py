"""The configuration API, /api/v1: Entra bearer tokens, If-Match on writes, problem+json."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

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


def blueprint(services: Callable[[], Services], limiter: Limiter | None = None) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("api_openapi")
    @bp.route(route=f"{ROOT}/openapi.json", methods=["GET"])
    @web.answers_with_problem
    def api_openapi(req: func.HttpRequest) -> func.HttpResponse:
        from connector.portal.api.openapi import document

        return web.json_response(document(services().settings.public_url, OPERATIONS))

    register(bp, services, OPERATIONS, limiter or Limiter())
    return bp
