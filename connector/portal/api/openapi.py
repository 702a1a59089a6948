"""The OpenAPI 3.1 description of /api/v1, made of the signatures of its operations and of their models."""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter

from connector.portal.access import CONFIGURE, READ
from connector.portal.api.operations import LIMIT, MOST, ROOT, Operation
from connector.tenants import Page, Versioned


class Problem(BaseModel):
    """What went wrong, and whether the same request may succeed later (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    """Stable, such as `connection.conflict`."""
    reference: str
    """In the service's log too: for a question to the operator."""
    retry: bool
    errors: dict[str, str] = {}
    """Path of each field that is wrong, to what is wrong with it."""
    vendor_code: str | None = None
    vendor_reference: str | None = None
    vendor_link: str | None = None


_ALWAYS = {
    401: "No valid access token",
    403: "An app role, or the operator's listing of your tenant, is missing",
    404: "There is no such thing in your tenant, or the tenant has no region yet",
    422: "A field or a parameter is not as it must be",
    429: "Too many requests of your tenant",
    502: "A service that this one depends on gave an answer that it cannot use",
    503: "A service that this one depends on did not answer: try again",
}
_WITH_BODY = {400: "The body is not JSON", 413: "The body is larger than 256 KiB"}
_WHEN_WRITING = {409: "It contradicts what is there: the code says why"}
_WITH_VERSION = {412: "Changed since it was read", 428: "If-Match is missing"}
PARAMETERS: dict[str, dict[str, Any]] = {
    "connection": {"pattern": "^[aep][a-z2-7]{8}$"},
    "sender": {"pattern": "^[a-z0-9]{4,20}$"},
    "persona": {"enum": ["provider", "patient", "system"]},
    "link": {"pattern": "^[0-9a-f]{32}$"},
    "change": {"pattern": r"^[0-9]{13}\.[0-9a-f]{8}$"},
    "operation": {"format": "uuid"},
    "number": {"pattern": r"^\+[1-9][0-9]{6,14}$"},
}
_QUERY: dict[str, tuple[str, dict[str, Any]]] = {
    "limit": (f"Items on a page, {LIMIT} if not given", {"type": "integer", "minimum": 1, "maximum": MOST}),
    "continuation": ("As the page before gave it", {"type": "string", "maxLength": 500}),
    "target": ("Id of a connection, sender or link: its changes only", {"type": "string", "maxLength": 64}),
    "dry_run": ("Only say what would change", {"type": "boolean"}),
}
_ABOUT = """Everything that the portal can do. Sign in with the client credentials of an app of your own that an
administrator gave an app role of this one.

Writes of what others may write too take the ETag that was read, in If-Match. Asked twice, nothing is made twice: a base
URL, a number, a consent exists once, and a purchase that is under way is the one that is answered. Lists come in pages:
ask again with `continuation` until there is none. Errors are problem details with a stable `code`."""


def document(public_url: str, operations: Iterable[Operation]) -> dict[str, Any]:
    listed = list(operations)
    used = {one.body for one in listed} | {one.answer for one in listed} | {Problem}
    adapters = {kind: TypeAdapter[Any](kind) for kind in used if kind is not None}
    schemas, shared = TypeAdapter.json_schemas(
        [(kind, "validation", adapter) for kind, adapter in adapters.items()],
        ref_template="#/components/schemas/{model}",
    )
    known = {kind: schema for (kind, _), schema in schemas.items()}
    paths: dict[str, dict[str, Any]] = {}
    for one in listed:
        paths.setdefault(f"/{ROOT}{one.path}", {})[one.method.lower()] = _operation(one, known)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Teams EHR connector configuration API", "version": "1", "description": _ABOUT},
        "servers": [{"url": public_url}],
        "security": [{"entra": []}],
        "paths": paths,
        "components": {
            "schemas": shared.get("$defs", {}),
            "securitySchemes": {"entra": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _operation(one: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    described = {
        "operationId": one.run.__name__,
        "summary": one.summary,
        "description": f"App role {CONFIGURE}." if one.writes else f"App role {CONFIGURE} or {READ}.",
        "parameters": [*_path(one), *_queries(one), *([_IF_MATCH] if one.if_match else [])],
        "responses": _responses(one, schemas),
    }
    if one.body is not None:
        content = {"application/json": {"schema": schemas[one.body]}}
        described["requestBody"] = {"required": NoneType not in get_args(one.body), "content": content}
    return described


def _responses(one: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    good: dict[str, Any] = {"description": one.summary}
    if one.answer is not None:
        schema = _page_of(schemas[one.answer]) if one.kind is Page else schemas[one.answer]
        good["content"] = {"application/json": {"schema": schema}}
    headers = {"ETag": "Its version, for If-Match"} if one.kind is Versioned else {}
    headers |= {"Location": "Address of what was made"} if one.status in (201, 202) else {}
    if headers:
        good["headers"] = {name: _header(text) for name, text in headers.items()}
    responses = {str(status): good for status in (one.status, one.also) if status}
    problems = _ALWAYS | (_WITH_BODY if one.body else {}) | (_WHEN_WRITING if one.writes else {})
    for code, text in (problems | (_WITH_VERSION if one.if_match else {})).items():
        content = {"application/problem+json": {"schema": schemas[Problem]}}
        responses[str(code)] = {"description": text, "content": content}
        if code == 429:
            responses["429"]["headers"] = {"Retry-After": _header("Seconds")}
    return responses


def _path(one: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", **PARAMETERS[name]}}
        for name in re.findall(r"{(\w+)}", one.path)
    ]


def _queries(one: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "query", "required": False, "description": _QUERY[name][0], "schema": _QUERY[name][1]}
        for name in one.query
    ]


_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": True,
    "schema": {"type": "string"},
    "description": "The ETag that was read",
}


def _header(text: str) -> dict[str, Any]:
    return {"description": text, "schema": {"type": "string"}}


def _page_of(schema: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["items", "continuation"],
        "properties": {"items": {"type": "array", "items": schema}, "continuation": {"type": ["string", "null"]}},
    }
