"""The configuration API, /api/v1: Entra bearer tokens, If-Match on writes, problem+json."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import azure.functions as func
from pydantic import BaseModel, TypeAdapter, ValidationError

from connector import clock, messages, tenants, web
from connector.errors import RefusedError
from connector.portal.access import require_role
from connector.portal.openapi import document
from connector.portal.records import integration_records
from connector.tenants import Actor, Connection, TenantScope, Versioned

if TYPE_CHECKING:
    from connector.bootstrap import Services

M = TypeVar("M")


def blueprint(services: Callable[[], Services]) -> func.Blueprint:  # noqa: C901 - counts every handler it registers
    bp = func.Blueprint()

    @bp.function_name("api_openapi")
    @bp.route(route="api/v1/openapi.json", methods=["GET"])
    @web.answers_with_problem
    def api_openapi(req: func.HttpRequest) -> func.HttpResponse:
        return web.json_response(document(services().settings.public_url))

    @bp.function_name("api_tenant")
    @bp.route(route="api/v1/tenant", methods=["GET", "PUT"])
    @web.answers_with_problem
    def api_tenant(req: func.HttpRequest) -> func.HttpResponse:
        caller = _caller(services(), req)
        if req.method == "GET":
            scope = services().directory.scope(caller.tenant_id)
            return json_of(tenants.Tenant(tenant_id=scope.tenant_id, region=scope.region))
        wanted = read_body(req, tenants.TenantInput)
        known = services().directory.find(caller.tenant_id) is not None
        scope = services().directory.pin(caller.tenant_id, wanted.region)
        return json_of(tenants.Tenant(tenant_id=scope.tenant_id, region=scope.region), status=200 if known else 201)

    @bp.function_name("api_senders")
    @bp.route(route="api/v1/senders", methods=["GET", "POST"])
    @web.answers_with_problem
    def api_senders(req: func.HttpRequest) -> func.HttpResponse:
        scope, actor = scope_and_actor(services(), req)
        if req.method == "GET":
            return web.json_response({"items": [dump(sender) for sender in tenants.senders(scope)]})
        return json_of(tenants.add_sender(scope, read_body(req, tenants.SenderInput), actor), status=201)

    @bp.function_name("api_consents")
    @bp.route(route="api/v1/consents", methods=["GET", "PUT"])
    @web.answers_with_problem
    def api_consents(req: func.HttpRequest) -> func.HttpResponse:
        scope, actor = scope_and_actor(services(), req)
        if req.method == "PUT":
            tenants.give_consents(scope, read_body(req, dict[tenants.ConsentKind, str]), actor)
        return json_of(tenants.consent_state(scope))

    @bp.function_name("api_connections")
    @bp.route(route="api/v1/connections", methods=["GET", "POST"])
    @web.answers_with_problem
    def api_connections(req: func.HttpRequest) -> func.HttpResponse:
        scope, actor = scope_and_actor(services(), req)
        if req.method == "GET":
            return web.json_response({"items": [dump(found.value) for found in tenants.connections(scope)]})
        wanted = read_body(req, tenants.ConnectionInput)
        if "scopes_version" not in wanted.model_fields_set:
            wanted = wanted.model_copy(update={"scopes_version": services().settings.smart_scopes_version})
        made = tenants.add_connection(services().directory, scope, wanted, actor)
        location = f"{services().settings.public_url}/api/v1/connections/{made.value.id}"
        return versioned(made, status=201, location=location)

    @bp.function_name("api_connection")
    @bp.route(route="api/v1/connections/{connection}", methods=["GET", "PATCH"])
    @web.answers_with_problem
    def api_connection(req: func.HttpRequest) -> func.HttpResponse:
        scope, actor = scope_and_actor(services(), req)
        if req.method == "GET":
            return versioned(tenants.connection(scope, connection_id(req)))
        patch = read_body(req, tenants.ConnectionPatch)
        changed = tenants.change_connection(scope, connection_id(req), if_match(req), patch, actor)
        messages.configured(scope, changed.value, clock.now())
        return versioned(changed)

    @bp.function_name("api_departments")
    @bp.route(route="api/v1/connections/{connection}/departments", methods=["GET", "PUT"])
    @web.answers_with_problem
    def api_departments(req: func.HttpRequest) -> func.HttpResponse:
        scope, actor = scope_and_actor(services(), req)
        if req.method == "GET":
            found = tenants.connection(scope, connection_id(req))
            return web.json_response(
                {"items": [dump(d) for d in found.value.departments]}, headers={"ETag": found.etag}
            )
        wanted = read_body(req, list[tenants.Department])
        changed = tenants.set_departments(scope, connection_id(req), if_match(req), wanted, actor)
        messages.configured(scope, changed.value, clock.now())
        return versioned(changed)

    @bp.function_name("api_sender_link")
    @bp.route(route="api/v1/connections/{connection}/sender", methods=["PUT"])
    @web.answers_with_problem
    def api_sender_link(req: func.HttpRequest) -> func.HttpResponse:
        scope, actor = scope_and_actor(services(), req)
        wanted = read_body(req, tenants.SenderLink)
        return versioned(tenants.link_sender(scope, connection_id(req), if_match(req), wanted.sender_id, actor))

    @bp.function_name("api_records")
    @bp.route(route="api/v1/connections/{connection}/integration-records", methods=["GET"])
    @web.answers_with_problem
    def api_records(req: func.HttpRequest) -> func.HttpResponse:
        scope, _ = scope_and_actor(services(), req)
        found = tenants.connection(scope, connection_id(req)).value
        return json_of(integration_records(services(), scope, found))

    return bp


def _caller(services: Services, req: func.HttpRequest) -> Any:
    token = web.bearer(req)
    if token is None:
        raise RefusedError(
            "api.no_token",
            "Send an Entra access token for this API as a bearer token.",
            status=401,
            title="Not signed in",
        )
    caller = services.entra.verify_api_token(token)
    require_role(caller, write=req.method != "GET")
    return caller


def scope_and_actor(services: Services, req: func.HttpRequest) -> tuple[TenantScope, Actor]:
    caller = _caller(services, req)
    return services.directory.scope(caller.tenant_id), Actor(caller.object_id)


def read_body(req: func.HttpRequest, model: type[M]) -> M:
    value = web.json_body(req)
    try:
        return TypeAdapter(model).validate_python(value)
    except ValidationError as error:
        raise tenants.invalid(error) from None


def connection_id(req: func.HttpRequest) -> str:
    return str(req.route_params.get("connection", ""))


def if_match(req: func.HttpRequest) -> str:
    etag: str | None = req.headers.get("If-Match")
    if not etag:
        raise RefusedError(
            "api.no_if_match",
            "Send the ETag that you read in If-Match, so that nobody's change is overwritten.",
            status=428,
            title="If-Match is missing",
        )
    return etag


def dump(value: BaseModel) -> Any:
    return value.model_dump(mode="json")


def json_of(value: BaseModel, *, status: int = 200) -> func.HttpResponse:
    return web.json_response(dump(value), status=status)


def versioned(found: Versioned[Connection], *, status: int = 200, location: str | None = None) -> func.HttpResponse:
    headers = {"ETag": found.etag} | ({"Location": location} if location else {})
    return web.json_response(dump(found.value), status=status, headers=headers)
