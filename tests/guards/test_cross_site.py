"""No other site can make a browser change anything: every function that changes something refuses first, before it
looks at a cookie or at storage."""

import re
from collections.abc import Callable
from types import SimpleNamespace

import azure.functions as func
import pytest

from connector import bootstrap, settings
from tests.guards.declared import every_region
from tests.guards.test_routes import AUTHENTICATION, ENTRA_BEARER, GRAPH_TOKENS

NO_BROWSER = {ENTRA_BEARER, GRAPH_TOKENS}
"""What no browser sends by itself."""
Handler = Callable[[func.HttpRequest], func.HttpResponse]


@pytest.fixture
def changing(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Handler, str, str]]:
    """Function name to handler, method and route, in an app that has settings and nothing else."""
    nothing = SimpleNamespace(settings=settings.load(every_region()))
    monkeypatch.setattr(bootstrap, "services", lambda: nothing)
    app, found = func.FunctionApp(), dict[str, tuple[Handler, str, str]]()
    for blueprint in bootstrap.blueprints():
        app.register_functions(blueprint)
    for one in app.get_functions():
        trigger = one.get_trigger()
        for method in getattr(trigger, "methods", None) or ():
            if str(method) not in ("GET", "HttpMethod.GET"):
                name = str(one.get_function_name())
                found[name] = one.get_user_function(), str(getattr(method, "value", method)), str(trigger.route)
    return found


def test_every_function_that_changes_something_refuses_other_sites_first(
    changing: dict[str, tuple[Handler, str, str]],
) -> None:
    asked = {name: found for name, found in changing.items() if AUTHENTICATION[name] not in NO_BROWSER}
    assert len(asked) > 30
    for name, (handler, method, route) in asked.items():
        parts = dict.fromkeys(re.findall(r"{(\w+)}", route), "x")
        for headers in {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {}:
            request = func.HttpRequest(
                method, f"https://visits.example/{route}", headers=headers, route_params=parts, body=b"{}"
            )
            answer = handler(request)
            assert answer.status_code == 403, f"{name} {headers}"
            assert b"did not come from one of our own pages" in answer.get_body()
