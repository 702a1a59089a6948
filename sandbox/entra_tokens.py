"""The tokens of simulated Entra: made here, and checked here by simulated Graph.

Source: Microsoft identity platform, "ID token claims reference", "Access token claims reference",
"Workload identity federation". One RSA key a process; both vendors run in the same one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from sandbox.world import EntraUser, Json, World

ENTRA_CLIENT_ID = "e1b5c8d4-07f2-4a69-8d3b-f6027c9e41a8"
GRAPH = "https://graph.microsoft.com"
GRAPH_ROLES = (
    "LicenseAssignment.Read.All",
    "OnlineMeetings.Read.All",
    "OnlineMeetings.ReadWrite.All",
    "Organization.Read.All",
    "User.Read.All",
    "VirtualAppointment.Read.All",
)
LIFETIME_S = 3600
EXCHANGE = "api://AzureADTokenExchange"
VAULT = "https://vault.azure.net"
HOME_TENANT = "9f3d60b7-8c25-4e1a-b6d4-2a70f1c5e893"
"""The operator's own tenant, which holds the app registration and the stamp's managed identity."""
IDENTITY_OBJECT_ID = "34e8a9d1-5f7b-4c06-92ea-b18d6073fc5e"


@dataclass(frozen=True)
class EntraError:
    """An OAuth error in Entra's wire form, with its AADSTS number."""

    error: str
    number: int
    text: str

    @property
    def description(self) -> str:
        return f"AADSTS{self.number}: {self.text}"

    def body(self) -> Json:
        return {
            "error": self.error,
            "error_description": self.description,
            "error_codes": [self.number],
            "timestamp": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ"),
            "trace_id": str(uuid.uuid4()),
            "correlation_id": str(uuid.uuid4()),
        }


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def public_jwk() -> Json:
    key: Json = json.loads(RSAAlgorithm.to_jwk(_key().public_key()))
    kid = _base64url(hashlib.sha256(key["n"].encode()).digest())
    return {"kty": "RSA", "use": "sig", "kid": kid, "x5t": kid, "n": key["n"], "e": key["e"]}


def sign(claims: Json) -> str:
    """A JWT signed by the key that `keys` publishes; tests use it to make tokens with wrong claims."""
    return jwt.encode(claims, _key(), algorithm="RS256", headers={"kid": public_jwk()["kid"]})


def issuer(world: World, tid: str) -> str:
    return f"{world.ports.url('entra')}/{tid}/v2.0"


def id_token(world: World, tid: str, user: EntraUser, nonce: str, auth_time: int | None = None) -> str:
    """`wids` and `roles` are there only when the user holds some, as in Entra."""
    claims = _common(world, tid, ENTRA_CLIENT_ID) | {
        "name": user.name,
        "preferred_username": user.upn,
        "oid": user.oid,
        "sub": _pairwise(user.oid),
        "nonce": nonce,
    }
    claims |= {"auth_time": auth_time} if auth_time is not None else {}
    return sign(claims | {k: list(v) for k, v in (("wids", user.wids), ("roles", user.roles)) if v})


def user_access_token(world: World, tid: str, user: EntraUser) -> str:
    claims = {"oid": user.oid, "sub": _pairwise(user.oid), "scp": "User.Read", "azp": ENTRA_CLIENT_ID}
    return sign(_common(world, tid, GRAPH) | claims)


def app_token(world: World, tid: str, client_id: str, audience: str, roles: list[str]) -> str:
    """An app-only token; its `oid` and `sub` are the service principal of the client in that tenant."""
    principal = str(uuid.uuid5(uuid.UUID(tid), client_id))
    claims: Json = {"azp": client_id, "azpacr": "1", "idtyp": "app", "oid": principal, "sub": principal}
    return sign(_common(world, tid, audience) | claims | ({"roles": roles} if roles else {}))


def check(world: World, token: str, audience: str) -> Json:
    """Claims of a valid token of one of the world's tenants; raises `jwt.InvalidTokenError` otherwise."""
    claims: Json = jwt.decode(
        token,
        _key().public_key(),
        algorithms=["RS256"],
        audience=audience,
        options={"require": ["exp", "nbf", "iss", "aud", "tid"]},
    )
    if claims["iss"] != issuer(world, claims["tid"]) or world.hospital_of_tid(claims["tid"]) is None:
        raise jwt.InvalidIssuerError("issuer and tenant disagree")
    return claims


def managed_identity_token(world: World, audience: str = EXCHANGE) -> str:
    """What the stamp's user-assigned managed identity gets for a resource."""
    claims = _common(world, HOME_TENANT, audience)
    return sign(claims | {"oid": IDENTITY_OBJECT_ID, "sub": IDENTITY_OBJECT_ID})


def check_identity(world: World, token: str, audience: str) -> str:
    """The object id of the identity whose token for a resource this is; raises `jwt.InvalidTokenError` otherwise."""
    home = issuer(world, HOME_TENANT)
    claims = jwt.decode(token, _key().public_key(), algorithms=["RS256"], audience=audience, issuer=home)
    return str(claims["oid"])


def check_federated_assertion(world: World, client_id: str, assertion: str) -> None:
    """Accept only the managed identity registered as the app's federated credential."""
    if check_identity(world, assertion, EXCHANGE) != IDENTITY_OBJECT_ID or client_id != ENTRA_CLIENT_ID:
        raise jwt.InvalidTokenError("no such federated credential")


def _common(world: World, tid: str, audience: str) -> Json:
    now = int(time.time())
    return {
        "iss": issuer(world, tid),
        "aud": audience,
        "tid": tid,
        "iat": now,
        "nbf": now,
        "exp": now + LIFETIME_S,
        "ver": "2.0",
        "uti": uuid.uuid4().hex,
    }


def _pairwise(oid: str) -> str:
    return _base64url(hashlib.sha256(f"{oid} {ENTRA_CLIENT_ID}".encode()).digest())


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
