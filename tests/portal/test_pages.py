"""The portal's pages and every address that is none, through the running app."""

from dataclasses import replace
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests

from sandbox.cast import HARBOR, NORDLYS
from sandbox.world import EntraUser
from tests.running import Browser, Live

ADMIN, ORDINARY = HARBOR.users
STRANGER = replace(
    HARBOR, key="stranger", tid="2c9a7e10-5b64-4d83-9f27-c01e8a6d3b75", ehr_tenant="stranger", clinicians=(),
    organizers=(), patients=(), users=(
        EntraUser("admin", "3dab8f21-6c75-4e94-8a38-d12f9b7e4c86", "admin@stranger.example", "S. Admin", ADMIN.wids),))


@pytest.fixture
def browser(live: Live) -> Browser:
    return Browser(live)


def test_the_portal_asks_who_you_are(live: Live, browser: Browser) -> None:
    for cookie in None, "", "x", "A" * 200:
        browser.cookies = {} if cookie is None else {"__Host-portal": cookie}
        answer = browser.get("/portal")
        assert (answer.status_code, answer.headers["Location"]) == (303, f"{live.app}/portal/signin?to=%2Fportal")


def test_an_administrator_sees_the_own_tenant_alone(browser: Browser) -> None:
    assert browser.sign_in(ADMIN.oid).status_code == 303
    page = browser.get("/portal")
    assert page.status_code == 200
    assert "Harbor Valley Health" in page.text
    shown = page.text + browser.get("/portal/setup/finish").text + browser.get("/portal/numbers").text
    assert HARBOR.sender_value in shown and "/provider" in shown and "SMART launch URI" in shown
    for theirs in NORDLYS.name, NORDLYS.sender_value, NORDLYS.ehr_tenant, "sandbox-provider-secret":
        assert theirs not in shown


@pytest.mark.parametrize("oid", [ORDINARY.oid, HARBOR.clinicians[0].entra_oid, NORDLYS.organizers[0].oid])
def test_an_ordinary_user_is_told_which_role_is_missing(live: Live, browser: Browser, oid: str) -> None:
    with live.nothing_stored():
        browser.sign_in(oid)
        page = browser.get("/portal")
    assert page.status_code == 403
    assert "Global Administrator" in page.text and "Connector.Configure" in page.text
    assert HARBOR.sender_value not in page.text and "/launch/" not in page.text


def test_a_tenant_that_is_not_listed_is_told_what_to_send_to_whom(
    live: Live, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(live.world.hospitals, "stranger", STRANGER)
    with live.nothing_stored():
        browser.sign_in(STRANGER.users[0].oid)
        page = browser.get("/portal")
    assert page.status_code == 403
    assert "not on the list yet" in page.text and STRANGER.tid in page.text
    assert "Whoever operates this service" in page.text


@pytest.mark.parametrize("path", ["/x", "/portal/x", "/launch", "/launch/callback/x", "/j/a/b", "/visits/",
                                  "/api/v2",
                                  "/static/x.js", "/static/..%2fsettings.py", "/static/%2e%2e/settings.py", "/admin/x",
                                  "/%00", "/%ff", "/wp-login.php", "//evil.example"])
def test_an_address_that_is_none_has_a_page_of_its_own(browser: Browser, path: str) -> None:
    page = browser.get(path)
    assert page.status_code == 404
    assert "Page not found" in page.text and "Reference" in page.text
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/", "/portal", "/health", "/j/aaaa", "/api/v1/tenant/x", "/signin",
                                  "/portal/signin"])
def test_no_route_answers_other_methods(live: Live, method: str, path: str) -> None:
    assert requests.request(method, live.app + path, timeout=30).status_code == 404


def test_home_health_and_keys_say_nothing_of_tenants(live: Live, browser: Browser) -> None:
    assert browser.get("/").status_code == 200
    health = browser.get("/health").json()
    assert health == {"status": "ok", "storage": {"americas": True, "emea": True, "apac": True}}
    (key,) = browser.get("/.well-known/jwks.json").json()["keys"]
    assert {"kty", "crv", "x", "y", "kid", "alg", "use"} == set(key)
    for path in "/", "/health", "/.well-known/jwks.json":
        assert HARBOR.tid not in browser.get(path).text


def test_a_refusal_of_microsofts_is_not_called_the_ehrs_and_leads_back(live: Live, browser: Browser) -> None:
    browser.sign_in(ADMIN.oid)
    begun = browser.get("/portal/signin?why=other")
    state = parse_qs(urlsplit(begun.headers["Location"]).query)["state"][0]
    denied = {"error": "access_denied", "error_description": "AADSTS65004: declined", "state": state}
    page = browser.get(f"/portal/callback?{urlencode(denied)}")
    assert page.status_code == 403
    assert "Microsoft code" in page.text and "AADSTS65004" in page.text and "EHR" not in page.text.partition("<main")[2]
    assert 'href="/portal"' in page.text.partition("<main")[2]
