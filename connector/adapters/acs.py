"""One region's Azure Communication Services resource: what its SMS and its e-mail share.

Sources: REST API "Repeatable requests" (an id is remembered for about five minutes; an older first-sent gives 412,
another body under that id 400, an earlier try that still runs 409); "Sign an HTTP request with HMAC".
"""

from __future__ import annotations

import base64
import binascii
import ssl
import threading
from typing import Any

import requests
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from connector.adapters.http import Response
from connector.adapters.identity import token
from connector.adapters.microsoft import pooled_session
from connector.errors import AmbiguousError, ConnectorError, PermanentError, TransientError

CONNECT_S, READ_S = 3.05, 10
_SCOPE = "https://communication.azure.com//.default"


class Resource:
    """Safe to share between threads; the SDK is loaded at first use. `vendor` begins every error code.

    Signs with `key`, else with the managed identity (None: the system-assigned one).
    """

    def __init__(self, vendor: str, endpoint: str, key: str | None, identity_client_id: str | None) -> None:
        self.vendor = vendor
        self.endpoint = endpoint.rstrip("/")
        self._key = key
        self._identity_client_id = identity_client_id
        self._lock = threading.Lock()
        self._identity: Any = None
        self._client: Any = None

    def options(self) -> dict[str, Any]:
        """Arguments of an SDK client: it signs as this resource wants, waits as we do, and repeats nothing."""
        from azure.core.credentials import AzureKeyCredential
        from azure.core.pipeline.transport import RequestsTransport
        from azure.identity import ManagedIdentityCredential

        credential: Any
        if self._key is None:
            credential = self._identity = ManagedIdentityCredential(client_id=self._identity_client_id)
        else:
            credential = AzureKeyCredential(self._base64(self._key))
        transport = RequestsTransport(
            session=pooled_session(), session_owner=False, connection_timeout=CONNECT_S, read_timeout=READ_S
        )
        return {"credential": credential, "transport": transport, "retry_total": 0, "permit_redirects": False}

    def check_identity(self) -> None:
        """Get a token now (azure-identity keeps it): a failure later would look like a lost answer."""
        if self._identity is not None:
            token(self._identity, _SCOPE, self.vendor)

    def request(
        self, method: str, path: str, *, json: Any = None, headers: dict[str, str] | None = None
    ) -> Response:
        """One signed request and its whole answer, whatever its status; `path` with its query.

        TransientError `<vendor>.unreachable`: it surely never arrived. AmbiguousError `<vendor>.unknown_outcome`: no
        answer. The e-mail SDK's client carries every request: of the libraries only it has a public way to (1.1.0).
        """
        from azure.core.rest import HttpRequest

        client = self._ready()
        response, unsent = None, False
        try:
            answer = client.send_request(HttpRequest(method, path, json=json, headers=headers))
            response = Response(answer.status_code, answer.headers, answer.content, self.vendor)
        except Exception as error:  # the verdict rests on what was seen on the wire
            unsent = never_connected(error)
        if response is None:
            raise no_answer(self.vendor, unsent=unsent)
        return response

    def _ready(self) -> Any:
        with self._lock:
            if self._client is None:
                from azure.communication.email import EmailClient

                self._client = EmailClient(self.endpoint, **self.options())
        self.check_identity()
        return self._client

    def _base64(self, key: str) -> str:
        try:
            base64.b64decode(key, validate=True)
        except binascii.Error:
            pass
        else:
            return key
        raise PermanentError(f"{self.vendor}.not_allowed")


def no_answer(vendor: str, *, unsent: bool) -> TransientError:
    return TransientError(f"{vendor}.unreachable") if unsent else AmbiguousError(f"{vendor}.unknown_outcome")


def verdict(response: Response, *, disputed: bool = False, status: int | None = None) -> ConnectorError:
    """What a status means for a message that was not accepted; `disputed`: because of its repeatability id.

    `status` is the recipient's own, where the answer as a whole has another.
    """
    status, vendor, reference = response.status if status is None else status, response.vendor, response.reference
    if status == 429:
        return TransientError(
            f"{vendor}.throttled",
            retry_after_s=response.retry_after_s,
            vendor_status=status,
            vendor_reference=reference,
        )
    if status in (401, 403):
        return PermanentError(f"{vendor}.not_allowed", vendor_status=status, vendor_reference=reference)
    if 400 <= status < 500 and status not in (408, 409, 412) and not (status == 400 and disputed):
        return PermanentError(f"{vendor}.refused", vendor_status=status, vendor_reference=reference)
    code = {412: "window_passed", 400: "other_body"}.get(status, "unknown_outcome")
    return AmbiguousError(f"{vendor}.{code}", vendor_status=status, vendor_reference=reference)


def never_connected(error: Exception) -> bool:
    """Whether the request surely never left: no connection, or one to an unproven or unreachable host.

    azure-core's ServiceRequestError is no proof: it also stands for an answer whose body did not end in time.
    """
    cause = getattr(error, "inner_exception", None)
    if isinstance(cause, requests.ConnectTimeout | requests.exceptions.ProxyError):
        return True
    reason = getattr(cause.args[0], "reason", None) if cause is not None and cause.args else None
    if isinstance(reason, NewConnectionError | ConnectTimeoutError):
        return True
    return bool(
        reason is not None and reason.args and isinstance(reason.args[0], ssl.SSLCertVerificationError)
    )
