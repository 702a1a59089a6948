"""Signs id_tokens as simulated Cerner does, and spoils them on request (names: `sandbox.cerner`).

Source: Cerner authorization framework documentation, "OpenID Connect"; OpenID Connect Core 1.0.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sandbox.cerner.clients import CLIENTS
from sandbox.world import Grant, Hospital, Json, World

_LIFETIME_S = 600


def issuer(world: World, hospital: Hospital) -> str:
    idsp = hashlib.sha256(hospital.key.encode()).hexdigest()[:24]
    return f"{world.ports.url('authorization')}/tenants/{hospital.ehr_tenant}/oidc/idsps/{idsp}/"


def _fresh_key(alg: str) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    if alg == "RS256":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP256R1())


class KeyRing:
    """The signing keys of the moment: one RSA and one P-256 key, each with its kid."""

    def __init__(self) -> None:
        self.rotate()

    def rotate(self) -> None:
        """Replace both keys; the old ones leave the JWKS at once."""
        self._keys = {alg: (str(uuid.uuid4()), _fresh_key(alg)) for alg in ("RS256", "ES256")}

    def jwks(self) -> Json:
        return {"keys": [self._public(alg) | {"use": "sig", "alg": alg, "kid": self._keys[alg][0]}
                         for alg in self._keys]}

    def sign(self, claims: Json, alg: str, mischief: set[str]) -> str:
        if "rotate_keys" in mischief:
            mischief.discard("rotate_keys")
            self.rotate()
        kid, key = self._keys[alg]
        if "id_token_alg_none" in mischief:
            return jwt.encode(claims, "", algorithm="none", headers={"kid": kid})
        if "id_token_hs256" in mischief:
            return _confused(claims, kid, json.dumps(self._public(alg)).encode())
        if "id_token_bad_signature" in mischief:
            key = _fresh_key(alg)
        if "id_token_unknown_kid" in mischief:
            kid = str(uuid.uuid4())
        return jwt.encode(claims, key, algorithm=alg, headers={"kid": kid})

    def _public(self, alg: str) -> Json:
        key = self._keys[alg][1].public_key()
        if isinstance(key, rsa.RSAPublicKey):
            return jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True)
        return jwt.algorithms.ECAlgorithm.to_jwk(key, as_dict=True)


def id_token(world: World, keys: KeyRing, hospital: Hospital, grant: Grant) -> str | None:
    """The id_token of a launch, or None when `openid` was not granted; a nonce comes back only when asked."""
    mischief = world.mischief
    if "openid" not in grant.scopes or "id_token_missing" in mischief:
        return None
    now = int(time.time())
    subject, name, fhir_user = _who(world, hospital, grant)
    claims: Json = {"iss": issuer(world, hospital), "sub": subject, "aud": grant.client_id, "name": name,
                    "iat": now, "exp": now + _LIFETIME_S}
    if not {"fhirUser", "profile"}.isdisjoint(grant.scopes):
        if "id_token_other_fhir_user" in mischief:
            fhir_user = fhir_user.replace(hospital.ehr_tenant, "00000000-0000-4000-8000-000000000000")
        claims |= {"fhirUser": fhir_user, "profile": fhir_user}
    if grant.nonce:
        claims["nonce"] = "another" if "id_token_wrong_nonce" in mischief else grant.nonce
    if "id_token_wrong_aud" in mischief:
        claims["aud"] = next(client for client in CLIENTS if client != grant.client_id)
    if "id_token_wrong_iss" in mischief:
        claims["iss"] = claims["iss"].replace(world.ports.url("authorization"), "https://authorization.example")
    if "id_token_other_tenant" in mischief:
        other = next(h for h in world.hospitals.values() if h is not hospital)
        claims["iss"] = issuer(world, other)
    if "id_token_expired" in mischief:
        claims |= {"iat": now - 3600 - _LIFETIME_S, "exp": now - 3600}
    return keys.sign(claims, "RS256" if hospital.key == "harbor" else "ES256", mischief)


def _who(world: World, hospital: Hospital, grant: Grant) -> tuple[str, str, str]:
    if grant.persona == "provider":
        clinician = next(c for c in hospital.clinicians if c.key == grant.user)
        return (clinician.username, f"{clinician.family}, {clinician.given}",
                f"{world.ports.fhir_base(hospital.ehr_tenant)}/Practitioner/{clinician.practitioner_id}")
    person = next(p for p in hospital.patients if p.key == grant.user)
    if "patient_proxy" in world.mischief:
        return ("proxy", "Proxy", f"{world.ports.patient_fhir_base(hospital.ehr_tenant)}/Person/70000001")
    subject = hashlib.sha256(person.patient_id.encode()).hexdigest()[:32]
    return (subject, f"{person.family}, {person.given}",
            f"{world.ports.patient_fhir_base(hospital.ehr_tenant)}/Patient/{person.patient_id}")


def _confused(claims: Json, kid: str, public: bytes) -> str:
    """HMAC with the public key as the secret, which PyJWT rightly refuses to make."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
             for part in ({"alg": "HS256", "typ": "JWT", "kid": kid}, claims)]
    signature = hmac.digest(public, b".".join(parts), "sha256")
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()
