"""Tokens from the EHR's authorization server (RFC 6749, RFC 7523, SMART App Launch and Backend Services)."""

from __future__ import annotations

import base64
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from connector.adapters.cerner.signing import Signer
from connector.adapters.cerner.smart import SmartConfiguration, error_instance, error_urn
from connector.adapters.http import OutgoingHttp, Response
from connector.ehr import EhrTokens
from connector.errors import ConnectorError, PermanentError

ASSERTION_S = 300
DEFAULT_EXPIRES_IN = 300
"""When `expires_in`, which RFC 6749 only recommends, is missing: well under Cerner's 570."""
RENEW_EARLY_S = 90
"""Cerner's tokens live 570 s, so a system token is used for 480."""
RENEW_AT_MOST_EVERY_S = 60
"""Asking more often than once a minute may be throttled (vendor documentation: Cerner authorization)."""
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_OAUTH_ERRORS = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    }
)


@dataclass(frozen=True)
class EhrClient:
    """The app as registered with the EHR: with a signing key, a secret, or (neither) as a public client."""

    client_id: str
    secret: str | None = field(default=None, repr=False)
    signing_key: Signer | None = None


def client_assertion(client_id: str, key: Signer, token_endpoint: str) -> str:
    """A signed statement of who we are, good for one token endpoint for 5 minutes (RFC 7523 3). Raises as `key`."""
    now = int(time.time())
    claims: dict[str, str | int] = {
        "iss": client_id,
        "sub": client_id,
        "aud": token_endpoint,
        "iat": now,
        "exp": now + ASSERTION_S,
        "jti": secrets.token_urlsafe(24),
    }
    return key.jws(claims)


def request_tokens(
    http: OutgoingHttp,
    configuration: SmartConfiguration,
    client: EhrClient,
    form: dict[str, str],
    *,
    scope: str,
    repeatable: bool = False,
) -> EhrTokens:
    """One token request. PermanentError `cerner.<OAuth error>` carries the vendor's URN as `vendor_code`.

    `scope` is what was asked for: it counts as granted when the answer does not say (RFC 6749 5.1).
    """
    form = dict(form)
    headers = {"Accept": "application/json"}
    if client.signing_key is not None:
        form["client_assertion_type"] = _ASSERTION_TYPE
        form["client_assertion"] = client_assertion(client.client_id, client.signing_key, configuration.token_endpoint)
    elif client.secret is not None:
        # Not form-encoded first, unlike RFC 6749 2.3.1: Cerner documents base64(id:secret) of plain values.
        pair = f"{client.client_id}:{client.secret}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    else:
        form["client_id"] = client.client_id
    response = http.request(
        "POST",
        configuration.token_endpoint,
        headers=headers,
        data=form,
        max_bytes=256 * 1024,
        retry=repeatable,
        vendor="cerner",
    )
    if response.status != 200:
        raise oauth_error(response)
    return _tokens(response, scope)


def oauth_error(response: Response) -> ConnectorError:
    """An OAuth error answer as an error without the server's words."""
    try:
        answer = response.json()
    except PermanentError:
        answer = None
    answer = answer if isinstance(answer, dict) else {}
    error, uri = answer.get("error"), answer.get("error_uri")
    known = error if isinstance(error, str) and error in _OAUTH_ERRORS else None
    uri = uri if isinstance(uri, str) else None
    return PermanentError(
        f"cerner.{known or 'oauth_refused'}",
        vendor_status=response.status,
        vendor_code=error_urn(uri) or known,
        vendor_reference=response.reference or error_instance(uri),
    )


def _tokens(response: Response, wanted: str) -> EhrTokens:
    answer = response.json()
    texts = {k: v for k, v in answer.items() if isinstance(v, str) and v} if isinstance(answer, dict) else {}
    if "access_token" not in texts or texts.get("token_type", "Bearer").lower() != "bearer":
        raise PermanentError("cerner.unreadable_answer", vendor_reference=response.reference)
    try:
        expires_in = max(0, int(answer["expires_in"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        expires_in = DEFAULT_EXPIRES_IN
    return EhrTokens(
        access_token=texts["access_token"],
        expires_in=expires_in,
        scopes=frozenset((answer["scope"] if isinstance(answer.get("scope"), str) else wanted).split()),
        id_token=texts.get("id_token"),
        refresh_token=texts.get("refresh_token"),
        patient_id=texts.get("patient"),
        encounter_id=texts.get("encounter"),
        need_patient_banner=answer.get("need_patient_banner") is not False,
    )


class TokenCache:
    """Tokens of the system account, one request in flight for each key and at most one a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._slots: dict[Any, _Slot] = {}

    def get(self, key: Any, fetch: Callable[[], EhrTokens], *, renew: bool = False) -> EhrTokens:
        """The cached token, or a new one. `renew` asks for a new one because the old was refused."""
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
        with slot.lock:
            age = self._clock() - slot.fetched_at
            if slot.tokens is not None:
                fresh_for = max(RENEW_AT_MOST_EVERY_S, slot.tokens.expires_in - RENEW_EARLY_S)
                if age < RENEW_AT_MOST_EVERY_S or (age < fresh_for and not renew):
                    return slot.tokens
            slot.tokens = fetch()
            slot.fetched_at = self._clock()
            return slot.tokens


@dataclass
class _Slot:
    lock: threading.Lock = field(default_factory=threading.Lock)
    tokens: EhrTokens | None = None
    fetched_at: float = 0.0
