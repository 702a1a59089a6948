"""HTTP to Entra and Graph: addresses that only the operator sets, so pooled and timed but not guarded.

Proxies and CA bundles come from the environment, as the operator's network demands. Failures are sorted into
connector.errors; no URL, body or library exception leaves here.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from connector.adapters.http import MAX_RETRIES, MAX_RETRY_AFTER_S, TRANSIENT_STATUSES, Response
from connector.errors import TransientError

TIMEOUT_S = (3.05, 15.0)


class MicrosoftHttp:
    """A session shared by threads and tenants; `vendor` begins every error code."""

    def __init__(self, vendor: str, *, pause: Callable[[float], None] = time.sleep) -> None:
        self._vendor = vendor
        self._pause = pause
        self._session = pooled_session()

    def request(
        self,
        method: str,
        url: str,
        *,
        repeatable: bool,
        headers: Mapping[str, str] | None = None,
        params: Any = None,
        data: Any = None,
        json: Any = None,
    ) -> Response:
        """The answer, unless its status is worth trying again: then TransientError.

        A repeatable request is tried up to three times; a Retry-After over 5 seconds is left to the caller.
        """
        arguments = {"headers": headers, "params": params, "data": data, "json": json}
        for exponent in range(MAX_RETRIES if repeatable else 0):
            try:
                return self._once(method, url, arguments)
            except TransientError as error:
                asked = error.retry_after_s or 0.0
                if asked > MAX_RETRY_AFTER_S:
                    raise
            self._pause(max(asked, random.uniform(0, 0.4 * 2**exponent)))  # noqa: S311 - jitter, no secret
        return self._once(method, url, arguments)

    def _once(self, method: str, url: str, arguments: dict[str, Any]) -> Response:
        try:
            answer = self._session.request(method, url, timeout=TIMEOUT_S, allow_redirects=False, **arguments)
        except requests.Timeout:
            outcome = "timed_out"
        except requests.RequestException:
            outcome = "unreachable"
        else:
            response = Response(answer.status_code, answer.headers, answer.content, self._vendor)
            if response.status not in TRANSIENT_STATUSES:
                return response
            raise TransientError(
                f"{self._vendor}.{'throttled' if response.status == 429 else 'unavailable'}",
                retry_after_s=response.retry_after_s,
                vendor_status=response.status,
                vendor_reference=response.reference,
            )
        # Outside the handler, where the library's exception, which holds the URL, would become its context.
        raise TransientError(f"{self._vendor}.{outcome}")


def pooled_session() -> requests.Session:
    """A session for all threads and tenants: keeps no cookies, adds no credentials of the machine's user."""
    session = requests.Session()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.auth = _as_given  # else a .netrc would replace our Authorization header
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=32))
    return session


def _as_given(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
