"""SMS by Azure Communication Services, with a repeatability id of our own and an honest verdict on each send.

The SDK makes a new repeatability id for each call, so a policy of azure-core puts ours into its body before
the request is signed. Source: azure-communication-sms 1.1.0; REST API "Sms - Send".
"""

from __future__ import annotations

import json
import threading
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from connector.adapters import acs
from connector.adapters.http import Response
from connector.errors import PermanentError


@dataclass
class _Exchange:
    """One send: what the policy writes into the request, and the answer that it sees."""

    repeatability_id: str
    first_sent: str
    response: Any = None


_current: ContextVar[_Exchange] = ContextVar("sms_exchange")


class AcsSms:
    """SMS of one region's Communication resource; safe to share between threads."""

    def __init__(self, endpoint: str, key: str | None, identity_client_id: str | None) -> None:
        self._resource = acs.Resource("sms", endpoint, key, identity_client_id)
        self._lock = threading.Lock()
        self._client: Any = None

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
        unsent = False
        entered = _current.set(exchange)
        try:
            client.send(sender, to, text, enable_delivery_report=True, tag=tag)
        except Exception as error:  # the verdict rests on what was seen on the wire
            unsent = acs.never_connected(error)
        finally:
            _current.reset(entered)
        if exchange.response is not None:
            return _accepted(exchange.response)
        raise acs.no_answer("sms", unsent=unsent)

    def _ready(self) -> Any:
        """The SDK's client, with everything settled that can fail before a request."""
        with self._lock:
            if self._client is None:
                self._client = self._new_client()
        self._resource.check_identity()
        return self._client

    def _new_client(self) -> Any:
        from azure.communication.sms import SmsClient
        from azure.core.pipeline.policies import SansIOHTTPPolicy

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

        options = self._resource.options()
        return SmsClient(self._resource.endpoint, per_call_policies=[OwnRepeatability()], **options)


def _accepted(http_response: Any) -> str:
    """The message id, when the answer as a whole and the recipient's own result both say accepted."""
    response = Response(http_response.status_code, http_response.headers, http_response.body(), "sms")
    if response.status != 202:
        raise acs.verdict(response, disputed=b"repeatab" in response.body.lower())
    try:
        result = response.json()["value"][0]
        status, message_id = result["httpStatusCode"], result.get("messageId")
    except (PermanentError, KeyError, IndexError, TypeError, AttributeError):
        status, message_id, result = 0, None, {}
    if status == 202 and result.get("successful") is True and isinstance(message_id, str) and message_id:
        return message_id
    disputed = str(result.get("repeatabilityResult")).lower() == "rejected"
    raise acs.verdict(response, disputed=disputed, status=status if isinstance(status, int) else 0)
