"""The API's functions, called as the host calls them, over the run's storage and with no vendor behind them."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import azure.functions as func

from connector import bootstrap, portal
from connector.adapters.entra import ApiCaller
from connector.portal.api import OPERATIONS
from connector.portal.api.limits import Limiter
from tests.tenants.stamp import ACTOR


class _Entra:
    """Takes the bearer for the caller's tenant; proving tokens is tested where tokens are."""

    def verify_api_token(self, token: str) -> ApiCaller:
        return ApiCaller(token, ACTOR.object_id, frozenset({"Connector.Configure"}))


class Api:
    def __init__(self, services: bootstrap.Services, limiter: Limiter | None = None) -> None:
        services = dataclasses.replace(services, entra=_Entra())  # type: ignore[arg-type]
        app = func.FunctionApp()
        app.register_functions(portal.api_blueprint(lambda: services, limiter))
        self._functions: dict[str, Callable[..., func.HttpResponse]] = {
            str(one.get_function_name()): one.get_user_function() for one in app.get_functions()
        }

    def call(self, tenant: str, method: str, path: str, body: Any = None, etag: str | None = None) -> func.HttpResponse:
        for one in OPERATIONS:
            found = re.fullmatch(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", one.path), urlsplit(path).path)
            if found and one.method == method:
                headers = {"Authorization": f"Bearer {tenant}"} | ({"If-Match": etag} if etag else {})
                sent = b"" if body is None else json.dumps(body).encode()
                request = func.HttpRequest(method, f"https://visits.example/api/v1{path}", headers=headers,
                                           route_params=found.groupdict(), body=sent)
                return self._functions[one.name](request)
        raise LookupError(path)


def told(answer: func.HttpResponse) -> Any:
    return json.loads(answer.get_body())
