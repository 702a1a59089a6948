"""Requests to the feature's pages and API, called as the host calls them."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import azure.functions as func

from connector import messages, portal
from connector.adapters.entra import GLOBAL_ADMINISTRATOR, ApiCaller, SignedInUser
from connector.portal import session
from sandbox import event_grid
from tests.messages.conftest import ACTOR, Stage

FORM = "sent-with-every-form"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


class _Entra:
    """Accepts any bearer as one automation client; proving tokens is tested where tokens are."""

    def __init__(self, tenant_id: str, role: str) -> None:
        self._caller = ApiCaller(tenant_id, ACTOR.object_id, frozenset({role}))

    def verify_api_token(self, token: str) -> ApiCaller:
        return self._caller


def functions(stage: Stage, role: str = "Connector.Configure") -> dict[str, Callable[..., Any]]:
    """Pages and API of the feature, by function name."""
    services = dataclasses.replace(stage.services, entra=_Entra(stage.scope.tenant_id, role))  # type: ignore[arg-type]
    made = func.FunctionApp()
    made.register_functions(messages.routes_blueprint(lambda: services))
    made.register_functions(messages.events_blueprint(lambda: services, [stage.scope.region]))
    made.register_functions(portal.api_blueprint(lambda: services))
    made.register_functions(portal.pages_blueprint(lambda: services))
    return {str(f.get_function_name()): f.get_user_function() for f in made.get_functions()}


def ask(
    stage: Stage,
    function: str,
    method: str = "GET",
    *,
    body: Any = None,
    form: dict[str, str] | None = None,
    raw: bytes = b"",
    query: str = "",
    headers: dict[str, str] | None = None,
    role: str = "Connector.Configure",
    **route: str,
) -> func.HttpResponse:
    posted = None if form is None else {"form": FORM} | form
    if posted is not None:
        raw = urlencode(posted).encode()
    elif body is not None:
        raw = json.dumps(body).encode()
    request = func.HttpRequest(
        method,
        f"http://127.0.0.1:31999/{function}?{query}",
        headers={"Authorization": "Bearer any", **(headers or {})},
        route_params=route,
        body=raw,
    )
    answer: func.HttpResponse = functions(stage, role)[function](request)
    return answer


def admin_cookie(stage: Stage, *, admin: bool = True) -> dict[str, str]:
    """What a signed-in browser of the portal sends; every form of it carries `FORM`."""
    user = SignedInUser(
        stage.scope.tenant_id,
        ACTOR.object_id,
        "Admin",
        "it.admin@harbor.example",
        frozenset() if admin else frozenset({"Connector.Read"}),
        frozenset({GLOBAL_ADMINISTRATOR}) if admin else frozenset(),
    )
    who = dataclasses.replace(session.begin(user, stage.scope, None), form=FORM)
    return {"Cookie": session.cookie(who, stage.services.sealer).partition(";")[0], **SAME_ORIGIN}


def bring(stage: Stage, event: dict[str, Any]) -> None:
    """As Event Grid does; raises what the function raises."""
    made = func.EventGridEvent(
        id=event["id"], data=event["data"], topic=event["topic"], subject=event["subject"],
        event_type=event["eventType"], event_time=None, data_version="1.0",
    )  # fmt: skip
    functions(stage)[event_grid.FUNCTIONS[event["eventType"]]](made)


def text_of(answer: func.HttpResponse) -> str:
    return answer.get_body().decode()
