"""Simulated Azure Communication Services e-mail, on the resource that also sends the SMS of a region.

Source: REST API "Email - Send" and "Email - Get Send Result" 2025-09-01 with its published examples, "Repeatable
requests", "Service limits" (custom domain: 30 messages a minute and 100 an hour, 60 and 200 status reads). Whether ACS
sends one Operation-Id twice is documented nowhere, so here it does: only the repeatability headers protect.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections import deque
from datetime import UTC, datetime
from typing import Any

import flask
from flask import request
from flask.typing import ResponseReturnValue

from sandbox import event_grid
from sandbox.acs_repeatable import WINDOW, Rejected, repeatable
from sandbox.acs_signature import AcsError, check_signature, check_version
from sandbox.world import Json, SentEmail, World

VERSIONS = ("2023-03-31", "2025-09-01")


def sender(region: str) -> str:
    """The one address that the domain linked to a region's resource has."""
    return f"visits@{region}.mail.example"


class EmailResource:
    """The e-mail side of one Communication resource; use under the world's lock."""

    def __init__(self, world: World, region: str) -> None:
        self.world, self.region = world, region
        self._seen: dict[str, tuple[bytes, datetime, str]] = {}
        self._sent_at: deque[float] = deque()
        self._read_at: deque[float] = deque()

    def send(self, body: Any, raw: bytes) -> str:
        """The operation id of an accepted message."""
        _checked(body, self.region)
        operation = _uuid(request.headers.get("Operation-Id") or str(uuid.uuid4()))
        given = request.headers.get("Repeatability-Request-Id")
        if given is None or self.world.repeatability_off:
            self._reserve(self._sent_at, self.world.email_limits)
            return self._accept(body, operation)
        self._seen = {k: v for k, v in self._seen.items() if datetime.now(UTC) - v[1] <= WINDOW}
        try:
            key, first_sent = repeatable(given, request.headers.get("Repeatability-First-Sent"))
            digest = hashlib.sha256(raw + operation.encode()).digest()
            if key in self._seen and self._seen[key][0] != digest:
                raise Rejected(400, "The repeatability-request-id was used with a different request.")
        except Rejected as refused:
            raise AcsError(refused.status, "RepeatabilityRejected", str(refused)) from None
        if key not in self._seen:
            self._reserve(self._sent_at, self.world.email_limits)
            self._seen[key] = (digest, first_sent, self._accept(body, operation))
        return self._seen[key][2]

    def read(self, operation: str) -> Json:
        """Running when it is read for the first time, then what became of it."""
        self._reserve(self._read_at, self.world.email_read_limits)
        found = self.world.email_operations.get(_uuid(operation))
        if found is None:
            raise AcsError(404, "NotFound", "The operation was not found.")
        answer = dict(found)
        found["status"] = found.pop("next", found["status"])
        answer.pop("next", None)
        return answer

    def _accept(self, body: Json, operation: str) -> str:
        world, now = self.world, self.world.now()
        for to in body["recipients"]["to"]:
            content = body["content"]
            text, html, headers = content.get("plainText", ""), content.get("html", ""), body.get("headers") or {}
            sent = SentEmail(operation, self.region, body["senderAddress"], to["address"], content["subject"],
                             text, html, headers, now)  # fmt: skip
            status = world.undeliverable.get(sent.to, "Delivered")
            if status == "Delivered":
                world.mail.append(sent)
            if self.region == event_grid.REGION:
                world.events.append(event_grid.email_report(sent, status))
        world.email_operations[operation] = {"id": operation, "status": "Running", "next": "Succeeded", "error": None}
        return operation

    def _reserve(self, times: deque[float], limits: tuple[int, int]) -> None:
        now = time.monotonic()
        while times and times[0] <= now - 3600:
            times.popleft()
        minute = sum(at > now - 60 for at in times)
        if minute >= limits[0] or len(times) >= limits[1]:
            oldest = times[0] + 3600 if len(times) >= limits[1] else times[-limits[0]] + 60
            wait = str(1 + int(oldest - now))
            raise AcsError(429, "TooManyRequests", "The domain's rate limit was exceeded.", {"Retry-After": wait})
        times.append(now)


def add_routes(app: flask.Flask, world: World, region: str, key: str) -> None:
    """The e-mail operations of the resource that `app` is."""
    resource = EmailResource(world, region)

    @app.post("/emails:send")
    def send_email() -> ResponseReturnValue:
        check_version(VERSIONS)
        check_signature(key)
        with world.changing():
            operation = resource.send(request.get_json(silent=True), request.get_data())
        location = f"{request.host_url}emails/operations/{operation}?api-version={request.args['api-version']}"
        return {"id": operation, "status": "Running", "error": None}, 202, {
            "Operation-Location": location, "Retry-After": "30"}  # fmt: skip

    @app.get("/emails/operations/<operation>")
    def email_operation(operation: str) -> ResponseReturnValue:
        check_version(VERSIONS)
        check_signature(key)
        with world.changing():
            return resource.read(operation)


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise AcsError(400, "BadRequest", "The operation id must be a UUID.") from None


def _checked(body: Any, region: str) -> None:
    """Refuses what the specification does not allow, and a sender of a domain that is not linked."""
    try:
        content, to, domain = body["content"], body["recipients"]["to"], body["senderAddress"].split("@")[1]
        sound = content["subject"] and (content.get("plainText") or content.get("html")) and 1 <= len(to) <= 50
        sound = sound and all("@" in one["address"] and one["address"].isascii() for one in to)
        sound = sound and all(isinstance(value, str) for value in (body.get("headers") or {}).values())
    except (AttributeError, IndexError, KeyError, TypeError):
        sound, domain = False, ""
    if not sound:
        raise AcsError(400, "BadRequest", "Request body validation error.")
    if domain != sender(region).split("@")[1]:
        raise AcsError(404, "DomainNotLinked", "The specified sender domain has not been linked.")
    if body["senderAddress"] != sender(region):
        raise AcsError(400, "InvalidSenderUserName", "Invalid sender username encountered.")
