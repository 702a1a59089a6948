"""What belongs to no feature: home page, health, our public keys, static files, the answer to any other address."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import azure.functions as func

from connector import web
from connector.errors import ConnectorError, RefusedError
from connector.regions import Region
from connector.tenants import DIRECTORY, connection

if TYPE_CHECKING:
    from connector.bootstrap import Services

_STATIC = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".txt": "text/plain"}


def blueprint(services: Callable[[], Services]) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("health")
    @bp.route(route="health", methods=["GET"])
    @web.answers_with_problem
    def health(req: func.HttpRequest) -> func.HttpResponse:
        """The tables of every region answer: 200, else 503. Says nothing about tenants."""
        regions = {served.region.value: _reachable(services(), served.region) for served in services().settings.regions}
        return web.json_response(
            {"status": "ok" if all(regions.values()) else "failing", "storage": regions},
            status=200 if all(regions.values()) else 503,
        )

    @bp.function_name("jwks")
    @bp.route(route=".well-known/jwks.json", methods=["GET"])
    @web.answers_with_problem
    def jwks(req: func.HttpRequest) -> func.HttpResponse:
        return web.json_response(services().ehr.public_jwks(), headers={"Cache-Control": "public, max-age=300"})

    @bp.function_name("jwks_connection")
    @bp.route(route="launch/{connection}/jwks.json", methods=["GET"])
    @web.answers_with_problem
    def jwks_connection(req: func.HttpRequest) -> func.HttpResponse:
        """Public halves of the keys that a connection has for itself: one tenant cannot sign in another's name."""
        scope = services().directory.scope_of_connection(req.route_params.get("connection", ""))
        own = connection(scope, req.route_params["connection"]).value.credentials.values()
        keys = [shown.public_jwk for shown in own if shown.public_jwk]
        return web.json_response({"keys": keys}, headers={"Cache-Control": "public, max-age=300"})

    @bp.function_name("static_file")
    @bp.route(route="static/{file}", methods=["GET"])
    @web.answers_with_page
    def static_file(req: func.HttpRequest) -> func.HttpResponse:
        name = req.route_params.get("file", "")
        if name not in _static_files():
            raise _not_found()
        return web.respond(
            _static_files()[name], mimetype=_TYPES[Path(name).suffix], headers={"Cache-Control": "public, max-age=3600"}
        )

    # the host tries functions in alphabetical order of name, so this one must stay last
    @bp.function_name("zz_home")
    @bp.route(route="{*path}", methods=["GET"])
    @web.answers_with_page
    def zz_home(req: func.HttpRequest) -> func.HttpResponse:
        if req.route_params.get("path"):
            raise _not_found()
        return web.page("home.html")

    return bp


def _reachable(services: Services, region: Region) -> bool:
    try:
        services.storage.tables[region].get(DIRECTORY, "health", "health")
    except ConnectorError:
        return False
    return True


@lru_cache(maxsize=1)
def _static_files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in _STATIC.iterdir() if path.suffix in _TYPES}


def _not_found() -> RefusedError:
    return RefusedError(
        "web.not_found", "There is nothing at this address. Please check the link.", status=404, title="Page not found"
    )
