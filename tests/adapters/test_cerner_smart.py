"""Discovery, launch, tokens and scopes, against the simulated Cerner and servers that differ."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from connector.adapters.cerner import (
    Cerner,
    EhrClient,
    SigningKey,
    authorization_url,
    error_instance,
    error_urn,
    missing_scopes,
    scopes,
)
from connector.adapters.cerner.tokens import TokenCache, client_assertion
from connector.adapters.http import OutgoingHttp, OutgoingPolicy
from connector.ehr import EhrTokens
from connector.errors import PermanentError
from sandbox.cast import HARBOR, HOSPITALS
from sandbox.cerner import clients, powerchart
from sandbox.world import Hospital
from tests.adapters.cerner_world import PROVIDER, REDIRECT, RSA_PEM, SMART, SYSTEM, VERIFIER, OtherServer, Simulated
from tests.adapters.serving import shown


def launch(simulated: Simulated, cerner: Cerner, hospital: Hospital, client: EhrClient, **more: Any) -> EhrTokens:
    """A provider launch from PowerChart up to the tokens."""
    base, world = simulated.base(hospital), simulated.world
    opened = powerchart.launch_url(world, hospital.key, "provider", patient_key=hospital.patients[0].key)
    asked = parse_qs(urlsplit(opened).query)
    assert asked["iss"] == [base]
    url = authorization_url(
        cerner.discover(base),
        client_id=client.client_id,
        redirect_uri=REDIRECT,
        scope=scopes("provider", hospital.scopes_version),
        state="state",
        launch=asked["launch"][0],
        aud=base,
        code_challenge=challenge(),
        **more,
    )
    http = OutgoingHttp(OutgoingPolicy(loopback_http=True))
    back = parse_qs(urlsplit(http.request("GET", url).headers["Location"]).query)
    return cerner.exchange_code(base, client, code=back["code"][0], redirect_uri=REDIRECT, code_verifier=VERIFIER)


def challenge() -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


@pytest.mark.parametrize("hospital", HOSPITALS, ids=lambda hospital: hospital.key)
def test_a_provider_launch_yields_a_verified_user(simulated: Simulated, cerner: Cerner, hospital: Hospital) -> None:
    client = PROVIDER if hospital is HARBOR else replace(PROVIDER, secret=None, signing_key=simulated.key)
    tokens = launch(simulated, cerner, hospital, client, nonce="n-1")
    assert missing_scopes(tokens.scopes, scopes("provider", hospital.scopes_version)) == ()
    assert tokens.patient_id == hospital.patients[0].patient_id
    assert tokens.refresh_token and tokens.id_token and tokens.access_token not in repr(tokens)
    verify = partial(cerner.verify_id_token, simulated.base(hospital), tokens.id_token, client_id=client.client_id)
    user = verify(ehr_tenant=hospital.ehr_tenant, nonce="n-1")
    assert user.fhir_user == f"Practitioner/{hospital.clinicians[0].practitioner_id}"
    with pytest.raises(PermanentError, match=r"cerner\.id_token\.nonce"):
        verify(ehr_tenant=hospital.ehr_tenant, nonce="n-2")
    again = cerner.refresh(simulated.base(hospital), client, tokens.refresh_token)
    assert again.refresh_token == tokens.refresh_token and again.access_token != tokens.access_token


@pytest.mark.parametrize(
    ("mischief", "what"),
    [
        ("id_token_alg_none", "algorithm"),
        ("id_token_hs256", "algorithm"),
        ("id_token_bad_signature", "signature"),
        ("id_token_unknown_kid", "signature"),
        ("id_token_wrong_aud", "audience"),
        ("id_token_wrong_iss", "issuer"),
        ("id_token_other_tenant", "issuer"),
        ("id_token_wrong_nonce", "nonce"),
        ("id_token_expired", "expired"),
        ("id_token_other_fhir_user", "fhir_user"),
    ],
)
def test_a_forged_or_foreign_id_token_is_refused(
    simulated: Simulated, cerner: Cerner, mischief: str, what: str
) -> None:
    simulated.world.mischief.add(mischief)
    tokens = launch(simulated, cerner, HARBOR, PROVIDER, nonce="n-1")
    with pytest.raises(PermanentError) as refused:
        cerner.verify_id_token(
            simulated.base(HARBOR),
            tokens.id_token or "",
            client_id=PROVIDER.client_id,
            ehr_tenant=HARBOR.ehr_tenant,
            nonce="n-1",
        )
    assert refused.value.code == f"cerner.id_token.{what}"
    assert (tokens.id_token or "x") not in shown(refused.value)


def test_discovery_is_remembered(simulated: Simulated, cerner: Cerner) -> None:
    first = cerner.discover(simulated.base(HARBOR))
    assert cerner.discover(simulated.base(HARBOR) + "/") is first
    assert simulated.world.requests["cerner", "smart-configuration"] == 1
    assert first.pkce and "private_key_jwt" in first.token_endpoint_auth_methods_supported


def test_the_capability_statement(simulated: Simulated, cerner: Cerner) -> None:
    found = cerner.capability(simulated.base(HARBOR))
    assert found.fhir_version == "4.0.1" and found.json_patch
    assert found.interactions["Appointment"] >= {"read", "search-type", "patch"}
    assert found.search_parameters["Appointment"] >= {"location", "date"}
    assert found.token_endpoint == cerner.discover(simulated.base(HARBOR)).token_endpoint


def test_a_used_code_and_a_wrong_secret_are_named_without_their_values(simulated: Simulated, cerner: Cerner) -> None:
    base = simulated.base(HARBOR)
    with pytest.raises(PermanentError) as used:
        cerner.exchange_code(base, PROVIDER, code="c-0123456789", redirect_uri=REDIRECT, code_verifier=VERIFIER)
    with pytest.raises(PermanentError) as client:
        cerner.system_token(base, replace(SYSTEM, secret="wrong-secret"), scopes("system", "v1"))
    with pytest.raises(PermanentError) as empty:
        cerner.system_token(base, SYSTEM, scopes("system", "v2"))
    found = [error.value.code for error in (used, client, empty)]
    assert found == ["cerner.invalid_grant", "cerner.invalid_client", "cerner.invalid_scope"]
    assert (empty.value.vendor_code or "").startswith("urn:cerner:error:")
    assert (empty.value.vendor_code or "").endswith("empty-scopes")
    for error in (used.value, client.value, empty.value):
        assert error.vendor_reference
        for secret in ("c-0123456789", "wrong-secret", VERIFIER, "http://", clients.SMART_SYSTEM_SECRET):
            assert secret not in shown(error)


def test_the_system_token_is_asked_for_once(simulated: Simulated, cerner: Cerner) -> None:
    base, scope = simulated.base(HARBOR), scopes("system", "v1")
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: cerner.system_token(base, SYSTEM, scope), range(16)))
    assert len(found) == 1
    assert cerner.system_token(base, SYSTEM, scope, renew=True) in found, "less than a minute old"
    assert simulated.world.requests["authorization", "token"] == 1


def test_the_token_cache_renews_early_and_not_too_often() -> None:
    now, made = [1000.0], [0]

    def fetch() -> EhrTokens:
        made[0] += 1
        return EhrTokens(str(made[0]), 570, frozenset())

    cache = TokenCache(lambda: now[0])
    seen = []
    for at, renew in ((1000, False), (1479, False), (1480, False), (1500, True), (1540, True), (1541, False)):
        now[0] = at
        seen.append(cache.get("key", fetch, renew=renew).access_token)
    assert seen == ["1", "1", "2", "2", "3", "3"]


def test_discovery_falls_back_to_oauth_uris(other: OtherServer, cerner: Cerner) -> None:
    uris = [{"url": what, "valueUri": f"{other.url}/{what}"} for what in ("authorize", "token", "revoke")]
    other.answers["r4/T/metadata"] = {
        "resourceType": "CapabilityStatement",
        "fhirVersion": "4.0.1",
        "rest": [{"mode": "server", "security": {"extension": [{"url": "x/oauth-uris", "extension": uris}]}}],
    }
    found = cerner.discover(other.base)
    assert (found.issuer, found.jwks_uri) == (None, None)
    assert found.authorization_endpoint == f"{other.url}/authorize"
    with pytest.raises(PermanentError, match=r"cerner\.id_token\.no_keys"):
        cerner.verify_id_token(other.base, "a.b.c", client_id="c", ehr_tenant="T", nonce=None)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"token_endpoint": None}, "cerner.discovery_unreadable"),
        ({"token_endpoint": 5}, "cerner.discovery_unreadable"),
        ({"token_endpoint": "javascript:alert(1)"}, "outgoing.refused_url"),
        ({"authorization_endpoint": "https://a:b@127.0.0.1/"}, "outgoing.refused_url"),
    ],
)
def test_a_useless_or_dangerous_discovery_document_is_refused(
    other: OtherServer, cerner: Cerner, change: dict[str, Any], code: str
) -> None:
    other.answers[SMART] = other.configuration(**change)
    with pytest.raises(PermanentError) as refused:
        cerner.discover(other.base)
    assert refused.value.code == code


def test_scopes_are_the_documented_ones() -> None:
    assert scopes("provider", "v1", write=True) == (
        "launch online_access openid fhirUser user/Appointment.read user/Appointment.write user/Patient.read "
        "user/Encounter.read user/Practitioner.read"
    )
    assert scopes("provider", "v2", write=True).split()[4:6] == ["user/Appointment.crus", "user/Patient.rs"]
    assert scopes("patient", "v1", write=True) == (
        "launch openid fhirUser online_access patient/Appointment.read patient/Patient.read"
    )
    assert scopes("patient", "v2", standalone=True).startswith("launch/patient openid")
    assert scopes("system", "v1") == "system/Appointment.read system/Patient.read system/Location.read"


@pytest.mark.parametrize(
    ("granted", "wanted", "missing"),
    [
        ("user/Patient.read", "user/Patient.rs", ()),
        ("user/Patient.rs", "user/Patient.read", ()),
        ("user/Patient.r", "user/Patient.read", ("user/Patient.read",)),
        ("user/Patient.cruds", "user/Patient.rs user/Patient.write", ()),
        ("user/Appointment.crus", "user/Appointment.read user/Appointment.write", ()),
        ("user/Appointment.read user/Appointment.write", "user/Appointment.crus", ()),
        ("user/*.read", "user/Patient.rs", ()),
        ("user/*.*", "user/Patient.write", ()),
        ("patient/Patient.read", "user/Patient.read", ("user/Patient.read",)),
        ("user/Patient.rs?_id=1", "user/Patient.rs", ("user/Patient.rs",)),
        ("openid profile", "launch openid fhirUser", ()),
        ("launch openid fhirUser", "online_access user/Patient.read", ("online_access", "user/Patient.read")),
        ("", "openid", ("openid",)),
    ],
)
def test_missing_scopes_knows_both_spellings(granted: str, wanted: str, missing: tuple[str, ...]) -> None:
    assert missing_scopes(granted.split(), wanted) == missing


def test_the_assertion_is_what_backend_services_ask_for() -> None:
    key = SigningKey.from_pem(RSA_PEM)
    assertion = client_assertion("client", key, "https://a.example/token")
    assert jwt.get_unverified_header(assertion) == {"typ": "JWT", "alg": "RS384", "kid": key.public.kid}
    public = jwt.PyJWK(key.public.jwk).key
    claims = jwt.decode(assertion, public, algorithms=["RS384"], audience="https://a.example/token")
    assert claims["iss"] == claims["sub"] == "client" and claims["exp"] - claims["iat"] == 300
    other = client_assertion("client", key, "https://a.example/token")
    assert jwt.decode(other, public, algorithms=["RS384"], audience="https://a.example/token")["jti"] != claims["jti"]
    assert set(key.public.jwk) == {"kty", "n", "e", "kid", "alg", "use"} and "PRIVATE" not in repr(key)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_signing_keys_are_of_the_two_documented_kinds(curve: ec.EllipticCurve) -> None:
    pem = ec.generate_private_key(curve).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    if isinstance(curve, ec.SECP384R1):
        assert SigningKey.from_pem(pem.decode()).public.algorithm == "ES384"
    else:
        with pytest.raises(ValueError, match="P-384"):
            SigningKey.from_pem(pem)


def test_error_urns_are_decoded() -> None:
    urn = "urn:cerner:error:authorization-server:oauth2:token:empty-scopes"
    for once in (urn.replace(":", "%3A"), urn.replace(":", "%253A")):
        uri = f"https://authorization.cerner.com/errors/{once}/instances/6b2c-4e38-9f15?client=x&tenant=T"
        assert (error_urn(uri), error_instance(uri)) == (urn, "6b2c-4e38-9f15")
    assert error_urn(None) is None and error_urn("https://x.example/") is None and error_instance(None) is None
