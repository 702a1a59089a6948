"""A key that never leaves Azure Key Vault: its public halves, and signatures made there.

By REST over the session that Entra and Graph have too: azure-keyvault-keys would load 89 modules more before the first
launch of a process, and ask one request more for the challenge that names a constant.
Source: Key Vault REST API 7.4, "Get Key Versions", "Get Key", "Sign"; "Authentication, requests and responses".
"""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from connector import logs
from connector.adapters.http import Response, origin
from connector.adapters.microsoft import MicrosoftHttp
from connector.errors import ConnectorError, PermanentError

SCOPE = "https://vault.azure.net/.default"
KEPT_S = 600.0
"""How long the list of versions is used before it is read again."""
AGAIN_S = 60.0
"""When it is read again after that failed; what was known serves meanwhile."""
_VERSION = {"api-version": "7.4"}
_PAGES = 40
_ID = re.compile(r"[0-9a-zA-Z]{1,64}")
_REASON = re.compile(r"[A-Za-z]{1,40}")


@dataclass(frozen=True)
class KeyVersion:
    id: str
    created: int
    """Seconds since the epoch."""
    exportable: bool
    public: Mapping[str, str] = field(compare=False, hash=False)
    """Members of the public JWK as the vault gives them (RFC 7517)."""


class VaultKey:
    """One key with its versions; safe to share between threads.

    Every method raises TransientError (`vault.unreachable`, `.timed_out`, `.unavailable`, `.throttled`) or
    PermanentError: `vault.not_allowed` (no token, or none of the key's roles; `vendor_code` is the vault's reason),
    `vault.key_missing`, `vault.refused`, `vault.unreadable_answer`.
    """

    def __init__(self, address: str, token: Callable[[], str]) -> None:
        """`address` names no version: `https://VAULT.vault.azure.net/keys/NAME`."""
        self._address = address
        self._token = token
        self._http = MicrosoftHttp("vault")
        self._lock = threading.Lock()
        self._known: tuple[KeyVersion, ...] = ()
        self._read_again_at = 0.0

    def versions(self, *, again: bool = False) -> tuple[KeyVersion, ...]:
        """Enabled versions, newest first; remembered for ten minutes unless `again`, and while the vault is away."""
        # what is known serves all others while one of them reads it again
        if self._lock.acquire(blocking=again or not self._known):
            try:
                if again or not self._known or time.monotonic() >= self._read_again_at:
                    self._refresh(keep=bool(self._known) and not again)
            finally:
                self._lock.release()
        return self._known

    def sign(self, version: KeyVersion, algorithm: str, digest: bytes) -> bytes:
        """The signature of a digest, in the form that a JWS holds (RFC 7518 3.3, 3.4)."""
        asked = {"alg": algorithm, "value": _encoded(digest)}
        answer = self._ask("POST", f"{self._address}/{version.id}/sign", json=asked)
        return _decoded(answer, "value")

    def _refresh(self, *, keep: bool) -> None:
        try:
            self._known = self._read()
            self._read_again_at = time.monotonic() + KEPT_S
        except ConnectorError:
            if not keep:
                raise
            self._read_again_at = time.monotonic() + AGAIN_S

    def _read(self) -> tuple[KeyVersion, ...]:
        """Public halves never change, so each is asked for once."""
        known = {one.id: one for one in self._known}
        enabled = self._listed()
        return tuple(known.get(id_) or self._version(id_) for id_ in sorted(enabled, key=enabled.__getitem__)[::-1])

    def _listed(self) -> dict[str, tuple[int, str]]:
        """When each enabled version was made; its id decides between two of the same second, the same everywhere."""
        enabled = {}
        address: Any = f"{self._address}/versions"
        for _ in range(_PAGES):
            response = self._ask("GET", address)
            answer = response.json()
            try:
                for one in answer["value"]:
                    id_, attributes = str(one["kid"]).rsplit("/", 1)[1], one["attributes"]
                    if attributes["enabled"] is True and _ID.fullmatch(id_):
                        enabled[id_] = (int(attributes["created"]), id_)
                address = answer.get("nextLink")
            except (AttributeError, IndexError, KeyError, TypeError, ValueError):
                raise _unreadable(response) from None
            if not address:
                return enabled
            if not isinstance(address, str) or origin(address) != origin(self._address):
                break
        raise _unreadable(response)

    def _version(self, id_: str) -> KeyVersion:
        response = self._ask("GET", f"{self._address}/{id_}")
        answer = response.json()
        try:
            attributes = answer["attributes"]
            public = {name: value for name, value in answer["key"].items() if isinstance(value, str)}
            return KeyVersion(id_, int(attributes["created"]), attributes.get("exportable") is True, public)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise _unreadable(response) from None

    def _ask(self, method: str, address: str, *, json: Any = None) -> Response:
        params = None if "api-version=" in urlsplit(address).query else _VERSION
        try:
            headers = {"Authorization": f"Bearer {self._token()}"}
            # a signature is nothing that must not be made twice
            response = self._http.request(method, address, repeatable=True, headers=headers, params=params, json=json)
            if response.status == 200:
                return response
            code = {401: "not_allowed", 403: "not_allowed", 404: "key_missing"}.get(response.status, "refused")
            raise PermanentError(
                f"vault.{code}",
                vendor_status=response.status,
                vendor_code=_reason(response),
                vendor_reference=response.reference,
            )
        except ConnectorError as error:
            # here, for some callers call it a person's refusal, of which no alert tells the operator
            logs.event(
                "vault.failed",
                code=error.code,
                vendor_status=error.vendor_status,
                vendor_code=error.vendor_code,
                vendor_reference=error.vendor_reference,
            )
            raise


def _reason(response: Response) -> str | None:
    """The vault's word for it, such as ForbiddenByRbac, ForbiddenByFirewall or KeyDisabled; never its sentences."""
    try:
        error = response.json()["error"]
        reason = (error.get("innererror") or error)["code"]
    except (AttributeError, KeyError, TypeError, PermanentError):
        return None
    return reason if isinstance(reason, str) and _REASON.fullmatch(reason) else None


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decoded(response: Response, name: str) -> bytes:
    try:
        text = response.json()[name]
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (KeyError, TypeError, ValueError):
        raise _unreadable(response) from None


def _unreadable(response: Response) -> PermanentError:
    return PermanentError("vault.unreadable_answer", vendor_reference=response.reference)
