"""Who signed in to the EHR: validation of the id_token of a SMART launch (OpenID Connect Core 3.1.3.7)."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from connector.adapters.cerner.smart import SmartConfiguration
from connector.adapters.http import OutgoingHttp
from connector.ehr import EhrUser
from connector.errors import PermanentError

ALGORITHMS = ("RS256", "RS384", "ES256", "ES384")
KEYS_AT_MOST_EVERY_S = 60
KEYS_KEPT_S = 3600
_LEEWAY_S = 60
_FHIR_USER = re.compile(r"(Practitioner|Patient|Person|RelatedPerson)/[A-Za-z0-9.-]{1,64}")


class KeyRing:
    """Public keys by `jwks_uri`; an unknown `kid` fetches them again, at most once a minute."""

    def __init__(self, http: OutgoingHttp, clock: Callable[[], float] = time.monotonic) -> None:
        self._http = http
        self._clock = clock
        self._lock = threading.Lock()
        self._rings: dict[str, _Ring] = {}

    def keys(self, jwks_uri: str, *, again: bool = False) -> list[dict[str, Any]]:
        """The keys as published; `again` when the wanted one was not among those returned before."""
        with self._lock:
            ring = self._rings.setdefault(jwks_uri, _Ring())
        with ring.lock:
            age = self._clock() - ring.fetched_at
            if ring.keys is None or age >= KEYS_KEPT_S or (again and age >= KEYS_AT_MOST_EVERY_S):
                response = self._http.request("GET", jwks_uri, max_bytes=512 * 1024, retry=True, vendor="cerner")
                document = response.json() if response.status == 200 else None
                keys = document.get("keys") if isinstance(document, dict) else None
                if not isinstance(keys, list):
                    raise PermanentError("cerner.keys_unreadable", vendor_status=response.status)
                ring.keys = [key for key in keys if isinstance(key, dict)]
                ring.fetched_at = self._clock()
            return ring.keys


@dataclass
class _Ring:
    lock: threading.Lock = field(default_factory=threading.Lock)
    keys: list[dict[str, Any]] | None = None
    fetched_at: float = 0.0


def verify_id_token(
    id_token: str,
    *,
    keys: KeyRing,
    configuration: SmartConfiguration,
    fhir_base: str,
    client_id: str,
    ehr_tenant: str,
    nonce: str | None,
) -> EhrUser:
    """The user named by an id_token; PermanentError `cerner.id_token.<what>` when anything is wrong with it.

    The keys come only from the discovery document of the FHIR base, never from the token. A token without
    `kid` is tried against every key. `iss` is one of the tenant's identity providers, so it is held to the
    tenant's prefix on the authorization server's own origin. `fhirUser` (older tokens: `profile`) lies under
    the FHIR base or is relative to it.

    A `nonce` in the token must be ours. Its absence is accepted: SMART App Launch does not make `nonce` part
    of its authorization request and Cerner's tokens carry none, while this token comes straight from the
    token endpoint over TLS, for a code bound to this launch by `state` and PKCE. That shuts out the replay of
    tokens through the browser that the nonce is for (OpenID Connect Core 15.5.2).
    """
    if configuration.jwks_uri is None:
        raise PermanentError("cerner.id_token.no_keys")
    claims = _verified(id_token, keys, configuration.jwks_uri, client_id)
    audience = claims["aud"]
    if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != client_id:
        raise PermanentError("cerner.id_token.audience")
    issuer = claims["iss"]
    prefix = f"{_origin(configuration)}/tenants/{ehr_tenant}/"
    if not isinstance(issuer, str) or not issuer.startswith(prefix):
        raise PermanentError("cerner.id_token.issuer")
    if nonce is not None and claims.get("nonce", nonce) != nonce:
        raise PermanentError("cerner.id_token.nonce")
    fhir_user = claims.get("fhirUser") or claims.get("profile")
    relative = fhir_user.removeprefix(fhir_base.rstrip("/") + "/") if isinstance(fhir_user, str) else ""
    if not _FHIR_USER.fullmatch(relative):
        raise PermanentError("cerner.id_token.fhir_user")
    name = claims.get("name")
    return EhrUser(issuer, relative, name[:120] if isinstance(name, str) else "")


def _origin(configuration: SmartConfiguration) -> str:
    """As the server spells it, for `iss` is compared as text; else that of the token endpoint."""
    url = configuration.issuer or configuration.token_endpoint
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def _verified(id_token: str, keys: KeyRing, jwks_uri: str, client_id: str) -> dict[str, Any]:
    try:
        header = jwt.get_unverified_header(id_token)
    except jwt.PyJWTError:
        header = {}
    if header.get("alg") not in ALGORITHMS:
        raise PermanentError("cerner.id_token.algorithm")
    for again in (False, True):
        for key in _candidates(keys.keys(jwks_uri, again=again), header):
            outcome = _decode(id_token, key, header["alg"], client_id)
            if isinstance(outcome, dict):
                return outcome
            if outcome != "signature":
                raise PermanentError(f"cerner.id_token.{outcome}")
    raise PermanentError("cerner.id_token.signature")


def _candidates(published: list[dict[str, Any]], header: dict[str, Any]) -> list[Any]:
    """Usable keys: of the token's `kid` if it has one, meant for signatures, of the token's algorithm."""
    usable = []
    for jwk in published:
        if header.get("kid") is not None and jwk.get("kid") != header["kid"]:
            continue
        if jwk.get("use", "sig") != "sig" or jwk.get("alg", header["alg"]) != header["alg"]:
            continue
        try:
            key = jwt.PyJWK(jwk, algorithm=header["alg"]).key
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            continue
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size >= 2048:
            usable.append(key)
    return usable


def _decode(id_token: str, key: Any, algorithm: str, client_id: str) -> dict[str, Any] | str:
    """The claims, or which check failed."""
    try:
        return jwt.decode(
            id_token,
            key,
            algorithms=[algorithm],
            audience=client_id,
            leeway=_LEEWAY_S,
            options={"require": ["iss", "aud", "exp", "iat"]},
        )
    except jwt.InvalidSignatureError:
        return "signature"
    except jwt.InvalidAudienceError:
        return "audience"
    except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError):
        return "expired"
    except jwt.InvalidKeyError:
        return "signature"
    except (jwt.PyJWTError, ValueError, TypeError):
        return "malformed"
