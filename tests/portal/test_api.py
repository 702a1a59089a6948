"""The configuration API through the running app: who is let in, what is refused, and in which words."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from connector import tenants
from connector.portal.api import OPERATIONS
from connector.portal.api.operations import Operation
from sandbox import entra_tokens
from sandbox.cast import HARBOR, NORDLYS
from tests.running import Live

STRANGER = "00000000-1111-4222-8333-444444444444"


@pytest.fixture(autouse=True)
def nothing_stays(live: Live) -> Iterator[None]:
    """Whatever these tests send, nothing is stored, and the connection stays as it was."""
    before = tenants.connection(live.scope(), live.connection_id())
    with live.nothing_stored():
        yield
    assert tenants.connection(live.scope(), live.connection_id()) == before


def refused(answer: requests.Response, status: int, code: str) -> dict[str, Any]:
    told: dict[str, Any] = answer.json()
    assert (answer.status_code, told["code"], told["status"]) == (status, code, status), answer.text
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert told["reference"] and told["detail"] and told["title"] and told["retry"] is False
    return told


def wanted(live: Live, **changes: Any) -> dict[str, Any]:
    return {"name": "New", "environment": "test", "fhir_base_url": live.world.ports.fhir_base(HARBOR.ehr_tenant),
            "clinic_name": "Clinic", "contact_phone": "+13122346700", **changes}


def path(live: Live, rest: str = "") -> str:
    return f"/connections/{live.connection_id()}{rest}"


FOREIGN = {"connection": "azzzzzzzz", "sender": "ffffffff", "persona": "system", "link": "0" * 32,
           "change": "0000000000000.00000000", "operation": "00000000-0000-4000-8000-000000000000",
           "number": "+18005550177"}
"""What no tenant has."""
ROUTES = [(one.method, one.path.format(**FOREIGN)) for one in OPERATIONS]


@pytest.mark.parametrize(("method", "what"), ROUTES)
def test_nobody_enters_without_a_token_that_is_ours(live: Live, method: str, what: str) -> None:
    bare = requests.request(method, f"{live.app}/api/v1{what}", timeout=30)
    refused(bare, 401, "api.no_token")
    good = live.token()
    head, body, signature = good.split(".")
    for token in (
        "x",
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{live.token('nordlys').split('.')[1]}.{signature}",
        f"{head}.{body}.",
        live.token(aud="00000003-0000-0000-c000-000000000000"),
        live.token(iss=entra_tokens.issuer(live.world, NORDLYS.tid)),
        live.token(exp=1),
        live.token(nbf=4_102_444_800),
        live.token(azp=None),
        live.token(tid=STRANGER, iss=entra_tokens.issuer(live.world, STRANGER)),
        entra_tokens.id_token(live.world, HARBOR.tid, HARBOR.users[0], "nonce"),
        entra_tokens.user_access_token(live.world, HARBOR.tid, HARBOR.users[0]),
    ):
        refused(live.api(method, what, token=token), 401, "api.token_invalid")


@pytest.mark.parametrize(("method", "what"), ROUTES)
def test_roles_are_named_when_they_are_missing(live: Live, method: str, what: str) -> None:
    needed = "Connector.Read" if method == "GET" else "Connector.Configure"
    told = refused(live.api(method, what, token=live.token(role="")), 403, "api.role_missing")
    assert f"app role {needed}." in told["detail"]
    refused(live.api(method, what, token=live.token(role="Connector.configure")), 403, "api.role_missing")
    reading = live.api(method, what, token=live.token(role="Connector.Read"))
    if method == "GET":
        assert reading.status_code in (200, 404), reading.text
    else:
        refused(reading, 403, "api.role_missing")


def test_a_reader_reads(live: Live) -> None:
    token = live.token(role="Connector.Read")
    listed = live.api("GET", "/connections", token=token).json()["items"]
    assert {item["environment"] for item in listed} == {"production", "test"}
    one = live.api("GET", path(live), token=token)
    assert one.json() in listed and one.headers["ETag"]
    assert live.api("GET", path(live, "/departments"), token=token).headers["ETag"] == one.headers["ETag"]
    records = live.api("GET", path(live, "/integration-records"), token=token).json()
    assert records["provider"]["launch_url"].endswith(f"/launch/{live.connection_id()}/provider")
    assert "secret" not in str(records)


BODIES: dict[str, Any] = {
    "checklist_set": {"steps": {}},
    "connection_change": {"name": "Other"}, "sender_link": {"sender_id": "ffffffff"}, "messages_settings_set": {},
    "messages_previews_of": {},
    "credential_set": {"client_id": "a", "client_secret": "a-good-secret"}, "sender_change": {"label": "x"},
    "departments_set": [{"name": "x", "location_ids": ["1"], "time_zone": "UTC"}], "checks_self_test": {},
    "sender_opt_outs": {"number": "+13125550100"}, "numbers_release": {"confirm": "+18005550100"},
}
OURS = [one for one in OPERATIONS if "{" in one.path]


@pytest.mark.parametrize("one", OURS, ids=lambda one: one.run.__name__)
def test_what_is_another_tenants_is_not_there_whatever_its_admin_tries(live: Live, one: Operation) -> None:
    scope = live.scope()
    ours = FOREIGN | {"connection": live.connection_id(), "sender": tenants.senders(scope)[0].id,
                      "change": tenants.history(scope, live.connection_id()).items[0].id,
                      "number": HARBOR.sender_value}
    path, name = one.path.format(**ours), one.run.__name__
    etag = live.api("GET", f"/connections/{live.connection_id()}").headers["ETag"]
    told = live.api(one.method, path, BODIES.get(name), etag=etag, token=live.token("nordlys")).json()
    assert (told["status"], told["retry"]) == (404, False), told
    assert HARBOR.name not in str(told)
    if not one.writes:
        reading = live.api("GET", path, token=live.token("nordlys", role="Connector.Read")).json()
        assert reading["code"] == told["code"]
    user = live.api(one.method, path, BODIES.get(name), etag=etag, token=live.token(role="")).json()
    assert (user["status"], user["code"]) == (403, "api.role_missing")


def test_what_the_ehr_has_is_shown_to_choose_from(live: Live) -> None:
    token = live.token(role="Connector.Read")
    seen = live.api("GET", path(live, "/appointment-types"), token=token).json()
    assert set(HARBOR.video_visit_types) & {one["code"] for one in seen["types"]} and seen["complete"]
    assert all(one["name"] and one["count"] for one in seen["types"])
    named = live.api("GET", path(live, "/locations"), token=token).json()
    wanted = tenants.connection(live.scope(), live.connection_id()).value.location_ids
    assert [one["id"] for one in named] == list(wanted) and all(one["name"] for one in named)


def test_a_connection_that_nobody_has(live: Live) -> None:
    for name in "azzzzzzzz", "x", "a%27", "a%23", "a%00":
        refused(live.api("GET", f"/connections/{name}"), 404, "connection.unknown")


@pytest.mark.parametrize(("method", "rest", "body"), [
    ("PATCH", "", {"name": "Other"}),
    ("PUT", "/departments", [{"name": "x", "location_ids": ["1"], "time_zone": "UTC"}]),
    ("PUT", "/sender", {"sender_id": "ffffffff"})])
def test_a_write_needs_the_version_that_was_read(live: Live, method: str, rest: str, body: Any) -> None:
    refused(live.api(method, path(live, rest), body), 428, "api.no_if_match")
    stale = refused(live.api(method, path(live, rest), body, etag='W/"stale"'), 412, "connection.conflict")
    assert stale["detail"]
    foreign = live.api(method, path(live, rest), body, etag='W/"x"', token=live.token("nordlys"))
    refused(foreign, 404, "connection.unknown")


SECRET = "hunter2-5551234"


@pytest.mark.parametrize(("body", "fields"), [
    ({}, {"name", "environment", "fhir_base_url", "clinic_name", "contact_phone"}),
    ({"environment": SECRET}, {"environment"}),
    ({"name": "x" * 81 + SECRET, "contact_phone": ""}, {"name", "contact_phone"}),
    ({"fhir_base_url": f"https://{SECRET}@x.example/r4"}, {"fhir_base_url"}),
    ({"fhir_base_url": f"https://x.example:{SECRET}/r4"}, {"fhir_base_url"}),
    ({"fhir_base_url": f"https://[{SECRET}/r4"}, {"fhir_base_url"}),
    ({"organizers": [SECRET], "video_visit_types": ["ok", f"/{SECRET}"]}, {"organizers.0", "video_visit_types.1"}),
    ({"framers": [f"https://a.example; script-src {SECRET}"]}, {"framers.0"}),
    ({"join_opens_minutes": SECRET}, {"join_opens_minutes"}),
    ({"client_secret": SECRET}, {"client_secret"}),
    ({"scopes_version": 2, "name": None}, {"scopes_version", "name"})])
def test_each_wrong_field_has_its_message_and_no_value_comes_back(live: Live, body: Any, fields: set[str]) -> None:
    answer = live.api("POST", "/connections", wanted(live, **body) if body else body)
    told = refused(answer, 422, "api.invalid")
    assert set(told["errors"]) == fields
    assert all(told["errors"].values())
    assert "hunter2" not in answer.text


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../../etc/passwd", 7])
def test_an_unknown_time_zone(live: Live, zone: Any) -> None:
    body = [{"name": "x", "location_ids": ["1"], "time_zone": "UTC"},
            {"name": "y", "location_ids": [], "time_zone": zone}]
    told = refused(live.api("PUT", path(live, "/departments"), body, etag="x"), 422, "api.invalid")
    assert set(told["errors"]) == {"1.location_ids", "1.time_zone"}
    assert "passwd" not in str(told) and "Mars" not in str(told)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 50_000])
def test_what_is_not_json(live: Live, data: bytes) -> None:
    for method, what in ("PUT", "/tenant"), ("POST", "/connections"), ("PATCH", path(live)):
        refused(live.api(method, what, data=data, etag="x"), 400, "web.not_json")


@pytest.mark.parametrize("body", [None, [], "x", 1, [[]]])
def test_json_of_another_form(live: Live, body: Any) -> None:
    answer = live.api("POST", "/connections", data=b"null") if body is None else live.api("POST", "/connections", body)
    refused(answer, 422, "api.invalid")


def test_an_oversized_body(live: Live) -> None:
    refused(live.api("POST", "/connections", {"name": "x" * 300_000}), 413, "web.too_large")


def test_half_a_character(live: Live) -> None:
    refused(live.api("POST", "/connections", wanted(live, name="\ud800")), 422, "api.invalid")
    refused(live.api("POST", "/connections", wanted(live, **{"\ud800": 1})), 422, "api.invalid")


def test_a_base_that_is_already_there(live: Live) -> None:
    told = refused(live.api("POST", "/connections", wanted(live)), 409, "connection.duplicate")
    assert told["errors"] == {"fhir_base_url": "already belongs to “Harbor Valley Health”"}


def test_the_region_is_fixed(live: Live) -> None:
    told = refused(live.api("PUT", "/tenant", {"region": "emea"}), 409, "tenant.region_fixed")
    assert "americas" in told["detail"]
    refused(live.api("PUT", "/tenant", {"region": "mars"}), 422, "api.invalid")
    again = live.api("PUT", "/tenant", {"region": "americas"})
    assert (again.status_code, again.json()) == (200, {"tenant_id": HARBOR.tid, "region": "americas"})


def test_senders_that_can_not_send_or_are_there(live: Live) -> None:
    sender = {"kind": "phone_number", "value": HARBOR.sender_value, "label": "x"}
    refused(live.api("POST", "/senders", sender), 409, "sender.duplicate")
    told = refused(live.api("POST", "/senders", {**sender, "value": "0800 123"}), 422, "sender.not_a_number")
    assert "0800 123" not in str(told)
