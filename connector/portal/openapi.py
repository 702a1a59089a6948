"""The OpenAPI 3.1 description of /api/v1, generated from the models that validate its requests."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from connector.messages import Forecast, MessageStatus
from connector.portal.messages_models import MessageStatusPage, OptOut, OptOutInput, ReleaseInput
from connector.portal.records import IntegrationRecords
from connector.tenants import (
    Connection,
    ConnectionInput,
    ConnectionPatch,
    ConsentState,
    Department,
    MessageSettings,
    Sender,
    SenderInput,
    SenderLink,
    Tenant,
    TenantInput,
)

_MODELS: tuple[type[BaseModel], ...] = (
    Connection,
    ConnectionInput,
    ConnectionPatch,
    ConsentState,
    Department,
    Forecast,
    IntegrationRecords,
    MessageSettings,
    MessageStatus,
    MessageStatusPage,
    OptOut,
    OptOutInput,
    ReleaseInput,
    Sender,
    SenderInput,
    SenderLink,
    Tenant,
    TenantInput,
)
_PROBLEMS = {
    "400": "The request is not readable",
    "401": "No valid access token",
    "403": "A role or a listing is missing",
    "404": "There is no such thing in your tenant",
    "409": "It exists already or contradicts what exists",
    "412": "Changed since it was read",
    "413": "The body is too large",
    "422": "A field is not as it must be",
    "428": "If-Match is missing",
    "502": "A vendor refused",
    "503": "Try again",
}
_BOTH_ROLES = "App role Connector.Configure or Connector.Read."
_WRITE_ROLE = "App role Connector.Configure."


def document(public_url: str) -> dict[str, Any]:
    _, schemas = models_json_schema(
        [(model, "validation") for model in _MODELS], ref_template="#/components/schemas/{model}"
    )
    problem = {
        "type": "object",
        "required": ["title", "status", "code", "reference", "retry"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string"},
            "reference": {"type": "string"},
            "retry": {"type": "boolean"},
            "errors": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Teams EHR connector configuration API", "version": "1"},
        "servers": [{"url": public_url}],
        "security": [{"entra": []}],
        "paths": _paths(),
        "components": {
            "schemas": {**schemas.get("$defs", {}), "Problem": problem},
            "securitySchemes": {"entra": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _paths() -> dict[str, Any]:
    one = "/api/v1/connections/{connection}"
    return {
        "/api/v1/tenant": {
            "get": _operation("Your tenant and its region", Tenant),
            "put": _operation("Pin your tenant to a region, once", Tenant, TenantInput, also=201),
        },
        "/api/v1/senders": {
            "get": _operation("Senders", _page_of(Sender)),
            "post": _operation("Add a sender", Sender, SenderInput, status=201),
        },
        "/api/v1/consents": {
            "get": _operation("The two consents to text patients: given and missing", ConsentState),
            "put": _operation(
                "Agree to conditions, by the version of their words",
                ConsentState,
                {"type": "object", "additionalProperties": {"type": "string"}},
            ),
        },
        "/api/v1/connections": {
            "get": _operation("Connections", _page_of(Connection)),
            "post": _operation("Add a connection", Connection, ConnectionInput, status=201),
        },
        one: {
            "parameters": [_CONNECTION],
            "get": _operation("A connection", Connection),
            "patch": _operation("Change a connection", Connection, ConnectionPatch, if_match=True),
        },
        f"{one}/departments": {
            "parameters": [_CONNECTION],
            "get": _operation("Departments", _page_of(Department)),
            "put": _operation("Set the departments", Connection, _list_of(Department), if_match=True),
        },
        f"{one}/sender": {
            "parameters": [_CONNECTION],
            "put": _operation("Link a sender", Connection, SenderLink, if_match=True),
        },
        f"{one}/integration-records": {
            "parameters": [_CONNECTION],
            "get": _operation("What to enter in Cerner", IntegrationRecords),
        },
        **_messages(one),
    }


def _messages(one: str) -> dict[str, Any]:
    """Brakes take no If-Match: whoever stops something must not lose a race."""
    settings, connection = f"{one}/messages/settings", {"parameters": [_CONNECTION]}
    write = {"description": _WRITE_ROLE}
    return {
        "/api/v1/messages/status": {
            "get": _operation("Messages of every connection: counts, brakes, alarms", MessageStatusPage)
        },
        f"{one}/messages/status": {**connection, "get": _operation("Messages of a connection", MessageStatus)},
        f"{one}/messages/forecast": {
            **connection,
            "get": _operation("Who would be texted in the next 24 hours: counts by hour, kind and rule", Forecast),
        },
        settings: {
            **connection,
            "get": _operation("Settings", MessageSettings),
            "put": _operation("Replace the settings", Connection, MessageSettings, if_match=True),
        },
        f"{one}/messages/pause": {**connection, "post": _operation("Pause a connection", MessageStatus) | write},
        f"{one}/messages/resume": {**connection, "post": _operation("Resume a connection", MessageStatus) | write},
        f"{one}/messages/release": {
            **connection,
            "post": _operation("Release what is held, of a kind or all", MessageStatus, ReleaseInput),
        },
        "/api/v1/senders/{sender}/opt-outs": {
            "parameters": [_SENDER],
            "post": _operation("Stop, or restart, the texts to a number", OptOut, OptOutInput, status=201),
        },
        "/api/v1/senders/{sender}/pause": {
            "parameters": [_SENDER],
            "post": _operation("Pause a sender", Sender) | write,
        },
        "/api/v1/senders/{sender}/resume": {
            "parameters": [_SENDER],
            "post": _operation("Resume a sender", Sender) | write,
        },
    }


_CONNECTION = {"name": "connection", "in": "path", "required": True, "schema": {"type": "string"}}
_SENDER = {"name": "sender", "in": "path", "required": True, "schema": {"type": "string"}}
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": True,
    "schema": {"type": "string"},
    "description": "The ETag that was read",
}


def _operation(
    summary: str,
    answer: type[BaseModel] | dict[str, Any],
    body: type[BaseModel] | dict[str, Any] | None = None,
    *,
    status: int = 200,
    also: int | None = None,
    if_match: bool = False,
) -> dict[str, Any]:
    good = {"description": summary, "content": {"application/json": {"schema": _schema(answer)}}}
    responses: dict[str, Any] = {str(status): good} | ({str(also): good} if also else {})
    for code, text in _PROBLEMS.items():
        responses[code] = {
            "description": text,
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    operation: dict[str, Any] = {
        "summary": summary,
        "description": _WRITE_ROLE if body else _BOTH_ROLES,
        "responses": responses,
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _schema(body)}}}
    if if_match:
        operation["parameters"] = [_IF_MATCH]
    return operation


def _schema(model: type[BaseModel] | dict[str, Any]) -> dict[str, Any]:
    return model if isinstance(model, dict) else {"$ref": f"#/components/schemas/{model.__name__}"}


def _list_of(model: type[BaseModel]) -> dict[str, Any]:
    return {"type": "array", "items": _schema(model)}


def _page_of(model: type[BaseModel]) -> dict[str, Any]:
    return {"type": "object", "required": ["items"], "properties": {"items": _list_of(model)}}
