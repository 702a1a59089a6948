"""Simulated Entra against the real MSAL, and the refusals that MSAL never provokes."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import jwt
import msal
import pytest
import requests

from sandbox import entra, entra_tokens
from sandbox.cast import GLOBAL_ADMINISTRATOR, HARBOR, NORDLYS
from tests.sandbox.microsoft import Served, serve

ADMIN = next(user for user in HARBOR.users if user.wids)
ORDINARY = next(user for user in HARBOR.users if not user.wids)
CLINICIAN = HARBOR.clinicians[0]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("entra")) as running:
        yield running


@pytest.fixture(autouse=True)
def fresh(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served.world.reset()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", served.ca)


def client(served: Served, tenant: str, credential: Any = entra.ENTRA_CLIENT_SECRET) -> Any:
    return msal.ConfidentialClientApplication(
        entra.ENTRA_CLIENT_ID,
        client_credential=credential,
        authority=f"{served.url('entra')}/{tenant}",
        instance_discovery=False,
    )


def flow(served: Served, app: Any, **options: Any) -> dict[str, Any]:
    redirect_uri = f"{served.url('app')}/signin/callback"
    started: dict[str, Any] = app.initiate_auth_code_flow(
        [], redirect_uri=redirect_uri, **{"response_mode": "form_post"} | options
    )
    return started


def follow(url: str, **more: str) -> requests.Response:
    return requests.get(url, params=more, allow_redirects=False, timeout=30)


class Fields(HTMLParser):
    """The hidden fields of the page that posts the answer to the app."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.values: dict[str, str] = {}
        self.action = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "form":
            self.action = found.get("action") or ""
        if tag == "input" and found.get("type") == "hidden":
            self.values[str(found["name"])] = str(found["value"])


def signed_claims(served: Served, tid: str, token: str) -> dict[str, Any]:
    document = requests.get(f"{served.url('entra')}/{tid}/v2.0/.well-known/openid-configuration", timeout=30)
    keys = jwt.PyJWKSet.from_dict(requests.get(document.json()["jwks_uri"], timeout=30).json())
    key = keys[jwt.get_unverified_header(token)["kid"]]
    issuer = document.json()["issuer"]
    claims: dict[str, Any] = jwt.decode(
        token, key, algorithms=["RS256"], audience=entra.ENTRA_CLIENT_ID, issuer=issuer
    )
    return claims


def test_msal_signs_an_administrator_in_by_form_post(served: Served) -> None:
    app = client(served, "organizations")
    started = flow(served, app)
    page = follow(started["auth_uri"], sandbox_user=ADMIN.oid)
    fields = Fields(page.text)
    assert fields.action == started["redirect_uri"]
    result = app.acquire_token_by_auth_code_flow(started, fields.values)
    assert "error" not in result
    claims = signed_claims(served, HARBOR.tid, result["id_token"])
    assert (claims["tid"], claims["oid"], claims["preferred_username"]) == (HARBOR.tid, ADMIN.oid, ADMIN.upn)
    assert GLOBAL_ADMINISTRATOR in claims["wids"]
    again = requests.post(
        f"{served.url('entra')}/organizations/oauth2/v2.0/token",
        data={
            "grant_type": "authorization_code",
            "code": fields.values["code"],
            "client_id": entra.ENTRA_CLIENT_ID,
            "client_secret": entra.ENTRA_CLIENT_SECRET,
            "redirect_uri": started["redirect_uri"],
            "code_verifier": started["code_verifier"],
        },
        timeout=30,
    )
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


@pytest.mark.filterwarnings("ignore:response_mode='form_post' is recommended:UserWarning")
def test_msal_signs_a_clinician_in_by_query_with_a_hint(served: Served) -> None:
    app = client(served, HARBOR.tid)
    started = flow(served, app, response_mode="query", login_hint=CLINICIAN.upn)
    location = follow(started["auth_uri"]).headers["Location"]
    result = app.acquire_token_by_auth_code_flow(started, dict(parse_qsl(urlsplit(location).query)))
    claims = signed_claims(served, HARBOR.tid, result["id_token"])
    assert claims["oid"] == CLINICIAN.entra_oid
    assert "wids" not in claims
    assert claims["sub"] != CLINICIAN.entra_oid


def test_picker_lists_people_and_select_account_overrules_the_hint(served: Served) -> None:
    app = client(served, "organizations")
    everyone = follow(flow(served, app)["auth_uri"]).text
    assert CLINICIAN.upn in everyone and NORDLYS.clinicians[0].upn in everyone
    assert HARBOR.organizers[0].upn not in everyone
    asked = follow(flow(served, app, prompt="select_account", login_hint=CLINICIAN.upn)["auth_uri"])
    assert "Pick an account" in asked.text
    own = follow(flow(served, client(served, HARBOR.tid))["auth_uri"]).text
    assert NORDLYS.clinicians[0].upn not in own
    foreign = flow(served, client(served, HARBOR.tid))["auth_uri"]
    assert "Pick an account" in follow(foreign, sandbox_user=NORDLYS.clinicians[0].entra_oid).text


def test_declined_sign_in_comes_back_as_an_error(served: Served) -> None:
    app = client(served, "organizations")
    started = flow(served, app)
    fields = Fields(follow(started["auth_uri"], sandbox_user=entra.DECLINED).text)
    assert app.acquire_token_by_auth_code_flow(started, fields.values)["error"] == "access_denied"


def test_wrong_verifier_and_wrong_redirect_uri_redeem_nothing(served: Served) -> None:
    app = client(served, "organizations")
    for spoilt in ({"code_verifier": "x" * 43}, {"redirect_uri": f"{served.url('app')}/portal/callback"}):
        started = flow(served, app)
        fields = Fields(follow(started["auth_uri"], sandbox_user=ADMIN.oid).text)
        result = app.acquire_token_by_auth_code_flow(started | spoilt, fields.values)
        assert result["error"] in ("invalid_grant", "invalid_client")


def test_unregistered_redirect_uri_is_never_redirected_to(served: Served) -> None:
    started = client(served, "organizations").initiate_auth_code_flow(
        [], redirect_uri=f"{served.url('app')}/signin/callback/x", response_mode="form_post"
    )
    assert follow(started["auth_uri"], sandbox_user=ADMIN.oid).status_code == 400


def test_app_token_for_graph_by_secret_and_by_federated_identity(served: Served) -> None:
    scope = ["https://graph.microsoft.com/.default"]
    assertion = {"client_assertion": lambda: entra_tokens.managed_identity_token(served.world)}
    for credential in (entra.ENTRA_CLIENT_SECRET, assertion):
        result = client(served, NORDLYS.tid, credential).acquire_token_for_client(scope)
        claims = entra_tokens.check(served.world, result["access_token"], entra_tokens.GRAPH)
        assert claims["tid"] == NORDLYS.tid
        assert {"OnlineMeetings.ReadWrite.All", "Organization.Read.All"} <= set(claims["roles"])
    for wrong in ("guess", {"client_assertion": lambda: entra_tokens.sign({"sub": "x", "aud": "y"})}):
        result = client(served, NORDLYS.tid, wrong).acquire_token_for_client(scope)
        assert result["error"] == "invalid_client"
    assert served.world.requests[("entra", "token")] == 4


@pytest.mark.parametrize(
    ("client_id", "secret", "roles"),
    [
        (entra.AUTOMATION_CLIENT_ID, entra.AUTOMATION_CLIENT_SECRET, ["Connector.Configure"]),
        (entra.READER_CLIENT_ID, entra.READER_CLIENT_SECRET, ["Connector.Read"]),
    ],
)
def test_automation_token_for_the_connector(
    served: Served, client_id: str, secret: str, roles: list[str]
) -> None:
    app = msal.ConfidentialClientApplication(
        client_id,
        client_credential=secret,
        authority=f"{served.url('entra')}/{HARBOR.tid}",
        instance_discovery=False,
    )
    for scope in (f"{entra.ENTRA_CLIENT_ID}/.default", f"api://{entra.ENTRA_CLIENT_ID}/.default"):
        result = app.acquire_token_for_client([scope])
        assert signed_claims(served, HARBOR.tid, result["access_token"])["roles"] == roles


def test_admin_consent_needs_an_administrator_and_opens_app_tokens(served: Served) -> None:
    served.world.consented.discard(HARBOR.tid)
    app = client(served, HARBOR.tid)
    scope = ["https://graph.microsoft.com/.default"]
    assert app.acquire_token_for_client(scope)["error"] == "unauthorized_client"
    asked = {
        "client_id": entra.ENTRA_CLIENT_ID,
        "scope": scope[0],
        "redirect_uri": f"{served.url('app')}/portal/callback",
        "state": "s1",
    }
    url = f"{served.url('entra')}/organizations/v2.0/adminconsent"
    refused = follow(url, **asked, sandbox_user=ORDINARY.oid).headers["Location"]
    assert parse_qs(urlsplit(refused).query)["error"] == ["access_denied"]
    granted = parse_qs(urlsplit(follow(url, **asked, sandbox_user=ADMIN.oid).headers["Location"]).query)
    assert (granted["admin_consent"], granted["tenant"], granted["state"]) == (["True"], [HARBOR.tid], ["s1"])
    # MSAL remembers a refusal for a minute, so the new attempt needs a new client.
    assert "access_token" in client(served, HARBOR.tid).acquire_token_for_client(scope)


def test_unknown_tenant_and_faults(served: Served) -> None:
    url = f"{served.url('entra')}/{{}}/v2.0/.well-known/openid-configuration"
    assert requests.get(url.format("0" * 36), timeout=30).json()["error"] == "invalid_tenant"
    served.world.add_fault("entra", "500", 1)
    assert requests.get(url.format(HARBOR.tid), timeout=30).status_code == 503
    assert requests.get(url.format(HARBOR.tid), timeout=30).status_code == 200


def test_bundle_trusts_the_usual_authorities_too(tmp_path: Path) -> None:
    from sandbox import certificates

    made = certificates.make(tmp_path)
    assert made.bundle.read_text().count("BEGIN CERTIFICATE") > made.ca.read_text().count("BEGIN CERTIFICATE")
    assert made.key.stat().st_mode & 0o077 == 0
