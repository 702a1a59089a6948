"""SMS by Azure Communication Services, with a repeatability id of our own and an honest verdict on each send.

The SDK makes a new repeatability id for each call, so a policy of azure-core puts ours into its body before
the request is signed. Source: azure-communication-sms 1.1.0; REST API "Sms - Send" and "Repeatable requests"
(an id is remembered for about five minutes; an older first-sent gives 412, another body under that id 400).
"""

from __future__ import annotations

import base64
import binascii
import json
import ssl
import threading
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import requests
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from connector.adapters.http import Response
from connector.adapters.microsoft import pooled_session
from connector.errors import AmbiguousError, ConnectorError, PermanentError, TransientError

CONNECT_S, READ_S = 3.05, 10
_SCOPE = "https://communication.azure.com//.default"


@dataclass
class _Exchange:
    """One send: what the policy writes into the request, and the answer that it sees."""

    repeatability_id: str
    first_sent: str
    response: Any = None


_current: ContextVar[_Exchange] = ContextVar("sms_exchange")


class AcsSms:
    """SMS of one region's Communication resource; safe to share between threads, SDK loaded at first use.

    Signs with `key`, else with the managed identity (None: the system-assigned one).
    """

    def __init__(self, endpoint: str, key: str | None, identity_client_id: str | None) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._key = key
        self._identity_client_id = identity_client_id
        self._lock = threading.Lock()
        self._client: Any = None
        self._identity: Any = None

    def send(
        self, *, sender: str, to: str, text: str, repeatability_id: str, first_sent: datetime, tag: str
    ) -> str:
        """The message id under which ACS accepted the SMS; accepted is not yet delivered.

        `repeatability_id` is a UUID. Equal arguments make an equal body, so ACS sends a repetition within its
        window only once.
        TransientError: surely not sent (`sms.unreachable`, `sms.throttled`). PermanentError: refused
        (`sms.not_allowed`, `sms.refused`). AmbiguousError: this or an earlier try may have been sent
        (`sms.unknown_outcome`, `sms.window_passed`, `sms.other_body`).
        """
        client = self._ready()
        exchange = _Exchange(repeatability_id, format_datetime(first_sent.astimezone(UTC), usegmt=True))
        never_connected = False
        entered = _current.set(exchange)
        try:
            client.send(sender, to, text, enable_delivery_report=True, tag=tag)
        except Exception as error:  # the verdict rests on what was seen on the wire
            never_connected = _never_connected(error)
        finally:
            _current.reset(entered)
        if exchange.response is not None:
            return _accepted(exchange.response)
        raise TransientError("sms.unreachable") if never_connected else AmbiguousError("sms.unknown_outcome")

    def _ready(self) -> Any:
        """The SDK's client, with everything settled that can fail before a request."""
        with self._lock:
            if self._client is None:
                self._client = self._new_client()
        if self._identity is not None:
            self._check_identity()
        return self._client

    def _check_identity(self) -> None:
        """Get a token now (azure-identity keeps it): a failure later would look like a lost answer."""
        from azure.core.exceptions import ClientAuthenticationError

        failure: ConnectorError
        try:
            self._identity.get_token(_SCOPE)
        except ClientAuthenticationError:
            failure = PermanentError("sms.not_allowed")
        except Exception:  # whatever it was, nothing was sent
            failure = TransientError("sms.unreachable")
        else:
            return
        raise failure

    def _new_client(self) -> Any:
        from azure.communication.sms import SmsClient
        from azure.core.credentials import AzureKeyCredential
        from azure.core.pipeline.policies import SansIOHTTPPolicy
        from azure.core.pipeline.transport import RequestsTransport
        from azure.identity import ManagedIdentityCredential

        class OwnRepeatability(SansIOHTTPPolicy[Any, Any]):
            """Runs before the policy that signs, so the signature covers our body."""

            def on_request(self, request: Any) -> None:
                exchange, http_request = _current.get(), request.http_request
                body = json.loads(http_request.body)
                for recipient in body["smsRecipients"]:
                    recipient["repeatabilityRequestId"] = exchange.repeatability_id
                    recipient["repeatabilityFirstSent"] = exchange.first_sent
                http_request.set_json_body(body)

            def on_response(self, request: Any, response: Any) -> None:
                _current.get().response = response.http_response

        credential: Any
        if self._key is None:
            credential = self._identity = ManagedIdentityCredential(client_id=self._identity_client_id)
        else:
            credential = AzureKeyCredential(_base64(self._key))
        transport = RequestsTransport(
            session=pooled_session(), session_owner=False, connection_timeout=CONNECT_S, read_timeout=READ_S
        )
        return SmsClient(
            self._endpoint,
            credential,
            transport=transport,
            per_call_policies=[OwnRepeatability()],
            retry_total=0,
            permit_redirects=False,
        )


def _base64(key: str) -> str:
    try:
        base64.b64decode(key, validate=True)
    except binascii.Error:
        pass
    else:
        return key
    raise PermanentError("sms.not_allowed")


def _accepted(http_response: Any) -> str:
    """The message id, when the answer as a whole and the recipient's own result both say accepted."""
    response = Response(http_response.status_code, http_response.headers, http_response.body(), "sms")
    if response.status != 202:
        raise _verdict(response.status, response, disputed=b"repeatab" in response.body.lower())
    try:
        result = response.json()["value"][0]
        status, message_id = result["httpStatusCode"], result.get("messageId")
    except (PermanentError, KeyError, IndexError, TypeError, AttributeError):
        status, message_id, result = 0, None, {}
    if status == 202 and result.get("successful") is True and isinstance(message_id, str) and message_id:
        return message_id
    disputed = str(result.get("repeatabilityResult")).lower() == "rejected"
    raise _verdict(status if isinstance(status, int) else 0, response, disputed=disputed)


def _verdict(status: int, response: Response, *, disputed: bool) -> ConnectorError:
    """What a status means for a message not accepted; `disputed`: because of its repeatability id."""
    reference = response.reference
    if status == 429:
        return TransientError(
            "sms.throttled",
            retry_after_s=response.retry_after_s,
            vendor_status=status,
            vendor_reference=reference,
        )
    if status in (401, 403):
        return PermanentError("sms.not_allowed", vendor_status=status, vendor_reference=reference)
    if 400 <= status < 500 and status not in (408, 412) and not (status == 400 and disputed):
        return PermanentError("sms.refused", vendor_status=status, vendor_reference=reference)
    code = {412: "sms.window_passed", 400: "sms.other_body"}.get(status, "sms.unknown_outcome")
    return AmbiguousError(code, vendor_status=status, vendor_reference=reference)


def _never_connected(error: Exception) -> bool:
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
