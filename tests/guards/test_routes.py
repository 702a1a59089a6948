"""Every route names its methods and how it is authenticated, and none hides another.

The host tries routes in alphabetical order of function name, not by how specific they are, and refuses those that
begin with admin or runtime (azure-functions-host, FunctionMetadataManager and ScriptHost).
"""

import re
from collections.abc import Iterable, Mapping
from itertools import combinations

import pytest

from connector.portal.api import OPERATIONS
from tests.guards.declared import Declared

PUBLIC = "public"
PAGE_BEARER = "bearer of a visit session"
JOIN_TOKEN = "join token in the path"
STAFF_ACCOUNT = "a Microsoft account that is linked with an EHR user"
STAFF_TOKEN = "staff token in the path, and a Microsoft account of the hospital"
PORTAL_COOKIE = "sealed cookie of the portal, whose row still stands"
ENTRA_BEARER = "Entra bearer token"
ONE_TIME_STATE = "one-time state and the browser that began it"
GRAPH_TOKENS = "validation token of Microsoft Graph and the secret of a subscription"

AUTHENTICATION = {
    "health": PUBLIC,
    "jwks": PUBLIC,
    "jwks_connection": PUBLIC,
    "static_file": PUBLIC,
    "zz_home": PUBLIC,
    "board_alone": STAFF_ACCOUNT,
    "board_alone_status": STAFF_ACCOUNT,
    "board_alone_join": STAFF_ACCOUNT,
    "staff_door": STAFF_TOKEN,
    "staff_door_join": STAFF_TOKEN,
    "graph_notifications": GRAPH_TOKENS,
    "graph_lifecycle": GRAPH_TOKENS,
    "launch_provider": PUBLIC,  # begins a launch
    "launch_patient": PUBLIC,
    "launch_callback": PUBLIC,  # a page without content, whatever it is asked with
    "launch_callback_post": ONE_TIME_STATE,
    "launch_callback_own": PUBLIC,
    "launch_callback_own_post": ONE_TIME_STATE,
    "signin_handoff": ONE_TIME_STATE,
    "signin_callback": ONE_TIME_STATE,
    "visit_shell": PUBLIC,  # a page without content
    "visit_page": PAGE_BEARER,
    "visit_appointment": PAGE_BEARER,
    "visit_status": PAGE_BEARER,
    "visit_join": PAGE_BEARER,
    "visit_send": PAGE_BEARER,
    "visit_late": PAGE_BEARER,
    "visit_revoke": PAGE_BEARER,
    "visit_end": PAGE_BEARER,
    "visit_board": PAGE_BEARER,
    "visit_board_status": PAGE_BEARER,
    "visit_handoff": PAGE_BEARER,
    "visit_link": PAGE_BEARER,
    "patient_launched": PAGE_BEARER,
    "patient_page": JOIN_TOKEN,
    "lost_link": PUBLIC,  # one answer for everybody, from our own page only
    "lost_link_page": PUBLIC,
    "patient_calendar": JOIN_TOKEN,
    "patient_join": JOIN_TOKEN,
    "patient_presence": JOIN_TOKEN,
    "patient_speed": JOIN_TOKEN,
    "patient_test": JOIN_TOKEN,
    "patient_test_post": JOIN_TOKEN,
    "patient_stop_page": JOIN_TOKEN,
    "patient_stop": JOIN_TOKEN,
    "portal": PORTAL_COOKIE,
    "portal_callback": ONE_TIME_STATE,
    "portal_connection": PORTAL_COOKIE,
    "portal_connection_checklist": PORTAL_COOKIE,
    "portal_connection_records": PORTAL_COOKIE,
    "portal_connection_records_json": PORTAL_COOKIE,
    "portal_connection_access": PORTAL_COOKIE,
    "portal_connection_credential": PORTAL_COOKIE,
    "portal_connection_departments": PORTAL_COOKIE,
    "portal_connection_general": PORTAL_COOKIE,
    "portal_connection_history": PORTAL_COOKIE,
    "portal_connection_links": PORTAL_COOKIE,
    "portal_connection_meetings": PORTAL_COOKIE,
    "portal_connection_visits": PORTAL_COOKIE,
    "portal_connection_remove": PORTAL_COOKIE,
    "portal_connection_selftest": PORTAL_COOKIE,
    "portal_export": PORTAL_COOKIE,
    "portal_export_file": PORTAL_COOKIE,
    "portal_history": PORTAL_COOKIE,
    "portal_number": PORTAL_COOKIE,
    "portal_number_order": PORTAL_COOKIE,
    "portal_numbers": PORTAL_COOKIE,
    "portal_setup_sms": PORTAL_COOKIE,
    "portal_consent": PORTAL_COOKIE,
    "portal_messages": PORTAL_COOKIE,
    "portal_region": PORTAL_COOKIE,
    "portal_setup": PORTAL_COOKIE,
    "portal_setup_finish": PORTAL_COOKIE,
    "portal_setup_link": PORTAL_COOKIE,
    "portal_setup_urls": PORTAL_COOKIE,
    "portal_setup_withdraw": PORTAL_COOKIE,
    "portal_signin": PUBLIC,
    "portal_signout": PUBLIC,  # from our own pages only
    "api_openapi": PUBLIC,
} | {one.name: ENTRA_BEARER for one in OPERATIONS}  # in front of each stands the same check of the bearer
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
_NAME = re.compile(r"(?!host$)[a-z][a-z0-9_-]{0,127}")
_VALUE = "~value~"
"""Stands for what a caller puts into a parameter; equal to no literal."""


def faults_of(one: Declared) -> list[str]:
    """What is wrong with one HTTP function taken by itself."""
    route = one.route or ""
    faults = []
    if not _NAME.fullmatch(one.name):
        faults.append("no valid function name")
    if not one.methods or not one.methods <= _METHODS:
        faults.append("name the methods")
    if str(one.trigger.get("authLevel")).lower() != "anonymous":
        faults.append("function keys are not how people sign in here")
    if route.lstrip("/").lower().startswith(("admin", "runtime")):
        faults.append("the host refuses this route")
    if not all(re.fullmatch(r"[\w.~-]+|{\*?\w+}", segment) for segment in _segments(route)):
        faults.append("a segment is neither a literal nor {name}: teach this guard")
    if any(segment.startswith("{*") for segment in _segments(route)[:-1]):
        faults.append("a catch-all stands last")
    return [f"{one.name}: {fault}" for fault in faults]


def _segments(route: str) -> list[str]:
    return [segment for segment in route.split("/") if segment]


def _concrete(route: str) -> list[list[str]]:
    """Paths that a route serves; a catch-all stands for none, one or two segments."""
    fixed = [_VALUE if segment.startswith("{") else segment for segment in _segments(route)]
    return [fixed[:-1] + [_VALUE] * count for count in range(3)] if "{*" in route else [fixed]


def _matches(route: str, path: list[str]) -> bool:
    pattern = _segments(route)
    if pattern and pattern[-1].startswith("{*"):
        pattern, path = pattern[:-1], path[: len(pattern) - 1]
    return len(pattern) == len(path) and all(
        segment.startswith("{") or segment.lower() == given.lower()
        for segment, given in zip(pattern, path, strict=True)
    )


def hidden(functions: Iterable[Declared]) -> list[str]:
    """Pairs of which the host never calls the later one for a path that is its own."""
    in_order = sorted((one for one in functions if one.route is not None), key=lambda one: one.name.lower())
    return [
        f"{first.name} ({first.route}) hides {second.name} ({second.route})"
        for first, second in combinations(in_order, 2)
        if first.methods & second.methods
        and any(_matches(first.route or "", path) for path in _concrete(second.route or ""))
    ]


def http(functions: Mapping[str, Declared]) -> dict[str, Declared]:
    return {name: one for name, one in functions.items() if one.route is not None}


def test_each_route_is_sound(declared: Mapping[str, Declared]) -> None:
    assert [fault for one in http(declared).values() for fault in faults_of(one)] == []


def test_each_route_declares_its_authentication(declared: Mapping[str, Declared]) -> None:
    assert set(http(declared)) == set(AUTHENTICATION)


def test_no_route_hides_another(declared: Mapping[str, Declared]) -> None:
    assert hidden(declared.values()) == []


def test_the_catch_all_is_tried_last(declared: Mapping[str, Declared]) -> None:
    catch_all = [name for name, one in http(declared).items() if "{*" in (one.route or "")]
    assert catch_all == [max(http(declared))] == ["zz_home"]


def test_other_functions_have_valid_names(declared: Mapping[str, Declared]) -> None:
    assert [name for name in declared if not _NAME.fullmatch(name)] == []


def _planted(name: str, route: str, *methods: str) -> Declared:
    trigger = {"type": "httpTrigger", "route": route, "methods": list(methods), "authLevel": "ANONYMOUS"}
    return Declared(name, [trigger])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (_planted("a", "alpha/{x}", "GET"), _planted("b", "alpha/lit", "GET")),
        (_planted("a", "{*path}", "GET"), _planted("b", "alpha", "GET", "POST")),
        (_planted("a", "alpha", "GET"), _planted("b", "ALPHA", "GET")),
        (_planted("a", "{x}/{y}", "PUT"), _planted("b", "alpha/{*rest}", "PUT")),
    ],
)
def test_a_planted_hidden_route_is_found(first: Declared, second: Declared) -> None:
    assert hidden([second, first])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (_planted("a", "alpha/lit", "GET"), _planted("b", "alpha/{x}", "GET")),
        (_planted("a", "alpha/{x}", "GET"), _planted("b", "alpha/lit", "POST")),
        (_planted("a", "alpha/{x}", "GET"), _planted("b", "alpha/{x}/more", "GET")),
    ],
)
def test_routes_that_live_together_pass(first: Declared, second: Declared) -> None:
    assert hidden([first, second]) == []


@pytest.mark.parametrize(
    "one",
    [
        _planted("Upper", "a", "GET"),
        _planted("host", "a", "GET"),
        _planted("a", "a"),
        _planted("a", "Administration/x", "GET"),
        _planted("a", "/runtime", "GET"),
        _planted("a", "a/{id:int}", "GET"),
        Declared("a", [{"type": "httpTrigger", "route": "a", "methods": ["GET"], "authLevel": "FUNCTION"}]),
    ],
)
def test_a_planted_fault_is_found(one: Declared) -> None:
    assert faults_of(one)
