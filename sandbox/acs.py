"""Simulated Azure Communication Services SMS, one resource a region.

Source: REST API "Sms - Send" 2021-03-07 and 2026-01-23 with its published examples, "Delivery Reports - Get",
"Repeatable requests", "Service limits", "Sign an HTTP request with HMAC". Repeatability, rates and signatures
use real time: the vendor's clock is not the sandbox's.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
import uuid
from collections import defaultdict, deque
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import flask
from flask import request
from flask.typing import ResponseReturnValue

from sandbox import stand_in
from sandbox.world import REGIONS, Json, SentMessage, World

ACS_KEYS = {r: base64.b64encode(hashlib.sha512(f"sandbox {r}".encode()).digest()).decode() for r in REGIONS}
SEND_VERSIONS = ("2021-03-07", "2026-01-23")
REPORT_VERSION = "2026-01-23"
WINDOW = timedelta(minutes=5)
SKEW = timedelta(minutes=15)
E164 = re.compile(r"\+[1-9]\d{7,14}")
AUTHORIZATION = re.compile(
    r"HMAC-SHA256 SignedHeaders=(x-ms-date|date);host;x-ms-content-sha256&Signature=(\S+)", re.IGNORECASE
)
BAD_FIRST_SENT = (
    "Request sent with Invalid DateTime value for repeatability-first-sent. "
    "Expected is DateTime ,RFC1123 pattern."
)


class AcsError(Exception):
    """The whole request is refused."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class Rejected(Exception):
    """One recipient is refused because of its repeatability headers."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class SmsResource:
    """The SMS side of one Communication resource; use under the world's lock."""

    def __init__(self, world: World, region: str) -> None:
        self.world, self.region = world, region
        self._seen: dict[str, tuple[bytes, datetime, Json]] = {}
        self._sent_at: dict[str, deque[float]] = defaultdict(deque)

    def sender_kind(self, sender: str) -> str:
        """`phone_number` or `alphanumeric`; a sender of another resource or of nobody is refused."""
        for hospital in self.world.hospitals.values():
            if hospital.region == self.region and hospital.sender_value == sender:
                return hospital.sender_kind
        if sender.startswith("+") and not E164.fullmatch(sender):
            raise AcsError(400, "BadRequest", "Invalid From phone number format.")
        raise AcsError(403, "Forbidden", "The From value is not owned by or enabled for this resource.")

    def reserve_rate(self, sender: str, kind: str, units: int) -> None:
        """A message to many recipients counts once for each; over the limit nothing is sent."""
        now, sent = time.monotonic(), self._sent_at[sender]
        while sent and sent[0] <= now - 60:
            sent.popleft()
        if len(sent) + units > self.world.sms_per_minute[kind]:
            raise AcsError(429, "TooManyRequests", "The sender's rate limit was exceeded.")
        sent.extend([now] * units)

    def send_one(self, body: Json, raw: bytes, recipient: Json) -> Json:
        to = str(recipient.get("to", ""))
        if not E164.fullmatch(to):
            return {
                "to": to,
                "httpStatusCode": 400,
                "errorMessage": "Invalid To phone number format.",
                "successful": False,
            }
        repeat_id = None if self.world.repeatability_off else recipient.get("repeatabilityRequestId")
        if repeat_id is None:
            return self._accept(body, to)
        try:
            key, first_sent = self._repeatable(str(repeat_id), recipient.get("repeatabilityFirstSent"))
            digest = hashlib.sha256(raw + to.encode()).digest()
            if key in self._seen:
                if self._seen[key][0] != digest:
                    raise Rejected(400, "The repeatability-request-id was used with a different request.")
                return self._seen[key][2]
        except Rejected as refused:
            return {
                "to": to,
                "httpStatusCode": refused.status,
                "repeatabilityResult": "rejected",
                "errorMessage": str(refused),
                "successful": False,
            }
        result = self._accept(body, to) | {"repeatabilityResult": "accepted"}
        self._seen[key] = (digest, first_sent, result)
        return result

    def _repeatable(self, repeat_id: str, first_sent: Any) -> tuple[str, datetime]:
        """The id is remembered for five minutes after first-sent; an older one proves nothing any more."""
        now = datetime.now(UTC)
        self._seen = {k: v for k, v in self._seen.items() if now - v[1] <= WINDOW}
        try:
            key, moment = str(uuid.UUID(repeat_id)), parsedate_to_datetime(first_sent).astimezone(UTC)
        except (AttributeError, TypeError, ValueError):
            raise Rejected(400, BAD_FIRST_SENT) from None
        if moment - now > WINDOW:
            raise Rejected(400, BAD_FIRST_SENT)  # a caller whose clock runs ahead would outlive the window
        if now - moment > WINDOW:
            raise Rejected(412, "The repeatability-first-sent is older than the tracked window.")
        return key, moment

    def _accept(self, body: Json, to: str) -> Json:
        """Take the message; an unverified toll-free number is blocked later, in the delivery report."""
        world, options, now = self.world, body.get("smsSendOptions") or {}, self.world.now()
        message_id = f"Outgoing_{now:%Y%m%d%H%M%S}{uuid.uuid4()}_noam"
        tag = options.get("tag") or ""
        sent = SentMessage(message_id, self.region, body["from"], to, body["message"], now, tag)
        delivered = sent.sender not in world.unverified_senders
        segments = 1 + (len(sent.text) - 1) // 160
        stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        if delivered:
            world.outbox.append(sent)
        world.delivery_reports[message_id] = {
            "messageId": message_id,
            "from": sent.sender,
            "to": to,
            "deliveryStatus": "Delivered" if delivered else "Failed",
            "deliveryStatusDetails": "2000: No Error" if delivered else "4010: Toll-free number not verified",
            "deliveryAttempts": [
                {
                    "timestamp": stamp,
                    "segmentsSucceeded": segments if delivered else 0,
                    "segmentsFailed": 0 if delivered else segments,
                }
            ],
            "receivedTimestamp": stamp,
            "tag": sent.tag,
        }
        return {"to": to, "messageId": message_id, "httpStatusCode": 202, "successful": True}


def create_app(world: World, region: str) -> flask.Flask:
    """The Communication Services stand-in of one region, with access key `ACS_KEYS[region]`."""
    app = stand_in.make(world, "acs")
    resource = SmsResource(world, region)

    @app.errorhandler(AcsError)
    def refused(problem: AcsError) -> ResponseReturnValue:
        headers = {"Retry-After": "1"} if problem.status == 429 else {}
        return {"error": {"code": problem.code, "message": problem.message}}, problem.status, headers

    @app.post("/sms")
    def send() -> ResponseReturnValue:
        _check_version(SEND_VERSIONS)
        _check_signature(ACS_KEYS[region])
        body, raw = _checked_message(), request.get_data()
        with world.changing():
            kind = resource.sender_kind(body["from"])
            resource.reserve_rate(body["from"], kind, len(body["smsRecipients"]))
            return {
                "value": [resource.send_one(body, raw, recipient) for recipient in body["smsRecipients"]]
            }, 202

    @app.get("/deliveryReports/<message_id>")
    def delivery_report(message_id: str) -> ResponseReturnValue:
        _check_version((REPORT_VERSION,))
        _check_signature(ACS_KEYS[region])
        report = world.delivery_reports.get(message_id)
        if report is None:
            source = "https://tools.ietf.org/html/rfc9110#section-15.5.5"
            return {"type": source, "title": "Not Found", "status": 404}, 404
        return report

    return app


def _check_version(known: tuple[str, ...]) -> None:
    if request.args.get("api-version") not in known:
        raise AcsError(400, "UnsupportedApiVersion", "The api-version is missing or not supported.")


def _check_signature(key: str) -> None:
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


def _checked_message() -> Json:
    """The request body, when it has what the specification requires."""
    body = request.get_json(silent=True)
    recipients = body.get("smsRecipients") if isinstance(body, dict) else None
    if (
        not isinstance(body, dict)
        or not isinstance(body.get("from"), str)
        or not isinstance(body.get("message"), str)
        or not isinstance(recipients, list)
        or not all(isinstance(recipient, dict) for recipient in recipients)
    ):
        raise AcsError(400, "BadRequest", "from, message and smsRecipients are required.")
    if not 1 <= len(recipients) <= 100 or len(body["message"]) > 2048:
        raise AcsError(400, "BadRequest", "Between 1 and 100 recipients and at most 2048 characters.")
    return body
