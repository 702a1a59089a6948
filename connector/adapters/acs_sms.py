"""SMS by Azure Communication Services, with a repeatability id of our own and an honest verdict on each send.

The SDK makes a new repeatability id for each call, so a policy of azure-core puts ours into its body before
the request is signed; what the SDK lacks goes by the REST API. Source: azure-communication-sms 1.1.0; REST API
"Sms - Send", "Delivery Reports - Get", "Opt Outs".
"""

from __future__ import annotations

import json
import threading
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote

from connector.adapters import acs, acs_events
from connector.adapters.acs_events import Report
from connector.adapters.http import Response
from connector.errors import PermanentError, TransientError

_VERSION = "api-version=2026-01-23"


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

    def delivery_report(self, message_id: str) -> Report | None:
        """What became of an accepted SMS; None while nothing is known. Reading is harmless.

        Source: REST API "Delivery Reports - Get" 2026-01-23.
        """
        response = self._resource.request("GET", f"/deliveryReports/{quote(message_id, safe='')}?{_VERSION}")
        if response.status == 404:
            return None
        if response.status != 200:
            raise acs.verdict(response)
        answer = response.json()
        if not isinstance(answer, dict) or answer.get("deliveryStatus") not in ("Delivered", "Failed"):
            return None
        return acs_events.sms_report(answer)

    def opted_out(self, sender: str, number: str) -> bool:
        """Whether ACS, or the carrier, blocks what our number sends to this one. Source: "Opt Outs - Check"."""
        return self._opt_outs("check", sender, number).get("isOptedOut") is True

    def opt_in(self, sender: str, number: str) -> None:
        """Ask ACS to block no more; what the carrier blocks only a reply of the person unblocks ("... - Remove")."""
        self._opt_outs("remove", sender, number)

    def _opt_outs(self, action: str, sender: str, number: str) -> dict[str, Any]:
        """The recipient's own result. Raises ConnectorError; asking again is harmless."""
        body = {"from": sender, "recipients": [{"to": number}]}
        response = self._resource.request("POST", f"/sms/optouts:{action}?{_VERSION}", json=body)
        if response.status != 200:
            raise acs.verdict(response)
        try:
            result: dict[str, Any] = response.json()["value"][0]
            if result["httpStatusCode"] == 200:
                return result
        except (KeyError, IndexError, TypeError):
            pass
        raise TransientError("sms.opt_outs_unknown", vendor_reference=response.reference)

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
