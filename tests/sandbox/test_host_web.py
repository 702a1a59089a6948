"""HTTP and Event Grid through the local host: what Azure does to a request and to an answer, and what it refuses."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser

from sandbox.azurite import Azurite
from tests.sandbox.host_process import Host, eventually

LIMIT = 1000


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[Host]:
    with Host(tmp_path_factory.mktemp("host"), azurite.connection_string("hoststorage"),
              FUNCTIONS_REQUEST_BODY_SIZE_LIMIT=str(LIMIT), SANDBOX_LOG_LEVEL="DEBUG") as running:
        yield running


def get(host: Host, path: str, **arguments: Any) -> requests.Response:
    return requests.get(host.url + path, timeout=30, allow_redirects=False, **arguments)


@pytest.mark.parametrize(("path", "expected"), [
    ("/items/12", {"function": "a_numbers", "route": {"number": "12"}}),
    ("/items/1b", {"function": "b_any_item", "route": {"item": "1b"}}),
    ("/ITEMS/a%20b/", {"function": "b_any_item", "route": {"item": "a b"}}),
    ("/items/a%2Fb", {"function": "b_any_item", "route": {"item": "a%2Fb"}}),
    ("/items/hidden", {"function": "b_any_item", "route": {"item": "hidden"}}),
    ("/", {"function": "home"}),
    ("/.well-known/files/a/b", {"function": "files", "route": {"rest": "a/b"}}),
    ("/.well-known/files", {"function": "files", "route": {}}),
])
def test_routes_are_tried_by_function_name(host: Host, path: str, expected: dict[str, Any]) -> None:
    assert get(host, path).json() == expected


def test_another_method_is_a_404_or_the_next_route(host: Host) -> None:
    assert requests.post(f"{host.url}/items/hidden", timeout=30).json() == {"function": "c_hidden"}
    for method, path in (("POST", "/items/12"), ("HEAD", "/"), ("GET", "/nowhere"), ("GET", "/items/a/b")):
        answer = requests.request(method, host.url + path, timeout=30)
        assert (answer.status_code, answer.content) == (404, b"")


def test_a_request_arrives_as_azure_hands_it_over(host: Host) -> None:
    seen = requests.post(f"{host.url}/echo?a=1&A=2&b=&c=x%2By+z", data="body", timeout=30,
                         headers={"X-Forwarded-Proto": "https", "Host": "clinic.example", "X-Empty": ""}).json()
    assert seen["params"] == {"a": "1,2", "c": "x+y z"}
    assert seen["url"] == "https://clinic.example/echo?a=1&A=2&b=&c=x%2By+z"
    assert (seen["function"], seen["method"], seen["body"]) == ("echo", "POST", "body")
    assert "x-empty" not in seen["headers"] and seen["headers"]["host"] == "clinic.example"


def test_a_chunked_body_arrives_empty_and_a_large_one_not_at_all(host: Host) -> None:
    assert requests.post(f"{host.url}/echo", data=iter([b"some", b"thing"]), timeout=30).json()["body"] == ""
    assert requests.post(f"{host.url}/echo", data="x" * LIMIT, timeout=30).ok
    assert requests.post(f"{host.url}/echo", data="x" * (LIMIT + 1), timeout=30).status_code == 413


def test_headers_and_cookies_leave_as_azure_sends_them(host: Host) -> None:
    answer = get(host, "/answers/redirect")
    assert (answer.status_code, answer.headers["Location"], answer.headers["X-Twice"]) == (302, "/elsewhere", "last")
    assert answer.raw.headers.getlist("Set-Cookie") == [
        "plain=a%3D%3D%2F%2B; max-age=60; domain=; path=/; secure; samesite=lax; httponly",
        "short=1; domain=; path=",
        "odd=1; domain=; path=/", "Priority=High; domain=; path=",
    ]


def test_a_browser_keeps_the_cookies_in_spite_of_their_empty_domain(host: Host, chromium: Browser) -> None:
    with chromium.new_context() as context:
        context.new_page().goto(f"{host.url}/answers/redirect")
        kept = {cookie.get("name"): (cookie.get("domain"), cookie.get("path")) for cookie in context.cookies()}
    assert kept == {name: ("127.0.0.1", path) for name, path in (
        ("plain", "/"), ("short", "/answers"), ("odd", "/"), ("Priority", "/answers"))}


@pytest.mark.parametrize("kind", ["fails", "text", "expires"])
def test_a_failure_is_an_empty_500_and_its_text_is_in_no_log(host: Host, kind: str) -> None:
    answer = get(host, f"/answers/{kind}?code=a-secret-query")
    assert (answer.status_code, answer.content) == (500, b"")
    eventually(lambda: "function=answers" in host.log())
    assert "secret" not in host.log()


def test_a_connection_that_says_nothing_holds_nobody_up(host: Host) -> None:
    with socket.create_connection(("127.0.0.1", int(host.url.rpartition(":")[2]))):
        assert get(host, "/").ok


def test_event_grid_shakes_hands_and_delivers_each_event(host: Host) -> None:
    url = f"{host.url}/runtime/webhooks/eventgrid?functionName=events"
    hello = {"id": "1", "topic": "t", "subject": "", "dataVersion": "1", "eventTime": "2026-11-23T12:00:00.1234567Z",
             "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "data": {"validationCode": "code-1"}}
    assert requests.post(url, json=[hello], headers={"aeg-event-type": "SubscriptionValidation"},
                         timeout=30).json() == {"validationResponse": "code-1"}
    event = hello | {"eventType": "Sample.Happened", "data": {"n": 1}}
    notification = {"aeg-event-type": "Notification"}
    answer = requests.post(url, json=[event, event | {"data": {"n": 2}}], headers=notification, timeout=30)
    assert answer.status_code == 202
    assert sorted(seen["data"]["n"] for seen in host.traced("event")) == [1, 2]
    failing = [event | {"subject": "fails"}]
    assert requests.post(url, json=failing, headers=notification, timeout=30).status_code == 500
    assert requests.post(f"{url}x", json=[event], headers=notification, timeout=30).status_code == 404
    assert requests.post(url, data="[", headers=notification, timeout=30).status_code == 400
