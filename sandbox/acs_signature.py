"""How a request to simulated Communication Services proves itself, and how one is refused.

Source: "Sign an HTTP request with HMAC"; the error form of the REST API.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from flask import request

SKEW = timedelta(minutes=15)
AUTHORIZATION = re.compile(
    r"HMAC-SHA256 SignedHeaders=(x-ms-date|date);host;x-ms-content-sha256&Signature=(\S+)", re.IGNORECASE
)


class AcsError(Exception):
    """The whole request is refused."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, dict(headers or {})


def check_version(known: tuple[str, ...]) -> None:
    if request.args.get("api-version") not in known:
        raise AcsError(400, "UnsupportedApiVersion", "The api-version is missing or not supported.")


def check_signature(key: str) -> None:
    """HMAC over verb, path with query, date, host and content hash, as the SDK's key policy makes it."""
    denied = AcsError(401, "Denied", "Denied by the resource provider.")
    match = AUTHORIZATION.fullmatch(request.headers.get("Authorization", ""))
    date = request.headers.get(match.group(1) if match else "x-ms-date", "")
    digest = base64.b64encode(hashlib.sha256(request.get_data()).digest()).decode()
    try:
        skew = abs(datetime.now(UTC) - parsedate_to_datetime(date))
    except (TypeError, ValueError):
        raise denied from None
    if match is None or skew > SKEW or request.headers.get("x-ms-content-sha256") != digest:
        raise denied
    signed = f"{request.method}\n{request.environ['REQUEST_URI']}\n{date};{request.headers['Host']};{digest}"
    signature = base64.b64encode(hmac.digest(base64.b64decode(key), signed.encode(), "sha256")).decode()
    if not hmac.compare_digest(signature.encode(), match.group(2).encode()):
        raise denied
