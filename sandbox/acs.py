"""Simulated Azure Communication Services SMS, one resource a region.

Source: REST API "Sms - Send" 2021-03-07 and 2026-01-23 with its published examples, "Delivery Reports - Get",
"Service limits". Repeatability, rates and signatures use real time: the vendor's clock is not the sandbox's.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
import uuid
from collections import defaultdict, deque
from datetime import UTC, datetime
from typing import Any

import flask
from flask import request
from flask.typing import ResponseReturnValue

from sandbox import acs_email, acs_numbers, event_grid, stand_in
from sandbox.acs_repeatable import WINDOW, Rejected, repeatable
from sandbox.acs_signature import AcsError, check_signature, check_version
from sandbox.world import REGIONS, Json, SentMessage, World

ACS_KEYS = {r: base64.b64encode(hashlib.sha512(f"sandbox {r}".encode()).digest()).decode() for r in REGIONS}
SEND_VERSIONS = ("2021-03-07", "2026-01-23")
REPORT_VERSION = "2026-01-23"
E164 = re.compile(r"\+[1-9]\d{7,14}")


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
        if sender.removeprefix("+") in self.world.owned_numbers.get(self.region, {}):
            return "phone_number"
        if sender.startswith("+") and not E164.fullmatch(sender):
            raise AcsError(400, "BadRequest", "Invalid From phone number format.")
        raise AcsError(403, "Forbidden", "The From value is not owned by or enabled for this resource.")

    def reserve_rate(self, sender: str, kind: str, units: int) -> None:
        """A message to many recipients counts once for each; over the limit nothing is sent."""
        now, sent = time.monotonic(), self._sent_at[sender]
        while sent and sent[0] <= now - 60:
            sent.popleft()
        if len(sent) + units > self.world.sms_per_minute[kind]:
            raise AcsError(429, "TooManyRequests", "The sender's rate limit was exceeded.", {"Retry-After": "1"})
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
        self._seen = {k: v for k, v in self._seen.items() if datetime.now(UTC) - v[1] <= WINDOW}
        try:
            key, first_sent = repeatable(str(repeat_id), recipient.get("repeatabilityFirstSent"))
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

    def _accept(self, body: Json, to: str) -> Json:
        """Take the message; an unverified toll-free number is blocked later, in the delivery report."""
        world, options, now = self.world, body.get("smsSendOptions") or {}, self.world.now()
        message_id = f"Outgoing_{now:%Y%m%d%H%M%S}{uuid.uuid4()}_noam"
        tag = options.get("tag") or ""
        sent = SentMessage(message_id, self.region, body["from"], to, body["message"], now, tag)
        unverified = "4010: Toll-free number not verified" if sent.sender in world.unverified_senders else ""
        stopped = "4007: Sender blocked for given recipient" if (sent.sender, to) in world.opt_outs else ""
        failure = unverified or stopped or world.undeliverable.get(to, "")
        segments = 1 + (len(sent.text) - 1) // 160
        stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        if not failure:
            world.outbox.append(sent)
        world.delivery_reports[message_id] = {
            "messageId": message_id,
            "from": sent.sender,
            "to": to,
            "deliveryStatus": "Failed" if failure else "Delivered",
            "deliveryStatusDetails": failure or "2000: No Error",
            "deliveryAttempts": [
                {
                    "timestamp": stamp,
                    "segmentsSucceeded": 0 if failure else segments,
                    "segmentsFailed": segments if failure else 0,
                }
            ],
            "receivedTimestamp": stamp,
            "tag": sent.tag,
        }
        if options.get("enableDeliveryReport") and self.region == event_grid.REGION:
            world.events.append(event_grid.sms_report(world.delivery_reports[message_id]))
        return {"to": to, "messageId": message_id, "httpStatusCode": 202, "successful": True}

    def opt_out(self, action: str, sender: str, to: str) -> Json:
        """Of one recipient. Source: "Opt Outs" with its published examples."""
        if not E164.fullmatch(to):
            return {"to": to, "httpStatusCode": 400, "errorMessage": "Invalid recipient phone number format"}
        pairs = self.world.opt_outs
        if action == "add":
            pairs.add((sender, to))
        elif action == "remove" and (sender, to) not in self.world.carrier_stops:
            pairs.discard((sender, to))
        known = {"isOptedOut": (sender, to) in pairs} if action == "check" else {}
        return {"to": to, "httpStatusCode": 200, **known}


def create_app(world: World, region: str) -> flask.Flask:
    """The Communication Services stand-in of one region, with access key `ACS_KEYS[region]`."""
    app = stand_in.make(world, "acs")
    resource = SmsResource(world, region)
    acs_email.add_routes(app, world, region, ACS_KEYS[region])
    acs_numbers.add_routes(app, world, region, ACS_KEYS[region])

    @app.errorhandler(AcsError)
    def refused(problem: AcsError) -> ResponseReturnValue:
        headers = {"x-ms-error-code": problem.code} | problem.headers
        return {"error": {"code": problem.code, "message": problem.message}}, problem.status, headers

    @app.post("/sms")
    def send() -> ResponseReturnValue:
        check_version(SEND_VERSIONS)
        check_signature(ACS_KEYS[region])
        body, raw = _checked_message(), request.get_data()
        with world.changing():
            kind = resource.sender_kind(body["from"])
            resource.reserve_rate(body["from"], kind, len(body["smsRecipients"]))
            return {
                "value": [resource.send_one(body, raw, recipient) for recipient in body["smsRecipients"]]
            }, 202

    @app.get("/deliveryReports/<message_id>")
    def delivery_report(message_id: str) -> ResponseReturnValue:
        check_version((REPORT_VERSION,))
        check_signature(ACS_KEYS[region])
        report = world.delivery_reports.get(message_id)
        if report is None:
            source = "https://tools.ietf.org/html/rfc9110#section-15.5.5"
            return {"type": source, "title": "Not Found", "status": 404}, 404
        return report

    @app.post("/sms/optouts:<any(add,check,remove):action>")
    def opt_outs(action: str) -> ResponseReturnValue:
        check_version((REPORT_VERSION,))
        check_signature(ACS_KEYS[region])
        body: Any = request.get_json(silent=True)
        with world.changing():
            try:
                resource.sender_kind(body["from"])
                numbers = [str(one["to"]) for one in body["recipients"]]
            except (KeyError, TypeError):
                raise AcsError(400, "BadRequest", "from and recipients are required.") from None
            return {"value": [resource.opt_out(action, body["from"], to) for to in numbers]}

    return app


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
