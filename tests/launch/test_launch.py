"""SMART App Launch through the running app: every wrong launch gets its own clear page, and stores nothing."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests

from connector import tenants
from connector.adapters.cerner.refusals import EXPLAINED
from connector.errors import ConnectorError, PermanentError, TransientError
from connector.launch.routes import _no_tokens
from connector.tenants import DIRECTORY, ConnectionInput
from sandbox.stamp import TEST_DOMAIN
from tests.running import Browser, Live
from tests.tenants.stamp import ACTOR


@pytest.fixture
def browser(live: Live) -> Browser:
    return Browser(live)


@pytest.fixture(scope="module")
def clinic(live: Live) -> Iterator[str]:
    """A second production connection of Harbor's, without patient launch; gone afterwards."""
    scope, base = live.scope(), live.world.ports.fhir_base("second-domain")
    wanted = ConnectionInput(name="Harbor Clinic", environment="production", fhir_base_url=base, clinic_name="Clinic",
                             contact_phone="+13122346700")
    made = tenants.add_connection(live.services.directory, scope, wanted, ACTOR).value.id
    yield made
    live.table(tenants.CONFIGURATION).delete_entity(scope.tenant_id, f"connection.{made}")
    live.table(DIRECTORY).delete_entity("connection", made)


def connection_for_tests(live: Live) -> str:
    return next(c.value.id for c in tenants.connections(live.scope()) if c.value.environment == "test")


def opened(
    live: Live, browser: Browser, connection: str, what: str = "provider", *, status: int, **changes: Any
) -> str:
    """The page of a launch with other parameters than the right ones; None leaves one out."""
    right = parse_qs(urlsplit(live.launch_url(patient="mira")).query)
    query = urlencode({k: v for k, v in {**right, **changes}.items() if v is not None}, doseq=True)
    with live.nothing_stored():
        answer = browser.get(f"/launch/{connection}/{what}?{query}")
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"].startswith("text/html")
    assert not browser.cookies
    framed = f"frame-ancestors http://localhost:{live.sandbox.ports.home} " in answer.headers["Content-Security-Policy"]
    assert framed == (connection in (live.connection_id(), connection_for_tests(live)))
    return answer.text


@pytest.mark.parametrize("connection", ["azzzzzzzz", "xzzzzzzzz", "a", "a%27or", "a%00", "a%23b", "a%c3%a9", "a" * 99])
def test_unknown_connection(live: Live, browser: Browser, connection: str) -> None:
    page = opened(live, browser, connection, status=404)
    assert "Connection not found" in page and "integration records" in page


@pytest.mark.parametrize("iss", [None, "", "https://evil.example/r4/x", ["a", "b"], "twice", "slash", "other tenant"])
def test_a_chart_of_no_connection(live: Live, browser: Browser, iss: Any) -> None:
    right = live.world.ports.fhir_base(live.world.hospitals["harbor"].ehr_tenant)
    other = live.world.ports.fhir_base(live.world.hospitals["nordlys"].ehr_tenant)
    if isinstance(iss, str):
        iss = {"twice": [right, right], "slash": right + "/", "other tenant": other}.get(iss, iss)
    page = opened(live, browser, live.connection_id(), iss=iss, status=400)
    assert "belongs to no connection of your" in page


def test_the_patients_base_at_the_providers_address(live: Live, browser: Browser) -> None:
    base = live.world.ports.patient_fhir_base(live.world.hospitals["harbor"].ehr_tenant)
    opened(live, browser, live.connection_id(), iss=base, status=409)


def test_the_record_of_the_other_environment(live: Live, browser: Browser) -> None:
    test_base = live.world.ports.fhir_base(TEST_DOMAIN)
    page = opened(live, browser, live.connection_id(), iss=test_base, status=409)
    assert "Production record in the test system" in page and "the chart that opened it is test" in page
    page = opened(live, browser, connection_for_tests(live), status=409)
    assert "Test record in the production system" in page


def test_the_record_of_another_connection(live: Live, browser: Browser, clinic: str) -> None:
    page = opened(live, browser, clinic, status=409)
    assert "Record of another connection" in page and "“Harbor Clinic”" in page and "“Harbor Valley Health”" in page


def test_patient_launch_that_is_not_set_up(live: Live, browser: Browser, clinic: str) -> None:
    assert "Patient launch is not set up" in opened(live, browser, clinic, "patient", status=404)


@pytest.mark.parametrize("launch", [None, "", ["a", "b"], "x" * 2049])
def test_a_launch_without_its_code(live: Live, browser: Browser, launch: Any) -> None:
    assert "No launch code" in opened(live, browser, live.connection_id(), launch=launch, status=400)


def test_more_parameters_than_anybody_sends(live: Live, browser: Browser) -> None:
    opened(live, browser, live.connection_id(), more=["x"] * 60, status=400)


def test_a_base_that_the_operator_took_off_the_list(live: Live, browser: Browser, clinic: str) -> None:
    page = opened(live, browser, clinic, iss=live.world.ports.fhir_base("second-domain"), status=403)
    assert "not listed" in page


def test_an_ehr_that_is_down_at_launch(live: Live, browser: Browser) -> None:
    with live.down("cerner"):
        base = live.world.ports.fhir_base(TEST_DOMAIN)
        page = opened(live, browser, connection_for_tests(live), iss=base, status=503)
    assert "Please try again in a moment" in page


# the callback


def refused(answer: requests.Response, status: int, code: str) -> dict[str, Any]:
    told: dict[str, Any] = answer.json()
    assert (answer.status_code, told["code"]) == (status, code), answer.text
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert told["reference"] and told["detail"] and told["title"]
    assert "Set-Cookie" not in answer.headers
    return told


@pytest.mark.parametrize("state", ["", "x", ".", "azzzzzzzz", "azzzzzzzz.x", "a'.x", "x" * 90 + ".x", "a%00.b"])
def test_a_state_that_names_no_launch(live: Live, browser: Browser, state: str) -> None:
    with live.nothing_stored():
        page = browser.get(f"/launch/callback?code=c&state={state}")
        assert page.status_code in (400, 404)
        assert "Reference" in page.text
        assert browser.finish({"state": state, "code": "c", "secret": "s"}).status_code in (400, 404)


def test_a_state_of_nobody(live: Live, browser: Browser) -> None:
    state = f"{live.connection_id()}.{'x' * 32}"
    with live.nothing_stored():
        assert browser.get(f"/launch/callback?code=c&state={state}").status_code == 200  # the shell consumes nothing
        refused(browser.finish({"state": state, "code": "c", "secret": "s"}), 400, "launch.state_unknown")
        refused(browser.finish({"state": state + "\ud800", "code": "c", "secret": "s"}), 400, "launch.state_unknown")


@pytest.mark.parametrize("body", [None, [], "x", 1, {}, {"state": 1}, {"state": ["x"]}, {"code": "c"}])
def test_a_callback_without_a_state(live: Live, browser: Browser, body: Any) -> None:
    with live.nothing_stored():
        refused(browser.finish(body), 400, "web.not_json" if body is None else "launch.state_unknown")


def test_a_state_is_good_for_one_session(live: Live, browser: Browser) -> None:
    sent = browser.authorized(browser.begin(live.launch_url(patient="mira")))
    assert browser.finish(sent).status_code == 200
    with live.nothing_stored():
        refused(browser.finish(sent), 400, "launch.state_unknown")


def test_wrong_secrets_and_foreign_pages_take_nothing_away(live: Live, browser: Browser) -> None:
    sent = browser.authorized(browser.begin(live.launch_url(patient="mira")))
    stranger = Browser(live)
    without = {name: value for name, value in sent.items() if name != "secret"}
    other = browser.begin(live.launch_url(patient="odette"))
    with live.nothing_stored():
        refused(stranger.finish(without), 403, "launch.no_secret")
        for wrong in "x", other.secret, sent["state"], "\ud800":
            refused(browser.finish(without | {"secret": wrong}), 403, "launch.no_secret")
        for headers in {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}:
            refused(browser.finish(sent, **headers), 403, "web.cross_site")
        foreign = browser.send("POST", "/launch/callback", json=sent, headers={"Origin": "https://evil.example"})
        refused(foreign, 403, "web.cross_site")
        nothing_said = browser.send("POST", "/launch/callback", json=sent)
        refused(nothing_said, 403, "web.cross_site")
    assert browser.finish(sent).status_code == 200


def test_a_browser_that_keeps_only_cookies_can_finish(live: Live, browser: Browser) -> None:
    sent = browser.authorized(browser.begin(live.launch_url(patient="mira")))
    assert len(browser.cookies) == 1
    del sent["secret"]
    assert browser.finish(sent).status_code == 200
    assert not browser.cookies


def test_an_expired_launch(live: Live, browser: Browser) -> None:
    sent = browser.authorized(browser.begin(live.launch_url(patient="mira")))
    live.expire("launch.")
    told = refused(browser.finish(sent), 400, "launch.state_unknown")
    assert "longer than ten minutes" in told["detail"]


def test_a_code_of_another_launch(live: Live, browser: Browser) -> None:
    mine, theirs = (browser.authorized(browser.begin(live.launch_url(patient="mira"))) for _ in range(2))
    for code in theirs["code"], "x":
        sent = browser.authorized(browser.begin(live.launch_url(patient="mira"))) if code == "x" else mine
        told = refused(browser.finish({**sent, "code": code}), 403, "launch.code_refused")
        assert told["vendor_code"] == "urn:cerner:error:authorization-server:oauth2:token:code:invalid"


def test_a_code_that_is_no_text(live: Live, browser: Browser) -> None:
    sent = browser.authorized(browser.begin(live.launch_url(patient="mira")))
    answer = browser.finish({**sent, "code": "\ud800"})
    assert answer.status_code in (400, 403, 502), answer.text


def test_an_authorization_server_that_is_down_at_the_exchange(live: Live, browser: Browser) -> None:
    sent = browser.authorized(browser.begin(live.launch_url(patient="mira")))
    with live.down("authorization"), live.nothing_stored():
        answer = browser.finish(sent)
    refused(answer, 503, "launch.ehr_unavailable")  # the state is spent: trying the same again can't help
    refused(browser.finish(sent), 400, "launch.state_unknown")


@pytest.mark.parametrize(("error", "status", "told"), [
    (TransientError("vault.unavailable"), 503, "If it happens again"),
    (PermanentError("vault.not_allowed", vendor_code="ForbiddenByRbac"), 502, "Until its operator has mended that"),
])  # fmt: skip
def test_a_signing_key_that_does_not_serve_is_not_called_the_ehrs_fault(
    error: ConnectorError, status: int, told: str
) -> None:
    shown = _no_tokens(error)
    assert (shown.code, shown.status, shown.vendor_code) == (error.code, status, error.vendor_code)
    assert told in shown.message and "the EHR was not asked" in shown.message and "operator" in shown.message


def test_an_error_shows_in_the_charts_frame_and_in_no_other(live: Live, browser: Browser) -> None:
    shown = browser.get(live.launch_url(patient="mira").replace("launch=", "lunch="))
    assert shown.status_code == 400
    framers = [part for part in shown.headers["Content-Security-Policy"].split("; ") if part.startswith("frame-anc")]
    assert framers == [f"frame-ancestors http://localhost:{live.sandbox.ports.home} {live.sandbox.ports.url('home')}"]
    stranger = browser.get("/launch/aaaaaaaaa/provider")
    assert "frame-ancestors 'none'" in stranger.headers["Content-Security-Policy"]


def test_an_oversized_callback(live: Live, browser: Browser) -> None:
    with live.nothing_stored():
        refused(browser.finish({"state": "x" * 300_000}), 413, "web.too_large")


def test_denied_consent_says_the_ehrs_code(live: Live, browser: Browser) -> None:
    begun = browser.begin(live.launch_url(patient="mira"))
    with live.mischief("denied_consent"):
        sent = browser.authorized(begun)
    assert "code" not in sent
    told = refused(browser.finish(sent), 403, "launch.denied")
    assert told["vendor_code"] == "urn:cerner:error:authorization-server:oauth2:grant:denied-by-user"
    assert len(told["vendor_reference"]) == 36


REDIRECTED = ("invalid-request", "unknown-client", "invalid-redirect-uri", "invalid-redirect-uri-trailing-slash",
              "unknown-tenant", "unauthorized-client-for-tenant", "denied-by-server", "denied-by-user")
LAUNCH = ("audience-required", "code-required", "launch-code-required", "invalid-code", "invalid-launch-code",
          "mismatched-identity", "audience-not-white-listed", "unknown-resource-server", "unsupported-version")
EXCHANGED = ("empty-scopes", "code:invalid", "code-invalid-or-expired", "code:client:mismatch",
             "invalid-authorization-header", "refresh-token:token-invalid", "refresh-token:session-invalid")
URNS = [f"authorize oauth2:grant:{name}" for name in REDIRECTED]
URNS += [f"authorize smart-v1:grant:launch:{name}" for name in LAUNCH]
URNS += [f"token oauth2:token:{name}" for name in EXCHANGED]


@pytest.mark.parametrize("urn", [*URNS, "authorize oauth2:grant:of-tomorrow"])
def test_each_refusal_of_the_ehr_says_its_urn_and_who_can_mend_it(live: Live, browser: Browser, urn: str) -> None:
    begun = browser.begin(live.launch_url(patient="mira"))
    with live.mischief(urn):
        sent = browser.authorized(begun)
        answer = browser.finish(sent)
    told = answer.json()
    assert answer.status_code == 403 and told["title"] == "The EHR refused the sign-in"
    assert told["vendor_code"] == f"urn:cerner:error:authorization-server:{urn.partition(' ')[2]}"
    assert len(told["vendor_reference"]) == 36
    assert (told["detail"] == EXPLAINED.get(urn.partition(" ")[2])) == ("tomorrow" not in urn)
    if "error_uri" in sent:
        assert told["vendor_link"] == sent["error_uri"]
    assert "error_uri" not in live.sandbox.app_log.read_text() and told["vendor_reference"] not in told["detail"]


def test_every_known_urn_is_explained_and_tested() -> None:
    assert {urn.partition(" ")[2] for urn in URNS} == set(EXPLAINED)


@pytest.mark.parametrize("uri", ["https://evil.example/errors/x", "javascript:alert(1)", "{origin}.evil.example/x",
                                 "{origin}@evil.example/", "http://[x", "{origin}/" + "x" * 1000, ""])
def test_an_error_page_elsewhere_is_not_linked_to(live: Live, browser: Browser, uri: str) -> None:
    begun = browser.begin(live.launch_url(patient="mira"))
    sent = {"state": begun.state, "secret": begun.secret, "error": "access_denied",
            "error_uri": uri.format(origin=live.world.ports.url("authorization"))}
    told = refused(browser.finish(sent), 403, "launch.denied")
    assert "vendor_link" not in told and "vendor_code" not in told


@pytest.mark.parametrize("agent", ["Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko",
                                   "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0)"])
def test_internet_explorer_gets_a_plain_message(live: Live, browser: Browser, agent: str) -> None:
    with live.nothing_stored():
        page = browser.get(live.launch_url(patient="mira"), headers={"User-Agent": agent})
    assert page.status_code == 400 and "Please use Microsoft Edge" in page.text


@pytest.mark.parametrize("scope", ["user/Encounter.read", "user/Appointment.read", "openid"])
def test_trimmed_scopes_are_named(live: Live, browser: Browser, scope: str) -> None:
    live.world.trimmed_scopes["harbor"] = {scope}
    try:
        sent = browser.authorized(browser.begin(live.launch_url(patient="mira")))
        told = refused(browser.finish(sent), 403, "launch.scopes_missing")
    finally:
        del live.world.trimmed_scopes["harbor"]
    assert scope in told["detail"]


@pytest.mark.parametrize(("name", "reason"), [
    ("id_token_alg_none", "algorithm"), ("id_token_hs256", "algorithm"), ("id_token_bad_signature", "signature"),
    ("id_token_unknown_kid", "signature"), ("id_token_wrong_aud", "audience"), ("id_token_wrong_iss", "issuer"),
    ("id_token_other_tenant", "issuer"), ("id_token_wrong_nonce", "nonce"), ("id_token_expired", "expired"),
    ("id_token_other_fhir_user", "fhir_user")])
@pytest.mark.parametrize("hospital", ["harbor", "nordlys"])
def test_an_id_token_that_proves_nothing(live: Live, browser: Browser, name: str, reason: str, hospital: str) -> None:
    sent = browser.authorized(browser.begin(live.launch_url(hospital)))
    with live.mischief(name), live.nothing_stored():
        told = refused(browser.finish(sent), 403, "launch.identity_refused")
    assert told["vendor_code"] == f"cerner.id_token.{reason}"


def test_a_launch_without_identity(live: Live, browser: Browser) -> None:
    sent = browser.authorized(browser.begin(live.launch_url(patient="mira")))
    with live.mischief("id_token_missing"):
        refused(browser.finish(sent), 403, "launch.no_identity")
