"""Entra: sign-in, our own tokens, and every token that must not be believed."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import flask
import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

import sandbox.entra
from connector.adapters import entra_proof
from connector.adapters.entra import GLOBAL_ADMINISTRATOR, GRAPH_SCOPE, ApiCaller, Entra
from connector.adapters.entra_proof import NotProven, TokenProof
from connector.adapters.microsoft import MicrosoftHttp
from connector.errors import PermanentError, RefusedError, TransientError
from sandbox import entra_tokens
from sandbox.cast import HARBOR, NORDLYS
from sandbox.entra import AUTOMATION_CLIENT_ID, AUTOMATION_CLIENT_SECRET, ENTRA_CLIENT_SECRET
from sandbox.entra_tokens import ENTRA_CLIENT_ID
from sandbox.world import World
from tests.adapters.serving import listening, shown
from tests.adapters.simulated import answer_of, settings, vendors, without_waiting

ADMIN, ORDINARY = HARBOR.users
TENANT = HARBOR.tid


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with vendors(tmp_path_factory.mktemp("entra")) as world:
        yield world


@pytest.fixture
def world(running: World) -> World:
    running.reset()
    return running


@pytest.fixture
def app(world: World) -> Entra:
    made = Entra(settings(world))
    without_waiting(made)
    return made


def test_administrator_signs_in_and_is_proven(world: World, app: Entra) -> None:
    user = app.finish_sign_in(*answer_of(world, app, ADMIN))
    assert (user.tenant_id, user.object_id) == (TENANT, ADMIN.oid)
    assert (user.name, user.username) == (ADMIN.name, ADMIN.upn)
    assert user.directory_roles == {GLOBAL_ADMINISTRATOR}
    assert user.roles == frozenset()


def test_user_without_directory_roles_has_none(world: World, app: Entra) -> None:
    assert app.finish_sign_in(*answer_of(world, app, ORDINARY)).directory_roles == frozenset()


def test_authorization_url_asks_for_pkce_in_the_query_and_for_no_refresh_token(app: Entra) -> None:
    url, flow = app.begin_sign_in("https://app.example/signin/callback", prompt="select_account")
    for part in ("/organizations/", "response_mode=query", "code_challenge_method=S256", "prompt=select_account"):
        assert part in url
    assert "offline_access" not in url
    assert "auth_uri" not in flow and len(json.dumps(flow)) < 400


def test_sign_in_keeps_no_token(world: World, app: Entra) -> None:
    app.finish_sign_in(*answer_of(world, app, ADMIN))
    assert not app._applications["organizations"].get_accounts()


@pytest.mark.parametrize("state", [None, "", "someone else's"])
def test_answer_to_another_question_is_refused(world: World, app: Entra, state: str | None) -> None:
    flow, parameters = answer_of(world, app, ADMIN)
    parameters.pop("state")
    if state is not None:
        parameters["state"] = state
    with pytest.raises(RefusedError) as refused:
        app.finish_sign_in(flow, parameters)
    assert (refused.value.code, refused.value.status) == ("entra.state_mismatch", 400)
    with pytest.raises(RefusedError, match="state_mismatch"):
        app.finish_sign_in({}, parameters)


def test_cancelled_sign_in_is_denied(world: World, app: Entra) -> None:
    with pytest.raises(RefusedError) as refused:
        app.finish_sign_in(*answer_of(world, app, None))
    error = refused.value
    assert (error.code, error.status, error.vendor_code) == ("entra.denied", 403, "AADSTS65004")


def test_other_errors_show_only_their_number(world: World, app: Entra) -> None:
    flow, parameters = answer_of(world, app, ADMIN)
    answer = {"state": parameters["state"], "error": "invalid_request", "error_description": "AADSTS90019: x@y"}
    with pytest.raises(RefusedError) as refused:
        app.finish_sign_in(flow, answer)
    assert (refused.value.code, refused.value.vendor_code) == ("entra.sign_in_failed", "AADSTS90019")
    assert "x@y" not in shown(refused.value)


def test_code_is_redeemed_once(world: World, app: Entra) -> None:
    flow, parameters = answer_of(world, app, ADMIN)
    app.finish_sign_in(flow, parameters)
    with pytest.raises(RefusedError) as refused:
        app.finish_sign_in(flow, parameters)
    assert (refused.value.code, refused.value.vendor_code) == ("entra.code_expired", "AADSTS54005")
    assert parameters["code"] not in shown(refused.value)


def test_redemption_is_never_repeated(world: World, app: Entra) -> None:
    flow, parameters = answer_of(world, app, ADMIN)
    world.add_fault("entra", "500", 1)
    with pytest.raises(TransientError) as failed:
        app.finish_sign_in(flow, parameters)
    assert failed.value.code == "entra.unavailable"
    assert world.requests["entra", "token"] == 1


def test_code_without_our_verifier_is_refused(world: World, app: Entra) -> None:
    flow, parameters = answer_of(world, app, ADMIN)
    flow["code_verifier"] = "x" * 43
    with pytest.raises(RefusedError) as refused:
        app.finish_sign_in(flow, parameters)
    assert refused.value.vendor_code == "AADSTS501481"


def test_id_token_of_another_sign_in_is_refused(world: World, app: Entra) -> None:
    flow, parameters = answer_of(world, app, ADMIN)
    flow["nonce"] = "another"
    with pytest.raises(RefusedError) as refused:
        app.finish_sign_in(flow, parameters)
    assert (refused.value.code, refused.value.status) == ("entra.id_token_invalid", 403)


def test_nonce_is_checked_without_msal(
    world: World, app: Entra, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow, parameters = answer_of(world, app, ADMIN)
    foreign = entra_tokens.id_token(world, TENANT, ADMIN, "another")
    monkeypatch.setattr(app, "_ask", lambda *_: {"id_token": foreign})
    with pytest.raises(RefusedError, match="id_token_invalid"):
        app.finish_sign_in(flow, parameters)


def test_our_own_credential_refused_is_no_fault_of_the_user(world: World) -> None:
    app = Entra(settings(world, ENTRA_CLIENT_SECRET="rolled-over"))
    with pytest.raises(PermanentError) as failed:
        app.finish_sign_in(*answer_of(world, app, ADMIN))
    assert (failed.value.code, failed.value.vendor_code) == ("entra.client_refused", "AADSTS7000215")
    assert "rolled-over" not in shown(failed.value)


def test_app_token_is_kept(world: World, app: Entra) -> None:
    assert app.app_token(TENANT, GRAPH_SCOPE) == app.app_token(TENANT, GRAPH_SCOPE)
    assert world.requests["entra", "token"] == 1


def test_app_token_of_each_tenant_is_its_own(world: World, app: Entra) -> None:
    for tenant in (TENANT, NORDLYS.tid):
        assert entra_tokens.check(world, app.app_token(tenant, GRAPH_SCOPE), entra_tokens.GRAPH)["tid"] == tenant


def test_consent_counts_at_once(world: World, app: Entra) -> None:
    world.consented.clear()
    with pytest.raises(PermanentError) as refused:
        app.app_token(TENANT, GRAPH_SCOPE)
    assert (refused.value.code, refused.value.vendor_code) == ("entra.app_token_refused", "AADSTS7000229")
    world.consented.add(TENANT)
    assert app.app_token(TENANT, GRAPH_SCOPE)


def test_app_roles_are_those_of_a_fresh_token(
    world: World, app: Entra, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert app.app_roles(TENANT) == set(entra_tokens.GRAPH_ROLES)
    monkeypatch.setattr(entra_tokens, "GRAPH_ROLES", ("Organization.Read.All",))
    assert app.app_roles(TENANT) == {"Organization.Read.All"}


@pytest.mark.parametrize("tenant", ["00000000-0000-4000-8000-000000000000", "organizations", "../x"])
def test_unknown_tenant(app: Entra, tenant: str) -> None:
    with pytest.raises(PermanentError, match=r"entra.unknown_tenant"):
        app.app_token(tenant, GRAPH_SCOPE)


def test_app_token_survives_two_failures_but_not_three(world: World, app: Entra) -> None:
    waits = without_waiting(app)
    world.add_fault("entra", "429", 1)
    world.add_fault("entra", "500", 1)
    assert app.app_token(TENANT, GRAPH_SCOPE)
    assert waits[0] == 1.0 and len(waits) == 2
    world.add_fault("entra", "500", 3)
    with pytest.raises(TransientError) as failed:
        app.app_token(NORDLYS.tid, GRAPH_SCOPE)
    assert failed.value.code == "entra.unavailable"
    assert app.app_token(NORDLYS.tid, GRAPH_SCOPE)  # and MSAL does not repeat the failure from memory


def test_token_that_still_holds_outlives_an_outage(
    world: World, app: Entra, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entra may say when to ask for a newer token (`refresh_in`); then it is down."""
    answer = sandbox.entra._token_answer
    monkeypatch.setattr(sandbox.entra, "_token_answer", lambda token: answer(token) | {"refresh_in": 60})
    token, started = app.app_token(TENANT, GRAPH_SCOPE), time.time()
    monkeypatch.setattr(time, "time", lambda: started + 90)
    world.add_fault("entra", "500", 3)
    assert app.app_token(TENANT, GRAPH_SCOPE) == token
    assert world.requests["entra", "token"] == 4


def test_nothing_listens(world: World) -> None:
    app = Entra(replace(settings(world), entra_authority="https://127.0.0.1:9"))
    without_waiting(app)
    with pytest.raises(TransientError) as failed:
        app.app_token(TENANT, GRAPH_SCOPE)
    assert failed.value.code == "entra.unreachable"
    assert "127.0.0.1" not in shown(failed.value)


def test_managed_identity_serves_instead_of_a_secret(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = flask.Flask("identity")
    asked: list[dict[str, str]] = []

    @identity.get("/token")
    def token() -> dict[str, object]:
        asked.append(flask.request.args.to_dict())
        assertion = entra_tokens.managed_identity_token(world)
        return {"access_token": assertion, "expires_on": int(time.time()) + 3600, "token_type": "Bearer"}

    with listening(identity) as port:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{port}/token")
        monkeypatch.setenv("IDENTITY_HEADER", "header")
        app = Entra(settings(world, ENTRA_CLIENT_SECRET="", ENTRA_IDENTITY_CLIENT_ID="identity-1"))
        assert app.app_token(TENANT, GRAPH_SCOPE) and app.app_token(NORDLYS.tid, GRAPH_SCOPE)
    assert [(a["resource"], a["client_id"]) for a in asked] == [("api://AzureADTokenExchange", "identity-1")]


def api_token(world: World, client: str = AUTOMATION_CLIENT_ID, secret: str = AUTOMATION_CLIENT_SECRET) -> str:
    form = {
        "grant_type": "client_credentials",
        "client_id": client,
        "client_secret": secret,
        "scope": f"api://{ENTRA_CLIENT_ID}/.default",
    }
    url = f"{world.ports.url('entra')}/{TENANT}/oauth2/v2.0/token"
    return str(requests.post(url, data=form, timeout=30).json()["access_token"])


def test_api_caller_is_proven(world: World, app: Entra) -> None:
    token = api_token(world)
    caller = jwt.decode(token, options={"verify_signature": False})["oid"]
    assert app.verify_api_token(token) == ApiCaller(TENANT, caller, frozenset({"Connector.Configure"}))
    assert app.verify_api_token(token) and world.requests["entra", "keys"] == 1


def test_other_tokens_of_entra_do_not_open_the_api(world: World, app: Entra) -> None:
    for token in (
        entra_tokens.id_token(world, TENANT, ADMIN, "nonce"),
        entra_tokens.user_access_token(world, TENANT, ADMIN),
        app.app_token(TENANT, GRAPH_SCOPE),
        "",
        "a.b.c",
        api_token(world) + "x",
    ):
        with pytest.raises(RefusedError) as refused:
            app.verify_api_token(token)
        assert (refused.value.code, refused.value.status) == ("api.token_invalid", 401)


def test_stranger_causes_no_request(world: World, app: Entra) -> None:
    stranger = entra_tokens.app_token(world, NORDLYS.tid, AUTOMATION_CLIENT_ID, ENTRA_CLIENT_ID, [])
    with pytest.raises(RefusedError, match=r"api.token_invalid"):
        app.verify_api_token(stranger)
    assert not world.requests


class Issuer:
    """A tiny authority with keys of our own, for tokens that the simulated Entra would never sign."""

    def __init__(self) -> None:
        self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.published: dict[str, dict[str, Any]] = {"k1": {}}
        self.fetches = 0
        self.flask = flask.Flask("issuer")
        self.flask.add_url_rule("/<tid>/discovery/v2.0/keys", "keys", self._keys)
        self.authority = ""

    def _keys(self, tid: str) -> dict[str, object]:
        self.fetches += 1
        public = json.loads(RSAAlgorithm.to_jwk(self.private.public_key()))
        return {"keys": [{"kty": "RSA", "n": public["n"], "e": public["e"], "kid": k} | more
                         for k, more in self.published.items()]}

    def claims(self) -> dict[str, Any]:
        now = int(time.time())
        return {"iss": f"{self.authority}/{TENANT}/v2.0", "aud": "us", "tid": TENANT, "oid": "o", "iat": now,
                "nbf": now, "exp": now + 600}

    def token(self, *, without: str = "", kid: str = "k1", **changes: Any) -> str:
        claims = {k: v for k, v in (self.claims() | changes).items() if k != without}
        return jwt.encode(claims, self.private, algorithm="RS256", headers={"kid": kid})

    def proof(self) -> TokenProof:
        return TokenProof(self.authority, MicrosoftHttp("entra"))


@pytest.fixture(scope="module")
def one_issuer(running: World) -> Iterator[Issuer]:
    made = Issuer()
    with listening(made.flask) as port:
        made.authority = f"http://127.0.0.1:{port}"
        yield made


@pytest.fixture
def issuer(one_issuer: Issuer) -> Issuer:
    one_issuer.published, one_issuer.fetches = {"k1": {}}, 0
    return one_issuer


def test_true_token_is_proven(issuer: Issuer) -> None:
    assert issuer.proof().claims(issuer.token(), audiences=("us",))["oid"] == "o"


@pytest.mark.parametrize("changes", [
    {"aud": "them"},
    {"aud": ["us", "them"]},
    {"iss": "https://login.example/v2.0"},
    {"exp": -120},
    {"nbf": 600},
    {"exp": "soon"},
    {"tid": NORDLYS.tid},
    {"oid": ""},
    {"kid": "k2"},
    *({"without": name} for name in ("iss", "aud", "exp", "nbf", "tid", "oid")),
], ids=str)
def test_false_claims_prove_nothing(issuer: Issuer, changes: dict[str, Any]) -> None:
    """Numbers are seconds from now."""
    changes = {name: int(time.time()) + value if isinstance(value, int) else value for name, value in changes.items()}
    with pytest.raises(NotProven):
        issuer.proof().claims(issuer.token(**changes), audiences=("us",))


@pytest.mark.parametrize("tenant", ["common", f"{TENANT}/../x", TENANT.upper(), "", None, 7])
def test_only_a_tenant_id_chooses_whose_keys(issuer: Issuer, tenant: object) -> None:
    with pytest.raises(NotProven):
        issuer.proof().claims(issuer.token(tid=tenant), audiences=("us",))
    assert issuer.fetches == 0


def test_other_signatures_prove_nothing(issuer: Issuer) -> None:
    public = issuer.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    header, body, signature = issuer.token().split(".")
    altered = jwt.utils.base64url_encode(json.dumps(issuer.claims() | {"oid": "p"}).encode()).decode()
    for token in (
        jwt.encode(issuer.claims(), None, algorithm="none", headers={"kid": "k1"}),
        hs256(issuer.claims(), public),
        jwt.encode(issuer.claims(), issuer.private, algorithm="PS256", headers={"kid": "k1"}),
        jwt.encode(issuer.claims(), Issuer().private, algorithm="RS256", headers={"kid": "k1"}),
        jwt.encode(issuer.claims(), issuer.private, algorithm="RS256"),
        f"{header}.{altered}.{signature}",
        f"{header}.{body}.",
    ):
        with pytest.raises(NotProven):
            issuer.proof().claims(token, audiences=("us",))


def hs256(claims: dict[str, Any], secret: bytes) -> str:
    """The key confusion of RFC 8725 2.1; PyJWT refuses to make it, so by hand."""
    encode = jwt.utils.base64url_encode
    header = json.dumps({"alg": "HS256", "typ": "JWT", "kid": "k1"}).encode()
    signed = encode(header) + b"." + encode(json.dumps(claims).encode())
    return (signed + b"." + encode(hmac.digest(secret, signed, hashlib.sha256))).decode()


def test_new_key_is_fetched_at_most_once_a_minute(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    proof, later = issuer.proof(), time.monotonic()
    proof.claims(issuer.token(), audiences=("us",))
    issuer.published["k2"] = {}
    for _ in range(3):
        with pytest.raises(NotProven):
            proof.claims(issuer.token(kid="k2"), audiences=("us",))
    assert issuer.fetches == 1
    monkeypatch.setattr(entra_proof.time, "monotonic", lambda: later + 70)
    assert proof.claims(issuer.token(kid="k2"), audiences=("us",))
    assert issuer.fetches == 2


def test_key_of_another_issuer_is_not_used(issuer: Issuer) -> None:
    issuer.published = {
        "k1": {"issuer": "https://login.example/9188040d/v2.0"},
        "k2": {"issuer": f"{issuer.authority}/{{tenantid}}/v2.0"},
        "k3": {"use": "enc"},
    }
    assert issuer.proof().claims(issuer.token(kid="k2"), audiences=("us",))
    for kid in ("k1", "k3"):
        with pytest.raises(NotProven):
            issuer.proof().claims(issuer.token(kid=kid), audiences=("us",))


def test_secret_is_nowhere_in_an_error(world: World, app: Entra) -> None:
    world.consented.clear()
    with pytest.raises(PermanentError) as refused:
        app.app_token(TENANT, GRAPH_SCOPE)
    assert ENTRA_CLIENT_SECRET not in shown(refused.value)
