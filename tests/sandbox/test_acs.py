"""Simulated Azure Communication Services against the real SMS SDK, and by signed requests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import requests
from azure.communication.sms import SmsClient
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ServiceResponseError

from sandbox import acs
from sandbox.cast import HARBOR, NORDLYS
from tests.sandbox.host_process import eventually
from tests.sandbox.microsoft import Served, serve

TO = HARBOR.patients[0].mobile
OTHER = HARBOR.patients[1].mobile


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("acs")) as served:
        yield served


@pytest.fixture
def served(running: Served) -> Served:
    running.world.reset()
    running.world.sms_per_minute = dict.fromkeys(running.world.sms_per_minute, 10_000)
    return running


def sdk(served: Served, region: str = "americas", key: str = "", **options: Any) -> SmsClient:
    credential = AzureKeyCredential(key or acs.ACS_KEYS[region])
    return SmsClient(served.url(f"acs_{region}"), credential, retry_total=0, **options)


def signed(
    served: Served, method: str, path: str, body: Any = None, *, date: datetime | None = None
) -> requests.Response:
    base = served.url("acs_americas")
    content = json.dumps(body).encode() if body is not None else b""
    stamp = format_datetime(date or datetime.now(UTC), usegmt=True)
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    text = f"{method}\n{path}\n{stamp};{base.removeprefix('http://')};{digest}"
    key = base64.b64decode(acs.ACS_KEYS["americas"])
    signature = base64.b64encode(hmac.digest(key, text.encode(), "sha256")).decode()
    headers = {
        "Date": stamp,
        "x-ms-content-sha256": digest,
        "Content-Type": "application/json",
        "Authorization": f"HMAC-SHA256 SignedHeaders=date;host;x-ms-content-sha256&Signature={signature}",
    }
    return requests.request(method, base + path, data=content, headers=headers, timeout=30)


def message(*recipients: dict[str, Any], text: str = "Hello") -> dict[str, Any]:
    return {"from": HARBOR.sender_value, "message": text, "smsRecipients": list(recipients)}


def repeatable(first_sent: datetime, to: str = TO, request_id: str | None = None) -> dict[str, Any]:
    return {
        "to": to,
        "repeatabilityRequestId": request_id or str(uuid.uuid4()),
        "repeatabilityFirstSent": format_datetime(first_sent, usegmt=True),
    }


def send(served: Served, body: dict[str, Any]) -> dict[str, Any]:
    answer = signed(served, "POST", "/sms?api-version=2026-01-23", body)
    assert answer.status_code == 202
    result: dict[str, Any] = answer.json()["value"][0]
    return result


def test_sdk_sends_from_both_regions(served: Served) -> None:
    results = sdk(served).send(
        HARBOR.sender_value, [TO, "+1bad"], "Hello", enable_delivery_report=True, tag="t1"
    )
    assert [(r.successful, r.http_status_code) for r in results] == [(True, 202), (False, 400)]
    assert results[0].message_id.startswith("Outgoing_")
    sdk(served, "emea").send(NORDLYS.sender_value, NORDLYS.patients[0].mobile, "Hej")
    assert [(m.region, m.sender, m.to, m.text, m.tag) for m in served.world.outbox] == [
        ("americas", HARBOR.sender_value, TO, "Hello", "t1"),
        ("emea", NORDLYS.sender_value, NORDLYS.patients[0].mobile, "Hej", ""),
    ]
    assert served.world.requests[("acs", "send")] == 2


def test_wrong_key_stale_date_and_changed_body_are_denied(served: Served) -> None:
    with pytest.raises(ClientAuthenticationError):
        sdk(served, key=acs.ACS_KEYS["emea"]).send(HARBOR.sender_value, TO, "Hello")
    path, stale = "/sms?api-version=2026-01-23", datetime.now(UTC) - timedelta(hours=1)
    assert signed(served, "POST", path, message({"to": TO}), date=stale).status_code == 401
    assert signed(served, "POST", path, message({"to": TO})).status_code == 202
    assert requests.post(served.url("acs_americas") + path, json={}, timeout=30).status_code == 401
    assert len(served.world.outbox) == 1


def test_senders_of_nobody_are_refused(served: Served) -> None:
    for sender, status in (("+1800", 400), ("+18005550199", 403), (NORDLYS.sender_value, 403)):
        with pytest.raises(HttpResponseError) as refused:
            sdk(served).send(sender, TO, "Hello")
        assert refused.value.status_code == status


def test_unverified_sender_is_accepted_but_reported_as_blocked(served: Served) -> None:
    served.world.unverified_senders.add(HARBOR.sender_value)
    sent = send(served, message({"to": TO}))
    report = signed(served, "GET", f"/deliveryReports/{sent['messageId']}?api-version=2026-01-23").json()
    assert (report["deliveryStatus"], report["deliveryStatusDetails"][:4]) == ("Failed", "4010")
    assert served.world.outbox == []


def test_delivery_report(served: Served) -> None:
    body = message({"to": TO}) | {"smsSendOptions": {"enableDeliveryReport": True, "tag": "t9"}}
    sent = send(served, body)
    report = signed(served, "GET", f"/deliveryReports/{sent['messageId']}?api-version=2026-01-23").json()
    assert (report["deliveryStatus"], report["tag"], report["to"]) == ("Delivered", "t9", TO)
    assert signed(served, "GET", "/deliveryReports/none?api-version=2026-01-23").status_code == 404
    assert signed(served, "GET", "/deliveryReports/none?api-version=2021-03-07").status_code == 400


def test_repeated_request_is_answered_without_sending_again(served: Served) -> None:
    body = message(repeatable(datetime.now(UTC) - timedelta(minutes=4)))
    first = send(served, body)
    assert first["repeatabilityResult"] == "accepted"
    assert send(served, body) == first
    assert len(served.world.outbox) == 1
    changed = send(served, body | {"message": "Other"})
    assert (changed["httpStatusCode"], changed["repeatabilityResult"]) == (400, "rejected")
    assert len(served.world.outbox) == 1


def test_moving_the_business_clock_does_not_forget_repeatability(served: Served) -> None:
    body = message(repeatable(datetime.now(UTC)))
    first = send(served, body)
    served.world.advance(timedelta(days=1))
    assert send(served, body) == first


def test_first_sent_outside_the_window(served: Served) -> None:
    now = datetime.now(UTC)
    assert send(served, message(repeatable(now - timedelta(minutes=6))))["httpStatusCode"] == 412
    assert send(served, message(repeatable(now + timedelta(minutes=6))))["httpStatusCode"] == 400
    without = send(served, message({"to": TO, "repeatabilityRequestId": str(uuid.uuid4())}))
    assert (without["httpStatusCode"], without["repeatabilityResult"]) == (400, "rejected")
    assert served.world.outbox == []


def test_one_id_for_two_recipients_reaches_only_the_first(served: Served) -> None:
    request_id, now = str(uuid.uuid4()), datetime.now(UTC)
    body = message(repeatable(now, TO, request_id), repeatable(now, OTHER, request_id))
    results = signed(served, "POST", "/sms?api-version=2026-01-23", body).json()["value"]
    assert [r["httpStatusCode"] for r in results] == [202, 400]


def test_repeatability_can_be_switched_off(served: Served) -> None:
    served.world.repeatability_off = True
    body = message(repeatable(datetime.now(UTC)))
    assert send(served, body) != send(served, body)
    assert len(served.world.outbox) == 2


def test_rate_limit_counts_recipients(tmp_path: Any) -> None:
    with serve(tmp_path) as fresh:
        client = sdk(fresh)
        for _ in range(2):
            client.send(HARBOR.sender_value, [TO] * 99, "Hello")
        client.send(HARBOR.sender_value, [TO] * 2, "Hello")
        with pytest.raises(HttpResponseError) as throttled:
            client.send(HARBOR.sender_value, TO, "Hello")
        assert throttled.value.status_code == 429
        assert throttled.value.response is not None and "Retry-After" in throttled.value.response.headers
        assert len(fresh.world.outbox) == 200


@pytest.mark.parametrize(("kind", "accepted"), [("timeout", 0), ("timeout_after_accept", 1)])
def test_silent_faults(served: Served, kind: Any, accepted: int) -> None:
    served.world.add_fault("acs", kind, 1)
    with pytest.raises(ServiceResponseError):
        sdk(served, read_timeout=0.5).send(HARBOR.sender_value, TO, "Hello")
    eventually(lambda: len(served.world.outbox) == accepted)  # it may be accepted behind the caller's back


@pytest.mark.parametrize("kind", ["429", "500"])
def test_loud_faults(served: Served, kind: Any) -> None:
    served.world.add_fault("acs", kind, 1)
    with pytest.raises(HttpResponseError) as failed:
        sdk(served).send(HARBOR.sender_value, TO, "Hello")
    assert failed.value.status_code == int(kind)
    assert served.world.outbox == []


def test_connection_is_closed_without_an_answer_when_patience_ends(served: Served) -> None:
    served.world.patience_s = 0.2
    served.world.add_fault("acs", "timeout_after_accept", 1)
    with pytest.raises(requests.ConnectionError):
        signed(served, "POST", "/sms?api-version=2026-01-23", message({"to": TO}))
    assert len(served.world.outbox) == 1


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"from": HARBOR.sender_value},
        message(),
        message(*[{"to": TO}] * 101),
        message({"to": TO}, text="x" * 2049),
    ],
)
def test_bad_bodies_are_refused(served: Served, body: Any) -> None:
    assert signed(served, "POST", "/sms?api-version=2026-01-23", body).status_code == 400


def test_opt_outs_are_added_checked_and_removed_and_block_what_is_sent(served: Served) -> None:
    def ask(action: str, to: str = TO) -> dict[str, Any]:
        body = {"from": HARBOR.sender_value, "recipients": [{"to": to}]}
        answer = signed(served, "POST", f"/sms/optouts:{action}?api-version=2026-01-23", body)
        assert answer.status_code == 200
        result: dict[str, Any] = answer.json()["value"][0]
        return result

    assert ask("check")["isOptedOut"] is False and ask("check", "+123")["httpStatusCode"] == 400
    ask("add")
    assert ask("check")["isOptedOut"] is True
    send(served, message({"to": TO}))
    assert served.world.outbox == []
    ask("remove")
    send(served, message({"to": TO}))
    assert len(served.world.outbox) == 1
    served.world.opt_outs.add((HARBOR.sender_value, TO))
    served.world.carrier_stops.add((HARBOR.sender_value, TO))
    ask("remove")
    assert ask("check")["isOptedOut"] is True, "only the person's START ends what the carrier blocks"


def test_events_of_the_americas_have_the_published_form(served: Served) -> None:
    sdk(served).send(HARBOR.sender_value, TO, "Hello", enable_delivery_report=True, tag="t1")
    sdk(served, "emea").send(NORDLYS.sender_value, NORDLYS.patients[0].mobile, "Hej", enable_delivery_report=True)
    (event,) = served.world.events
    assert event["eventType"] == "Microsoft.Communication.SMSDeliveryReportReceived"
    assert (event["data"]["to"], event["data"]["Tag"]) == (TO.removeprefix("+"), "t1")
    assert event["data"]["messageId"] == served.world.outbox[0].id
