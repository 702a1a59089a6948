"""HTTP to the vendors: guarded, pooled, capped in time and size, with failures sorted into connector.errors.

No proxies, netrc or cookies (the session is shared by all tenants); redirects are followed only by hand.
"""

from __future__ import annotations

import json as jsonlib
import random
import re
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urljoin

import requests
import urllib3
from requests.structures import CaseInsensitiveDict

from connector.adapters.outgoing import (
    Exchange,
    GuardedAdapter,
    OutgoingPolicy,
    Resolver,
    guarded_pools,
    origin,
)
from connector.errors import AmbiguousError, ConnectorError, PermanentError, TransientError

__all__ = ["OutgoingHttp", "OutgoingPolicy", "Response", "origin"]

MAX_BYTES = 8 * 1024 * 1024
MAX_RETRIES = 2
MAX_RETRY_AFTER_S = 5.0
TOTAL_S = 40.0
TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
NOT_CARRIED_OUT = frozenset({425, 429, 503})
"""Refused before processing: even a request that must not be repeated is known to have had no effect."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REFERENCE_HEADERS = (
    "X-Request-Id",
    "Cerner-Correlation-ID",
    "request-id",
    "x-ms-request-id",
    "opc-request-id",
)
_REFERENCE = re.compile(r"[A-Za-z0-9/_.:-]{1,128}")


@dataclass(frozen=True)
class Response:
    """A whole answer; its text never shows in logs."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    vendor: str

    def json(self) -> Any:
        """The decoded body; PermanentError `<vendor>.unreadable_answer` when it is not JSON."""
        try:
            return jsonlib.loads(self.body)
        except (ValueError, RecursionError):
            pass
        raise PermanentError(
            f"{self.vendor}.unreadable_answer", vendor_status=self.status, vendor_reference=self.reference
        )

    @property
    def reference(self) -> str | None:
        """The vendor's correlation id, when it looks like one."""
        found = (self.headers.get(name, "") for name in _REFERENCE_HEADERS)
        return next((value for value in found if _REFERENCE.fullmatch(value)), None)

    @property
    def retry_after_s(self) -> float | None:
        """Seconds named by Retry-After, as a number or a date (RFC 9110 10.2.3)."""
        value = self.headers.get("Retry-After", "").strip()
        if re.fullmatch(r"\d{1,9}(\.\d+)?", value):
            return float(value)
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        except (ValueError, TypeError, OverflowError):
            return None


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: even when told not to follow, requests would read a redirect's whole body to prepare the next."""


class OutgoingHttp:
    """A pooled, guarded HTTP client; safe to share between threads."""

    def __init__(
        self,
        policy: OutgoingPolicy,
        *,
        ca_bundle: str | None = None,
        total_s: float = TOTAL_S,
        resolve: Resolver = socket.getaddrinfo,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.policy = policy
        self._total_s = total_s
        self._pause = pause
        self._session = _Session()
        self._session.trust_env = False
        self._session.verify = ca_bundle or True
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers["User-Agent"] = "virtual-visits-connector"
        adapter = GuardedAdapter(guarded_pools(policy, resolve))
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, adapter)

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: Any = None,
        json: Any = None,
        params: Any = None,
        timeout: tuple[float, float] = (3.05, 20),
        max_bytes: int = MAX_BYTES,
        retry: bool = False,
        vendor: str = "outgoing",
        allowed_origin: str | None = None,
        redirects: int = 0,
        total_s: float | None = None,
    ) -> Response:
        """The whole answer, whatever its status; only statuses worth trying again raise TransientError.

        `retry=True` says that repeating this request is harmless: it is tried at most three times, with full
        jitter; Retry-After is honoured up to 5 seconds, a longer one is the caller's (`retry_after_s`).
        With `retry=False` anything but GET that went out and got no decisive answer raises AmbiguousError.
        `total_s`: its time with all attempts, where that is to be less than usual.
        `redirects` follows that many, for GET without Authorization only; each hop passes the same checks.
        """
        send = partial(
            self._once,
            method,
            arguments={"headers": headers, "data": data, "json": json, "params": params, "timeout": timeout},
            max_bytes=max_bytes,
            vendor=vendor,
            repeatable=retry or method in ("GET", "HEAD"),
            deadline=time.monotonic() + min(self._total_s, total_s or self._total_s),
        )
        if method != "GET" or "authorization" in map(str.lower, headers or ()):
            redirects = 0
        while True:
            self.policy.check_url(url)
            if allowed_origin is not None and origin(url) != origin(allowed_origin):
                raise PermanentError("outgoing.refused_origin")
            response = self._with_retries(partial(send, url)) if retry else send(url)
            location = response.headers.get("Location")
            if redirects < 1 or response.status not in _REDIRECTS or not location:
                return response
            try:
                url, redirects = urljoin(url, location), redirects - 1
            except ValueError:
                raise PermanentError("outgoing.refused_url") from None

    def _with_retries(self, attempt: Callable[[], Response]) -> Response:
        for exponent in range(MAX_RETRIES):
            try:
                return attempt()
            except TransientError as error:
                asked = error.retry_after_s or 0.0
                if asked > MAX_RETRY_AFTER_S:
                    raise
                wait = max(asked, random.uniform(0, 0.4 * 2**exponent))  # noqa: S311 - jitter, no secret
            self._pause(wait)
        return attempt()

    def _once(
        self,
        method: str,
        url: str,
        *,
        arguments: dict[str, Any],
        max_bytes: int,
        vendor: str,
        repeatable: bool,
        deadline: float,
    ) -> Response:
        failure: ConnectorError
        with Exchange(max(0.01, deadline - time.monotonic())) as exchange:
            try:
                answer = self._session.request(method, url, stream=True, allow_redirects=False, **arguments)
                with answer:
                    body = _read(answer, max_bytes)
                response = Response(answer.status_code, CaseInsensitiveDict(answer.headers), body, vendor)
                if exchange.expired:
                    failure = _unanswered("outgoing.timed_out", repeatable)
                elif response.status in TRANSIENT_STATUSES:
                    failure = _transient(response, repeatable)
                else:
                    return response
            except ConnectorError as caught:
                failure = caught
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as caught:
                failure = _failure(caught, exchange, repeatable)
        # Not in the handler: there the library's exception, which holds the URL, would become its context.
        raise failure


def _read(answer: requests.Response, max_bytes: int) -> bytes:
    chunks, size = [], 0
    for chunk in answer.iter_content(64 * 1024):
        size += len(chunk)
        if size > max_bytes:
            raise PermanentError("outgoing.too_large", vendor_status=answer.status_code)
        chunks.append(chunk)
    return b"".join(chunks)


def _unanswered(code: str, repeatable: bool) -> TransientError:
    return TransientError(code) if repeatable else AmbiguousError(code)


def _failure(caught: Exception, exchange: Exchange, repeatable: bool) -> ConnectorError:
    text = repr(caught)  # compared, never shown
    if exchange.sent:
        timed_out = exchange.expired or isinstance(caught, requests.Timeout) or "ReadTimeoutError" in text
        return _unanswered("outgoing.timed_out" if timed_out else "outgoing.interrupted", repeatable)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return PermanentError("outgoing.untrusted_certificate")
    if isinstance(caught, ValueError):  # requests: InvalidURL, InvalidHeader and the like
        return PermanentError("outgoing.refused_url")
    return TransientError("outgoing.unreachable")


def _transient(response: Response, repeatable: bool) -> TransientError:
    kind = TransientError if repeatable or response.status in NOT_CARRIED_OUT else AmbiguousError
    return kind(
        f"{response.vendor}.{'throttled' if response.status == 429 else 'unavailable'}",
        retry_after_s=response.retry_after_s,
        vendor_status=response.status,
        vendor_reference=response.reference,
    )
