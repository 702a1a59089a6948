"""What an operation of /api/v1 is: a function whose signature is its contract.

`body: Model` is what it is sent, the return type what it answers; OpenAPI is made of both. Everything that all of them
have in common happens here, in this order: token, role, rate limit, tenant, If-Match, body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import NoneType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import azure.functions as func
from pydantic import BaseModel, TypeAdapter, ValidationError

from connector import clock, messages, tenants, web
from connector.errors import RefusedError
from connector.keys import NotOpened, decode, encode
from connector.portal.access import require_role
from connector.tenants import Actor, Connection, Page, TenantScope, Versioned

if TYPE_CHECKING:
    from connector.adapters.entra import ApiCaller
    from connector.bootstrap import Services
    from connector.portal.api.limits import Limiter

ROOT = "api/v1"
LIMIT = 50
MOST = 200
V = TypeVar("V")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Answer(Generic[V]):
    """A value with a status of its own, or with the address of what was made, below /api/v1."""

    value: V
    status: int | None = None
    location: str | None = None


@dataclass(frozen=True)
class Unchecked(Generic[V]):
    """A body that has the form of a model when all is well, and that the function itself checks."""

    value: object


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    """Below /api/v1; the names of its parameters are those of openapi.PARAMETERS."""
    summary: str
    run: Callable[..., Any] = field(repr=False)
    status: int
    also: int | None
    """Another status with the same answer."""
    if_match: bool
    query: tuple[str, ...]
    cost: int
    """Of the tenant's rate limit."""
    needs_tenant: bool
    body: Any
    checks_body: bool
    answer: Any
    """The type within Versioned, Page or Answer; None for an empty answer."""
    kind: type | None
    """Versioned or Page; None for a bare value."""

    @property
    def name(self) -> str:
        return f"api_{self.run.__name__}"

    @property
    def writes(self) -> bool:
        return self.method != "GET"


class Registry:
    """The operations of a module, in the order in which they stand there."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    def operation(
        self,
        method: str,
        path: str,
        summary: str,
        *,
        status: int | None = None,
        also: int | None = None,
        if_match: bool = False,
        query: tuple[str, ...] = (),
        cost: int = 1,
        needs_tenant: bool = True,
    ) -> Callable[[F], F]:
        def register(run: F) -> F:
            hints = get_type_hints(run)
            answer, kind = hints["return"], None
            while get_origin(answer) in (Answer, Versioned, Page):
                kind = kind if get_origin(answer) is Answer else get_origin(answer)
                (answer,) = get_args(answer)
            answer = None if answer is type(None) else answer
            body, checks_body = hints.get("body"), get_origin(hints.get("body")) is not Unchecked
            if not checks_body:
                (body,) = get_args(body)
            known = status or (204 if answer is None else 200)
            paged = ("limit", "continuation") if kind is Page else ()
            self.operations.append(
                Operation(method, path, summary, run, known, also, if_match, (*query, *paged), cost, needs_tenant,
                          body, checks_body, answer, kind)
            )  # fmt: skip
            return run

        return register


@dataclass(frozen=True)
class Call:
    """One request, by a caller who may make it."""

    services: Services
    caller: ApiCaller
    request: func.HttpRequest
    operation: Operation

    @cached_property
    def scope(self) -> TenantScope:
        """Raises RefusedError (404) when the tenant has no region yet."""
        return self.services.directory.scope(self.caller.tenant_id)

    @property
    def actor(self) -> Actor:
        return Actor(self.caller.object_id)

    def param(self, name: str) -> str:
        return str(self.request.route_params.get(name, ""))

    @cached_property
    def connection_id(self) -> str:
        return self.param("connection")

    @cached_property
    def connection(self) -> Connection:
        """Raises RefusedError (404), also for another tenant's."""
        return tenants.connection(self.scope, self.connection_id).value

    @cached_property
    def etag(self) -> str:
        etag: str | None = self.request.headers.get("If-Match")
        if not etag:
            raise RefusedError(
                "api.no_if_match",
                "Send the ETag that you read in If-Match, so that nobody's change is overwritten.",
                status=428,
                title="If-Match is missing",
            )
        return etag

    def query(self, name: str) -> str:
        return web.query_one(self.request, name) or ""

    def flag(self, name: str) -> bool:
        value = self.query(name)
        if value not in ("", "true", "false"):
            raise tenants.invalid({name: "must be true or false"})
        return value == "true"

    @cached_property
    def limit(self) -> int:
        asked = self.query("limit") or str(LIMIT)
        if not (asked.isascii() and asked.isdecimal() and 1 <= int(asked[:4]) <= MOST and len(asked) < 4):
            raise tenants.invalid({"limit": "must be a whole number from 1 to 200"})
        return int(asked)

    @cached_property
    def after(self) -> str:
        """Where the page before ended. Sealed, so that it is opaque and good for the same list of this tenant only."""
        token = self.query("continuation")
        if not token:
            return ""
        try:
            opened = self.services.sealer.open(
                decode(token), region=self.scope.region, purpose="page", context=self._list
            )
        except NotOpened:
            raise tenants.invalid({"continuation": "is not one that this list gave"}) from None
        return opened.decode()

    def continuation(self, after: str) -> str:
        sealer, region = self.services.sealer, self.scope.region
        return encode(sealer.seal(after.encode(), region=region, purpose="page", context=self._list))

    @property
    def _list(self) -> str:
        asked = sorted((name, self.param(name)) for name in self.request.route_params)
        return f"{self.caller.tenant_id}|{self.operation.path}|{asked}|{self.query('target')}"

    def page(self, items: Iterable[tuple[str, V]]) -> Page[V]:
        """A page of a list that is small enough to be read whole: pairs of a sortable name and the item."""
        after, limit = self.after, self.limit
        rest = sorted((pair for pair in items if pair[0] > after), key=lambda pair: pair[0])
        return Page([item for _, item in rest[:limit]], rest[limit - 1][0] if len(rest) > limit else None)

    def configured(self, changed: Versioned[Connection]) -> Versioned[Connection]:
        """To be called with each connection that was written: messages may begin, or end, with it."""
        messages.configured(self.scope, changed.value, clock.now())
        return changed

    @cached_property
    def body(self) -> Any:
        if not self.request.get_body() and NoneType in get_args(self.operation.body):
            return None
        value = web.json_body(self.request)
        if not self.operation.checks_body:
            return Unchecked(value)
        try:
            return TypeAdapter(self.operation.body).validate_python(value)
        except ValidationError as error:
            raise tenants.invalid(error) from None


def register(
    blueprint: func.Blueprint, services: Callable[[], Services], operations: Iterable[Operation], limiter: Limiter
) -> None:
    for one in operations:
        handler = web.answers_with_problem(_handler(services, one, limiter))
        blueprint.function_name(one.name)(blueprint.route(route=ROOT + one.path, methods=[one.method])(handler))


def _handler(
    services: Callable[[], Services], operation: Operation, limiter: Limiter
) -> Callable[[func.HttpRequest], func.HttpResponse]:
    def handler(req: func.HttpRequest) -> func.HttpResponse:
        caller = _caller(services(), req, write=operation.writes)
        limiter.take(caller.tenant_id, operation.cost)
        call = Call(services(), caller, req, operation)
        if operation.needs_tenant:
            _ = call.scope
        if operation.if_match:
            _ = call.etag
        arguments = [call] if operation.body is None else [call, call.body]
        return _answered(call, operation.run(*arguments))

    return handler


def _caller(services: Services, req: func.HttpRequest, *, write: bool) -> ApiCaller:
    token = web.bearer(req)
    if token is None:
        raise RefusedError(
            "api.no_token",
            "Send an Entra access token for this API as a bearer token.",
            status=401,
            title="Not signed in",
        )
    caller = services.entra.verify_api_token(token)
    require_role(caller, write=write)
    return caller


def _answered(call: Call, value: Any) -> func.HttpResponse:
    status, headers = call.operation.status, dict[str, str]()
    if isinstance(value, Answer):
        status = value.status or status
        if value.location:
            headers["Location"] = f"{call.services.settings.public_url}/{ROOT}{value.location}"
        value = value.value
    if isinstance(value, Versioned):
        headers["ETag"] = value.etag
        value = value.value
    if value is None:
        return web.respond(status=status, headers=headers)
    if isinstance(value, Page):
        shown = {"items": [_dumped(item) for item in value.items]}
        value = shown | {"continuation": call.continuation(value.after) if value.after else None}
    return web.json_response(_dumped(value), status=status, headers=headers)


def _dumped(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, list):
        return [_dumped(item) for item in value]
    return value if not isinstance(value, Mapping) else {name: _dumped(below) for name, below in value.items()}
