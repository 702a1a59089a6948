"""The messages part of /api/v1: status, forecast, settings, brakes and opt-outs that staff enter."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import azure.functions as func

from connector import clock, messages, tenants, web
from connector.errors import RefusedError
from connector.portal.api import connection_id, dump, if_match, json_of, read_body, scope_and_actor, versioned
from connector.portal.messages_models import OptOut, OptOutInput, ReleaseInput
from connector.tenants import Actor, Connection, Sender, TenantScope

if TYPE_CHECKING:
    from connector.bootstrap import Services


def blueprint(services: Callable[[], Services]) -> func.Blueprint:  # noqa: C901 - counts every handler it registers
    bp = func.Blueprint()

    @bp.function_name("api_messages_all")
    @bp.route(route="api/v1/messages/status", methods=["GET"])
    @web.answers_with_problem
    def api_messages_all(req: func.HttpRequest) -> func.HttpResponse:
        scope, _ = scope_and_actor(services(), req)
        found = [messages.connection_status(scope, one.value, clock.now()) for one in tenants.connections(scope)]
        return web.json_response({"items": [dump(one) for one in found]})

    @bp.function_name("api_messages_status")
    @bp.route(route="api/v1/connections/{connection}/messages/status", methods=["GET"])
    @web.answers_with_problem
    def api_messages_status(req: func.HttpRequest) -> func.HttpResponse:
        scope, found, _ = _found(services(), req)
        return json_of(messages.connection_status(scope, found, clock.now()))

    @bp.function_name("api_messages_forecast")
    @bp.route(route="api/v1/connections/{connection}/messages/forecast", methods=["GET"])
    @web.answers_with_problem
    def api_messages_forecast(req: func.HttpRequest) -> func.HttpResponse:
        scope, found, _ = _found(services(), req)
        return json_of(messages.connection_forecast(scope, found, clock.now()))

    @bp.function_name("api_messages_settings")
    @bp.route(route="api/v1/connections/{connection}/messages/settings", methods=["GET", "PUT"])
    @web.answers_with_problem
    def api_messages_settings(req: func.HttpRequest) -> func.HttpResponse:
        scope, actor = scope_and_actor(services(), req)
        if req.method == "GET":
            present = tenants.connection(scope, connection_id(req))
            return web.json_response(dump(present.value.messages), headers={"ETag": present.etag})
        wanted = tenants.ConnectionPatch(messages=read_body(req, tenants.MessageSettings))
        changed = tenants.change_connection(scope, connection_id(req), if_match(req), wanted, actor)
        messages.configured(scope, changed.value, clock.now())
        return versioned(changed)

    @bp.function_name("api_messages_pause")
    @bp.route(route="api/v1/connections/{connection}/messages/pause", methods=["POST"])
    @web.answers_with_problem
    def api_messages_pause(req: func.HttpRequest) -> func.HttpResponse:
        scope, found, actor = _found(services(), req)
        messages.pause(scope, found, clock.now(), actor)
        return json_of(messages.connection_status(scope, found, clock.now()))

    @bp.function_name("api_messages_resume")
    @bp.route(route="api/v1/connections/{connection}/messages/resume", methods=["POST"])
    @web.answers_with_problem
    def api_messages_resume(req: func.HttpRequest) -> func.HttpResponse:
        scope, found, actor = _found(services(), req)
        messages.resume(scope, found, clock.now(), actor)
        return json_of(messages.connection_status(scope, found, clock.now()))

    @bp.function_name("api_messages_release")
    @bp.route(route="api/v1/connections/{connection}/messages/release", methods=["POST"])
    @web.answers_with_problem
    def api_messages_release(req: func.HttpRequest) -> func.HttpResponse:
        scope, found, actor = _found(services(), req)
        wanted = read_body(req, ReleaseInput) if req.get_body() else ReleaseInput()
        if wanted.forget_due:
            messages.forget_due(scope, found, clock.now())
        messages.release(scope, found, wanted.kind, clock.now(), actor)
        return json_of(messages.connection_status(scope, found, clock.now()))

    @bp.function_name("api_sender_opt_outs")
    @bp.route(route="api/v1/senders/{sender}/opt-outs", methods=["POST"])
    @web.answers_with_problem
    def api_sender_opt_outs(req: func.HttpRequest) -> func.HttpResponse:
        if req.route_params.get("sender") == messages.EMAIL:
            scope, _ = scope_and_actor(services(), req)
            sender_id, wanted = messages.EMAIL, read_body(req, OptOutInput)
            contact = _given(wanted.address, "address").lower()
        else:
            scope, _, found = _sender(services(), req)
            sender_id, wanted = found.id, read_body(req, OptOutInput)
            contact = messages.international(_given(wanted.number, "number"), found)
        messages.record_opt_out(scope, sender_id, contact, out=wanted.out, via="staff")
        return json_of(OptOut(sender_id=sender_id, out=wanted.out), status=201)

    @bp.function_name("api_sender_pause")
    @bp.route(route="api/v1/senders/{sender}/pause", methods=["POST"])
    @web.answers_with_problem
    def api_sender_pause(req: func.HttpRequest) -> func.HttpResponse:
        scope, actor, found = _sender(services(), req)
        messages.pause_sender(scope, found.id, clock.now(), actor)
        return json_of(found)

    @bp.function_name("api_sender_resume")
    @bp.route(route="api/v1/senders/{sender}/resume", methods=["POST"])
    @web.answers_with_problem
    def api_sender_resume(req: func.HttpRequest) -> func.HttpResponse:
        scope, actor, found = _sender(services(), req)
        messages.pause_sender(scope, found.id, clock.now(), actor, paused=False)
        return json_of(found)

    return bp


def _found(services: Services, req: func.HttpRequest) -> tuple[TenantScope, Connection, Actor]:
    scope, actor = scope_and_actor(services, req)
    return scope, tenants.connection(scope, connection_id(req)).value, actor


def _given(value: str | None, name: str) -> str:
    if value is None:
        raise tenants.invalid({name: "is missing"})
    return value


def _sender(services: Services, req: func.HttpRequest) -> tuple[TenantScope, Actor, Sender]:
    scope, actor = scope_and_actor(services, req)
    found = tenants.sender(scope, str(req.route_params.get("sender", "")))
    if found is None:
        raise RefusedError("sender.unknown", "There is no such sender.", status=404, title="Not found")
    return scope, actor, found
