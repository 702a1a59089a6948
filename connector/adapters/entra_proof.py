"""Proof of tokens that Entra signed for us: which key, and what the claims must say.

MSAL Python has not validated ID tokens since 1.38 (release notes), so this does. Source: Microsoft identity
platform, "Access tokens" (validating tokens, signing key issuer), "ID token claims reference"; RFC 8725.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

import jwt

from connector.adapters.microsoft import MicrosoftHttp
from connector.errors import PermanentError

GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CLOCK_SKEW_S = 60
_KEYS_FRESH_S = 24 * 3600.0
_REFETCH_S = 60.0


class NotProven(Exception):
    """The token is not what it claims to be; there is no more to say to whoever sent it."""


@dataclass(frozen=True)
class _KeySet:
    fetched: float
    keys: dict[str, jwt.PyJWK]


class TokenProof:
    """Checks v2.0 tokens of any tenant of `authority`."""

    def __init__(self, authority: str, http: MicrosoftHttp) -> None:
        self._authority = authority
        self._http = http
        self._known: dict[str, _KeySet] = {}

    def claims(self, token: str, *, audiences: tuple[str, ...], v1: bool = False) -> dict[str, Any]:
        """The claims of a valid token that name a tenant (`tid`) and an object (`oid`). Raises NotProven.

        The token's own `tid` chooses the keys and the issuer that it must then prove. `v1` takes the issuer of v1.0
        tokens too, which the same keys sign: it depends on the app's registration which of the two a service gets.
        """
        tenant_id, key_id = claimed(token)
        key = self._key(tenant_id, key_id)
        if key is None:
            raise NotProven
        issuers = (self._issuer(tenant_id), *((f"https://sts.windows.net/{tenant_id}/",) if v1 else ()))
        return judge(token, key, issuers=issuers, audiences=audiences)

    def _issuer(self, tenant_id: str) -> str:
        return f"{self._authority}/{tenant_id}/v2.0"

    def _key(self, tenant_id: str, key_id: str) -> jwt.PyJWK | None:
        """Keys roll over without notice: an unknown id fetches again, at most once a minute."""
        known = self._known.get(tenant_id)
        age = time.monotonic() - known.fetched if known else float("inf")
        if known is None or age > _KEYS_FRESH_S or (key_id not in known.keys and age > _REFETCH_S):
            known = self._known[tenant_id] = _KeySet(time.monotonic(), self._fetch(tenant_id))
        return known.keys.get(key_id)

    def _fetch(self, tenant_id: str) -> dict[str, jwt.PyJWK]:
        response = self._http.request(
            "GET", f"{self._authority}/{tenant_id}/discovery/v2.0/keys", repeatable=True
        )
        if response.status != 200:
            raise PermanentError("entra.no_keys", vendor_status=response.status)
        published = response.json()
        listed = published.get("keys") if isinstance(published, dict) else None
        keys = {}
        for jwk in listed if isinstance(listed, list) else ():
            if not isinstance(jwk, dict) or jwk.get("kty") != "RSA" or jwk.get("use", "sig") != "sig":
                continue
            issuer = jwk.get("issuer")
            if issuer is not None and str(issuer).replace("{tenantid}", tenant_id) != self._issuer(tenant_id):
                continue
            try:
                keys[str(jwk.get("kid"))] = jwt.PyJWK(jwk, algorithm="RS256")
            except jwt.PyJWTError:
                continue
        return keys


def claimed(token: str) -> tuple[str, str]:
    """Tenant and key id that a token claims, unproven; raises NotProven unless both have the right form."""
    try:
        header = jwt.get_unverified_header(token)
        body = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise NotProven from None
    tenant_id, key_id = body.get("tid"), header.get("kid")
    if not (isinstance(tenant_id, str) and GUID.fullmatch(tenant_id) and isinstance(key_id, str)):
        raise NotProven
    return tenant_id, key_id


def judge(
    token: str, key: jwt.PyJWK, *, issuers: tuple[str, ...], audiences: tuple[str, ...]
) -> dict[str, Any]:
    """The claims of a token signed by `key` with RS256, of one of `issuers`, for us, valid now; or NotProven."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=["RS256"],
            issuer=issuers,
            audience=audiences,
            leeway=_CLOCK_SKEW_S,
            options={"require": ["iss", "aud", "exp", "nbf", "tid", "oid"]},
        )
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError):
        raise NotProven from None
    if not (isinstance(claims["aud"], str) and isinstance(claims["oid"], str) and claims["oid"]):
        raise NotProven  # Entra names one audience; a list would let a token be for somebody else too
    return claims


def names(claims: dict[str, Any], claim: str) -> frozenset[str]:
    """A claim that lists names (`roles`, `wids`); absent means none."""
    value = claims.get(claim)
    return frozenset(item for item in (value if isinstance(value, list) else ()) if isinstance(item, str))
