"""id_tokens of servers that differ, and what must be refused in any of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from connector.adapters.cerner import (
    Cerner,
)
from connector.errors import PermanentError
from tests.adapters.cerner_world import SMART, OtherServer
from tests.adapters.serving import shown


class Signer:
    """Signs id_tokens for OtherServer."""

    def __init__(self, other: OtherServer, algorithm: str, **configuration: Any) -> None:
        self.other = other
        self.algorithm = algorithm
        curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1()}
        made = [
            ec.generate_private_key(curves[algorithm]) if algorithm in curves else rsa.generate_private_key(65537, 2048)
            for _ in range(2)
        ]
        self.key = made[1]
        codec: Any = jwt.algorithms.ECAlgorithm if algorithm in curves else jwt.algorithms.RSAAlgorithm
        self.jwks = [json.loads(codec.to_jwk(key.public_key())) | {"kid": f"k{n}"} for n, key in enumerate(made)]
        other.answers["jwk"] = lambda: {"keys": self.jwks}
        other.answers[SMART] = other.configuration(**configuration)

    def token(self, headers: dict[str, Any] | None = None, **change: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": f"{self.other.url}/tenants/T/oidc/idsps/1/",
            "aud": "client",
            "iat": now,
            "exp": now + 600,
            "fhirUser": f"{self.other.base}/Practitioner/12",
        }
        claims = {name: value for name, value in (claims | change).items() if value is not None}
        return jwt.encode(claims, self.key, algorithm=self.algorithm, headers=headers or {})


@pytest.fixture
def verify(other: OtherServer, cerner: Cerner) -> Callable[..., Any]:
    return lambda token, nonce=None: cerner.verify_id_token(
        other.base, token, client_id="client", ehr_tenant="T", nonce=nonce
    )


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "ES256", "ES384"])
@pytest.mark.parametrize("issuer", [{}, {"issuer": None}])
def test_id_tokens_with_and_without_kid_and_issuer(
    other: OtherServer, verify: Callable[..., Any], algorithm: str, issuer: dict[str, Any]
) -> None:
    signer = Signer(other, algorithm, **issuer)
    for headers in ({}, {"kid": "k1"}):
        assert verify(signer.token(headers), nonce="n").fhir_user == "Practitioner/12"
    for change in ({"fhirUser": "Practitioner/12"}, {"fhirUser": None, "profile": "Practitioner/12"}):
        assert verify(signer.token(**change)).fhir_user == "Practitioner/12"
    assert verify(signer.token(nonce="n"), nonce="n")


IN_AN_HOUR = object()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"aud": ["client", "another"]}, "audience"),
        ({"aud": None}, "malformed"),
        ({"exp": None}, "malformed"),
        ({"iat": None}, "malformed"),
        ({"iat": IN_AN_HOUR}, "expired"),
        ({"iss": "https://authorization.cerner.example/tenants/T/"}, "issuer"),
        ({"iss": None}, "malformed"),
        ({"nonce": "other"}, "nonce"),
        ({"nonce": ""}, "nonce"),
        ({"fhirUser": None}, "fhir_user"),
        ({"fhirUser": "Device/1"}, "fhir_user"),
        ({"fhirUser": "Practitioner/../x"}, "fhir_user"),
        ({"fhirUser": "https://elsewhere.example/r4/T/Practitioner/12"}, "fhir_user"),
        ({"fhirUser": 5}, "fhir_user"),
    ],
)
def test_claims_are_checked(other: OtherServer, verify: Callable[..., Any], change: dict[str, Any], what: str) -> None:
    if change.get("iat") is IN_AN_HOUR:
        change = {"iat": int(time.time()) + 3600}
    token = Signer(other, "ES256").token(**change)
    with pytest.raises(PermanentError) as refused:
        verify(token, nonce="n")
    assert refused.value.code == f"cerner.id_token.{what}"
    assert token not in shown(refused.value)


def test_the_issuer_must_be_of_the_tenant_to_the_letter(other: OtherServer, verify: Callable[..., Any]) -> None:
    signer = Signer(other, "ES256")
    for issuer in (f"{other.url}/tenants/T", f"{other.url}/tenants/TT/", f"{other.url}.evil/tenants/T/"):
        with pytest.raises(PermanentError):
            verify(signer.token(iss=issuer))
    with pytest.raises(PermanentError):
        verify("not a token")


def test_unknown_kids_fetch_the_keys_again_at_most_once_a_minute(
    other: OtherServer, verify: Callable[..., Any], cerner: Cerner, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [5000.0]
    monkeypatch.setattr(cerner._keys, "_clock", lambda: now[0])
    signer = Signer(other, "ES256")
    assert verify(signer.token({"kid": "k1"}))
    for _ in range(3):
        with pytest.raises(PermanentError):
            verify(signer.token({"kid": "k2"}))
    assert other.asked.count("/jwk?") == 1
    now[0] += 61
    signer.jwks[1]["kid"] = "k2"
    assert verify(signer.token({"kid": "k2"}))
    assert other.asked.count("/jwk?") == 2
