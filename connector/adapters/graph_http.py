"""Calls to Microsoft Graph in a customer's tenant, and what its refusals mean.

Source: Microsoft Graph, "Microsoft Graph error responses and resource types".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from connector.adapters.http import Response
from connector.adapters.microsoft import MicrosoftHttp
from connector.errors import PermanentError

_CODE = re.compile(r"[A-Za-z0-9_.]{1,64}")
_REFUSALS = {
    "Authorization_RequestDenied": "graph.not_consented",
    "InvalidAuthenticationToken": "graph.token_refused",
}
"""What a 401 or 403 means by its code; any other is the missing application access policy."""


class GraphHttp:
    """One pooled client for all tenants; `token` gives the bearer token for a tenant id."""

    def __init__(self, url: str, token: Callable[[str], str]) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._http = MicrosoftHttp("graph")

    def call(
        self,
        method: str,
        tenant_id: str,
        path: str,
        *,
        body: Any = None,
        headers: dict[str, str] | None = None,
        version: str = "v1.0",
        repeatable: bool = True,
    ) -> Response:
        """An answer below 300. Raises PermanentError (`graph.no_application_access`, `graph.not_consented`,
        `graph.token_refused`, `graph.not_found`, `graph.refused`) or TransientError (429, 5xx, no answer)."""
        bearer = {"Authorization": f"Bearer {self._token(tenant_id)}"}
        response = self._http.request(
            method, f"{self._url}/{version}{path}", repeatable=repeatable, headers=bearer | (headers or {}), json=body
        )
        if response.status < 300:
            return response
        raise _refusal(response)


def _refusal(response: Response) -> PermanentError:
    code = _error_code(response)
    if response.status in (401, 403):
        ours = _REFUSALS.get(code or "", "graph.no_application_access")
    else:
        ours = "graph.not_found" if response.status == 404 else "graph.refused"
    return PermanentError(
        ours, vendor_status=response.status, vendor_code=code, vendor_reference=response.reference
    )


def _error_code(response: Response) -> str | None:
    """`error.code` of Graph's error form, when it looks like one."""
    try:
        code = response.json()["error"]["code"]
    except (PermanentError, KeyError, TypeError):
        return None
    return code if isinstance(code, str) and _CODE.fullmatch(code) else None


def json_object(response: Response) -> dict[str, Any]:
    body = response.json()
    if not isinstance(body, dict):
        raise unreadable(response)
    return body


def unreadable(response: Response) -> PermanentError:
    return PermanentError(
        "graph.unreadable_answer", vendor_status=response.status, vendor_reference=response.reference
    )
