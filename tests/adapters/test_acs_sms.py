"""SMS by ACS: our repeatability on the wire, and a verdict that never calls an unknown send unsent."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import flask
import pytest

from connector.adapters import acs
from connector.adapters.acs_sms import AcsSms
from connector.errors import AmbiguousError, ConnectorError, PermanentError, TransientError
from sandbox import certificates
from sandbox.acs import ACS_KEYS
from sandbox.cast import HARBOR
from sandbox.ports import free_ports
from sandbox.world import World
from tests.adapters.serving import listening, raw, shown
from tests.adapters.simulated import vendors

TO, SENDER = HARBOR.patients[0].mobile, HARBOR.sender_value
KEY = ACS_KEYS["americas"]
TEXT = "Your video visit is tomorrow at 9:30 (CST) - Møde: https://v.example/j/abc"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with vendors(tmp_path_factory.mktemp("acs")) as world:
        yield world


@pytest.fixture
def world(running: World) -> World:
    running.reset()
    running.patience_s = 0.2
    return running


@pytest.fixture
def sms(world: World) -> AcsSms:
    return AcsSms(world.ports.url("acs_americas"), KEY, None)


def send(sms: AcsSms, **changes: Any) -> str:
    arguments = {
        "sender": SENDER,
        "to": TO,
        "text": TEXT,
        "repeatability_id": str(uuid4()),
        "first_sent": datetime.now(UTC),
        "tag": "m-1",
    }
    return sms.send(**(arguments | changes))


def failure(sms: AcsSms, kind: type[ConnectorError], **changes: Any) -> Any:
    with pytest.raises(ConnectorError) as failed:
        send(sms, **changes)
    assert type(failed.value) is kind
    for secret in (TO, TEXT, KEY, "127.0.0.1", "https"):
        assert secret not in shown(failed.value)
    return failed.value


def test_message_is_accepted_with_a_report_wanted(world: World, sms: AcsSms) -> None:
    message_id = send(sms)
    sent = world.outbox[0]
    assert (sent.id, sent.to, sent.sender, sent.text, sent.tag) == (message_id, TO, SENDER, TEXT, "m-1")
    assert message_id in world.delivery_reports


def test_repetition_is_sent_once(world: World, sms: AcsSms) -> None:
    same = {"repeatability_id": str(uuid4()), "first_sent": datetime.now(UTC)}
    assert send(sms, **same) == send(sms, **same)
    assert len(world.outbox) == 1


def test_lost_answer_is_unknown_and_its_repetition_harmless(world: World, sms: AcsSms) -> None:
    same = {"repeatability_id": str(uuid4()), "first_sent": datetime.now(UTC)}
    world.add_fault("acs", "timeout_after_accept", 1)
    assert failure(sms, AmbiguousError, **same).code == "sms.unknown_outcome"
    assert send(sms, **same) == world.outbox[0].id
    assert len(world.outbox) == 1


def test_each_thread_sends_its_own_id(world: World, sms: AcsSms) -> None:
    ids = [str(uuid4()) for _ in range(24)]
    with ThreadPoolExecutor(8) as pool:
        first = list(pool.map(lambda i: send(sms, repeatability_id=i, text=i), ids))
    assert len(set(first)) == len(world.outbox) == 24
    assert {message.text for message in world.outbox} == set(ids)


def test_throttled_is_surely_not_sent(world: World, sms: AcsSms) -> None:
    world.add_fault("acs", "429", 1)
    error = failure(sms, TransientError)
    assert (error.code, error.retry_after_s, error.vendor_status) == ("sms.throttled", 1.0, 429)
    assert world.requests["acs", "send"] == 1


@pytest.mark.parametrize("fault", ["500", "timeout"])
def test_no_decisive_answer_is_unknown_and_not_repeated(world: World, sms: AcsSms, fault: Any) -> None:
    world.add_fault("acs", fault, 1)
    assert failure(sms, AmbiguousError).code == "sms.unknown_outcome"
    assert world.requests["acs", "send"] == 1


def test_first_sent_outside_the_window(sms: AcsSms) -> None:
    error = failure(sms, AmbiguousError, first_sent=datetime.now(UTC) - timedelta(minutes=6))
    assert (error.code, error.vendor_status) == ("sms.window_passed", 412)


def test_other_body_under_the_same_id(world: World, sms: AcsSms) -> None:
    same = {"repeatability_id": str(uuid4()), "first_sent": datetime.now(UTC)}
    send(sms, **same)
    error = failure(sms, AmbiguousError, text="Another", **same)
    assert (error.code, error.vendor_status) == ("sms.other_body", 400)


def test_recipient_refused_although_the_request_was_accepted(world: World, sms: AcsSms) -> None:
    error = failure(sms, PermanentError, to="not a number")
    assert (error.code, error.vendor_status) == ("sms.refused", 400)


def test_sender_of_somebody_else_and_wrong_key(world: World, sms: AcsSms) -> None:
    assert failure(sms, PermanentError, sender="+18005550199").code == "sms.not_allowed"
    other = AcsSms(world.ports.url("acs_americas"), ACS_KEYS["emea"], None)
    assert failure(other, PermanentError).vendor_status == 401
    assert failure(AcsSms(world.ports.url("acs_americas"), "no key", None), PermanentError).code == "sms.not_allowed"


def test_nothing_listens(running: World) -> None:
    (port,) = free_ports(1)
    assert failure(AcsSms(f"http://127.0.0.1:{port}", KEY, None), TransientError).code == "sms.unreachable"


def test_untrusted_host_gets_no_message(world: World, tmp_path: Path) -> None:
    stranger = certificates.make(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(stranger.cert, stranger.key)
    script = Scripted(202, accepted())
    with listening(script.flask, tls) as port:
        assert failure(AcsSms(f"https://127.0.0.1:{port}", KEY, None), TransientError).code == "sms.unreachable"
    assert not script.asked


def closes(connection: socket.socket, over: threading.Event) -> None:
    """End without a word."""


def says_nothing(connection: socket.socket, over: threading.Event) -> None:
    over.wait(10)


def stops_in_the_body(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b'HTTP/1.1 202 Accepted\r\nContent-Length: 900\r\n\r\n{"value":[')
    over.wait(10)


def cuts_the_body(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b'HTTP/1.1 202 Accepted\r\nContent-Length: 900\r\n\r\n{"value":[')


@pytest.mark.parametrize("behave", [closes, says_nothing, stops_in_the_body, cuts_the_body])
def test_connection_that_breaks_after_the_request(
    world: World, monkeypatch: pytest.MonkeyPatch, behave: Callable[[socket.socket, threading.Event], None]
) -> None:
    monkeypatch.setattr(acs, "READ_S", 0.5)
    with raw(behave) as port:
        error = failure(AcsSms(f"http://127.0.0.1:{port}", KEY, None), AmbiguousError)
    assert error.code == "sms.unknown_outcome"


class Scripted:
    """An ACS that gives one answer, and keeps what it was asked."""

    def __init__(self, status: int, body: Any) -> None:
        self.asked: list[dict[str, Any]] = []
        self.flask = flask.Flask("scripted")

        @self.flask.post("/sms")
        def answer() -> Any:
            self.asked.append(json.loads(flask.request.get_data()))
            text = body if isinstance(body, str) else json.dumps(body)
            return flask.Response(text, status, {"x-ms-request-id": "ref-1"}, content_type="application/json")


def accepted(**result: Any) -> dict[str, Any]:
    return {"value": [{"to": TO, "messageId": "m", "httpStatusCode": 202, "successful": True} | result]}


@pytest.mark.parametrize(("status", "body", "kind", "code"), [
    (202, "<html>", AmbiguousError, "sms.unknown_outcome"),
    (202, {}, AmbiguousError, "sms.unknown_outcome"),
    (202, {"value": []}, AmbiguousError, "sms.unknown_outcome"),
    (202, {"value": [7]}, AmbiguousError, "sms.unknown_outcome"),
    (202, accepted(messageId=None), AmbiguousError, "sms.unknown_outcome"),
    (202, accepted(successful=False), AmbiguousError, "sms.unknown_outcome"),
    (202, accepted(httpStatusCode=500), AmbiguousError, "sms.unknown_outcome"),
    (202, accepted(httpStatusCode="202"), AmbiguousError, "sms.unknown_outcome"),
    (202, accepted(httpStatusCode=429), TransientError, "sms.throttled"),
    (202, accepted(httpStatusCode=403), PermanentError, "sms.not_allowed"),
    (202, accepted(httpStatusCode=404), PermanentError, "sms.refused"),
    (202, accepted(httpStatusCode=412), AmbiguousError, "sms.window_passed"),
    (202, accepted(httpStatusCode=400, repeatabilityResult="Rejected"), AmbiguousError, "sms.other_body"),
    (200, accepted(), AmbiguousError, "sms.unknown_outcome"),
    (302, "", AmbiguousError, "sms.unknown_outcome"),
    (400, {"error": {"code": "BadRequest", "message": "no"}}, PermanentError, "sms.refused"),
    (400, {"error": {"message": "The repeatability-request-id was used"}}, AmbiguousError, "sms.other_body"),
    (401, {}, PermanentError, "sms.not_allowed"),
    (403, "", PermanentError, "sms.not_allowed"),
    (408, "", AmbiguousError, "sms.unknown_outcome"),
    (412, {}, AmbiguousError, "sms.window_passed"),
    (429, "", TransientError, "sms.throttled"),
    (500, {}, AmbiguousError, "sms.unknown_outcome"),
    (503, "", AmbiguousError, "sms.unknown_outcome"),
])
def test_verdicts(world: World, status: int, body: Any, kind: type[ConnectorError], code: str) -> None:
    script = Scripted(status, body)
    with listening(script.flask) as port:
        error = failure(AcsSms(f"http://127.0.0.1:{port}", KEY, None), kind)
    assert (error.code, error.vendor_reference, len(script.asked)) == (code, "ref-1", 1)


def test_request_on_the_wire(world: World) -> None:
    script = Scripted(202, accepted())
    first_sent = datetime(2031, 3, 4, 9, 30, 5, 999, tzinfo=UTC).astimezone()
    with listening(script.flask) as port:
        sms = AcsSms(f"http://127.0.0.1:{port}/", KEY, None)
        assert send(sms, repeatability_id="r-1", first_sent=first_sent) == "m"
    recipient = {
        "to": TO,
        "repeatabilityRequestId": "r-1",
        "repeatabilityFirstSent": "Tue, 04 Mar 2031 09:30:05 GMT",
    }
    assert script.asked == [{
        "from": SENDER,
        "message": TEXT,
        "smsRecipients": [recipient],
        "smsSendOptions": {"enableDeliveryReport": True, "tag": "m-1"},
    }]


def test_what_became_of_a_message_is_read(world: World, sms: AcsSms) -> None:
    assert sms.delivery_report("Outgoing_none/../x?y") is None
    found = sms.delivery_report(send(sms))
    assert found is not None
    assert (found.delivered, found.code, found.to, found.sender, found.tag) == (True, "", TO, SENDER, "m-1")
    world.undeliverable[TO] = "4006: Unreachable"
    found = sms.delivery_report(send(sms))
    assert found is not None and (found.delivered, found.code) == (False, "4006")
    world.add_fault("acs", "500", 1)
    with pytest.raises(TransientError):
        sms.delivery_report("x")


def test_what_the_carrier_blocks_is_known_and_asked_to_end(world: World, sms: AcsSms) -> None:
    assert not sms.opted_out(SENDER, TO)
    world.opt_outs.add((SENDER, TO))
    assert sms.opted_out(SENDER, TO)
    sms.opt_in(SENDER, TO)
    assert not sms.opted_out(SENDER, TO)
    with pytest.raises(TransientError):
        sms.opted_out(SENDER, "+123")
    with pytest.raises(PermanentError):
        sms.opted_out("+18005550199", TO)
    world.add_fault("acs", "500", 1)
    with pytest.raises(AmbiguousError):
        sms.opted_out(SENDER, TO)


def test_identity_that_gives_no_token_sends_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = flask.Flask("identity")
    identity.add_url_rule("/token", "token", lambda: ({"error": "invalid_client"}, 400))
    with listening(identity) as port:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{port}/token")
        monkeypatch.setenv("IDENTITY_HEADER", "header")
        error = failure(AcsSms(world.ports.url("acs_americas"), None, "identity-1"), PermanentError)
    assert error.code == "sms.not_allowed"
    assert not world.requests
