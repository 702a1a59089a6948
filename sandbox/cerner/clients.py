"""The apps registered in simulated Cerner, and how they prove themselves at the token endpoint.

One client id per persona, the same for both hospitals. Source: Cerner authorization framework documentation;
RFC 6749 2.3.1; RFC 7523; SMART App Launch 2.x, "Client authentication: asymmetric".
"""

from __future__ import annotations

import hmac
import time
from urllib.parse import unquote

import jwt
import requests
from flask import request

from sandbox.world import Hospital

SMART_PROVIDER_CLIENT_ID = "5c7e1f08-2b6d-4a93-8e40-d1f7b3a9c652"
SMART_PROVIDER_SECRET = "sandbox-provider-secret-9vTq3LwXz7"  # noqa: S105 - lives on loopback only
SMART_PATIENT_CLIENT_ID = "6d8f2019-3c7e-4ba4-9f51-e208c4bad763"
SMART_PATIENT_SECRET = "sandbox-patient-secret-4mKd8RpYh2"  # noqa: S105
SMART_SYSTEM_CLIENT_ID = "7e90312a-4d8f-4cb5-a062-f319d5cbe874"
SMART_SYSTEM_SECRET = "sandbox-system-secret-6cBn1WsGf5"  # noqa: S105

CLIENTS = {
    SMART_PROVIDER_CLIENT_ID: ("provider", SMART_PROVIDER_SECRET),
    SMART_PATIENT_CLIENT_ID: ("patient", SMART_PATIENT_SECRET),
    SMART_SYSTEM_CLIENT_ID: ("system", SMART_SYSTEM_SECRET),
}
"""Persona and secret by client id."""
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class ClientAuthentication:
    """Accepts only the method that the hospital registered; the app's public keys come from its own JWKS."""

    def __init__(self, app_url: str) -> None:
        self._jwks_url = f"{app_url}/.well-known/jwks.json"
        self._public: dict[str, jwt.PyJWK] = {}
        self._seen: dict[str, float] = {}

    def client_id(self, hospital: Hospital) -> str | None:
        """Who sends the current request, or None if that is not proven."""
        if hospital.client_authentication == "private_key_jwt":
            return self._by_assertion()
        basic = request.authorization
        if basic is None or basic.type != "basic":
            return None
        client_id, secret = unquote(basic.username or ""), unquote(basic.password or "")
        known = client_id in CLIENTS and hmac.compare_digest(CLIENTS[client_id][1].encode(), secret.encode())
        return client_id if known else None

    def _by_assertion(self) -> str | None:
        assertion = request.form.get("client_assertion", "")
        if request.form.get("client_assertion_type") != _ASSERTION:
            return None
        try:
            key = self._key(jwt.get_unverified_header(assertion)["kid"])
            claims = jwt.decode(assertion, key.key, algorithms=["RS384", "ES384"], audience=request.base_url,
                                options={"require": ["iss", "sub", "aud", "exp", "jti"]})
        except (jwt.InvalidTokenError, KeyError):
            return None
        now = time.time()
        if claims["exp"] > now + 305 or claims["jti"] in self._seen:
            return None
        self._seen = {jti: until for jti, until in self._seen.items() if until > now}
        self._seen[claims["jti"]] = claims["exp"]
        return str(claims["sub"]) if claims["iss"] == claims["sub"] and claims["sub"] in CLIENTS else None

    def _key(self, kid: str) -> jwt.PyJWK:
        if kid not in self._public:
            with requests.Session() as session:
                session.trust_env = False
                found = session.get(self._jwks_url, timeout=10).json()
            self._public = {key["kid"]: jwt.PyJWK(key) for key in found["keys"]}
        return self._public[kid]
