"""Simulated Event Grid: brings the events of the Americas' Communication resource to the app, at least once.

Source: Event Grid schema 1.0, "Communication Services SMS events" and "... email events", with their published
examples: numbers lack their plus sign, and the tag has a capital letter. What the app does not take is brought again.
"""

from __future__ import annotations

import threading
import time
import uuid
from datetime import datetime

import requests
from urllib3.exceptions import HTTPError

from sandbox.world import Json, SentEmail, World

REGION = "americas"
FUNCTIONS = {
    "Microsoft.Communication.SMSReceived": "messages_inbound",
    "Microsoft.Communication.SMSDeliveryReportReceived": "messages_reports",
    "Microsoft.Communication.EmailDeliveryReportReceived": "messages_reports",
}
AGAIN_S = 10


def reply(number: str, to: str, text: str, at: datetime) -> Json:
    """A person's text to our number."""
    data = {"messageId": f"Incoming_{at:%Y%m%d%H%M%S}{uuid.uuid4()}_noam", "from": number, "to": to, "message": text,
            "receivedTimestamp": at.isoformat(), "segmentCount": 1}  # fmt: skip
    return _event("SMSReceived", f"/phonenumber/{to}", at.isoformat(), data)


def sms_report(known: Json) -> Json:
    """Of the delivery report that the REST API gives too."""
    data = {**known, "from": known["from"].removeprefix("+"), "to": known["to"].removeprefix("+")}
    data["Tag"] = data.pop("tag")
    return _event("SMSDeliveryReportReceived", f"/phonenumber/{data['to']}", known["receivedTimestamp"], data)


def email_report(sent: SentEmail, status: str) -> Json:
    at = sent.accepted_at.isoformat()
    data = {
        "sender": sent.sender, "recipient": sent.to, "messageId": sent.id, "internetMessageId": f"<{sent.id}@sandbox>",
        "status": status, "deliveryStatusDetails": {"statusMessage": "Status message"}, "deliveryAttemptTimeStamp": at,
    }  # fmt: skip
    return _event("EmailDeliveryReportReceived", f"sender/{sent.sender}/message/{sent.id}", at, data)


def _event(kind: str, subject: str, at: str, data: Json) -> Json:
    provider = "/subscriptions/0/resourceGroups/sandbox/providers/Microsoft.Communication"
    return {
        "id": str(uuid.uuid4()),
        "topic": f"{provider}/CommunicationServices/{REGION}",
        "subject": subject,
        "data": data,
        "eventType": f"Microsoft.Communication.{kind}",
        "dataVersion": "1.0",
        "metadataVersion": "1",
        "eventTime": at,
    }


def deliver(world: World, event: Json) -> int:
    """The status that the app answers; 0 when it does not."""
    url = f"{world.ports.url('app')}/runtime/webhooks/eventgrid?functionName={FUNCTIONS[event['eventType']]}"
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.post(url, json=[event], timeout=30).status_code
        except (requests.RequestException, HTTPError, OSError):  # an app that is killed in the midst
            return 0


def bring(world: World, over: threading.Event) -> None:
    """Bring what there is until `over` is set."""
    later: list[tuple[float, Json]] = []
    while not over.wait(0.5):
        if not world.brings_events:
            continue
        with world.lock:
            fresh, world.events = world.events, []
        now = time.monotonic()
        due = [*fresh, *(event for at, event in later if at <= now)]
        later = [(at, event) for at, event in later if at > now]
        later += [(now + AGAIN_S, event) for event in due if not 200 <= deliver(world, event) < 300]
