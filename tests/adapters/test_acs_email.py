"""E-mail by ACS: our ids on the wire, and a verdict that never calls an unknown send unsent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import flask
import pytest

from connector.adapters.acs_email import AcsEmail, Email
from connector.errors import AmbiguousError, ConnectorError, PermanentError, TransientError
from sandbox import acs_email
from sandbox.acs import ACS_KEYS
from sandbox.cast import HARBOR
from sandbox.ports import free_ports
from sandbox.world import World
from tests.adapters.serving import listening, raw, shown
from tests.adapters.simulated import vendors

TO, SENDER, KEY = HARBOR.patients[0].email, acs_email.sender("americas"), ACS_KEYS["americas"]
LINK = "https://v.example/j/abc"
EMAIL = Email("Your video visit", f"Møde: {LINK}", f"<p>Møde: {LINK}</p>", {"List-Unsubscribe": f"<{LINK}/stop>"})


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with vendors(tmp_path_factory.mktemp("acs")) as world:
        yield world


@pytest.fixture
def world(running: World) -> World:
    running.reset()
    running.email_limits = running.email_read_limits = (1000, 1000)  # the tests share one domain
    running.patience_s = 0.2
    return running


@pytest.fixture
def mailer(world: World) -> AcsEmail:
    return AcsEmail(world.ports.url("acs_americas"), KEY, None, SENDER)


def send(mailer: AcsEmail, **changes: Any) -> str:
    wanted = {"to": TO, "email": EMAIL, "operation_id": str(uuid4()), "first_sent": datetime.now(UTC)}
    return mailer.send(**(wanted | changes))


def failure(mailer: AcsEmail, kind: type[ConnectorError], **changes: Any) -> Any:
    with pytest.raises(ConnectorError) as failed:
        send(mailer, **changes)
    assert type(failed.value) is kind
    for secret in (TO, EMAIL.text, LINK, KEY, "127.0.0.1"):
        assert secret not in shown(failed.value)
    return failed.value


def test_message_arrives_under_our_own_id(world: World, mailer: AcsEmail) -> None:
    operation = str(uuid4())
    assert send(mailer, operation_id=operation) == operation
    (sent,) = world.mail
    assert (sent.id, sent.to, sent.sender) == (operation, TO, SENDER)
    assert (sent.subject, sent.text, sent.html, sent.headers) == (EMAIL.subject, EMAIL.text, EMAIL.html, EMAIL.headers)


def test_repetition_is_sent_once_because_of_its_repeatability_headers(world: World, mailer: AcsEmail) -> None:
    same = {"operation_id": str(uuid4()), "first_sent": datetime.now(UTC)}
    assert send(mailer, **same) == send(mailer, **same)
    assert len(world.mail) == 1
    world.repeatability_off = True
    send(mailer, **same)
    assert len(world.mail) == 2, "the operation id alone protects nobody"


def test_lost_answer_is_unknown_and_its_repetition_harmless(world: World, mailer: AcsEmail) -> None:
    same = {"operation_id": str(uuid4()), "first_sent": datetime.now(UTC)}
    world.add_fault("acs", "timeout_after_accept", 1)
    assert failure(mailer, AmbiguousError, **same).code == "email.unknown_outcome"
    assert mailer.progress(same["operation_id"]) == "under_way"
    assert send(mailer, **same) == world.mail[0].id
    assert len(world.mail) == 1


@pytest.mark.parametrize("fault", ["500", "timeout"])
def test_no_decisive_answer_is_unknown_and_not_repeated(world: World, mailer: AcsEmail, fault: Any) -> None:
    world.add_fault("acs", fault, 1)
    assert failure(mailer, AmbiguousError).code == "email.unknown_outcome"
    assert world.requests["acs", "send_email"] == 1


def test_over_the_domains_rate_is_surely_not_sent_and_says_when_to_come_back(running: World, world: World) -> None:
    mailer = AcsEmail(world.ports.url("acs_emea"), ACS_KEYS["emea"], None, acs_email.sender("emea"))
    world.email_limits = (2, 100)
    for _ in range(2):
        send(mailer)
    error = failure(mailer, TransientError)
    assert (error.code, error.vendor_status) == ("email.throttled", 429)
    assert 0 < error.retry_after_s <= 61 and len(world.mail) == 2


def test_window_and_other_body(world: World, mailer: AcsEmail) -> None:
    old = failure(mailer, AmbiguousError, first_sent=datetime.now(UTC) - timedelta(minutes=6))
    assert (old.code, old.vendor_status) == ("email.window_passed", 412)
    same = {"operation_id": str(uuid4()), "first_sent": datetime.now(UTC)}
    send(mailer, **same)
    other = failure(mailer, AmbiguousError, email=Email("Another", "x", "x", {}), **same)
    assert (other.code, other.vendor_status) == ("email.other_body", 400)


def test_refusals_of_a_message_and_of_the_sender(world: World, mailer: AcsEmail) -> None:
    assert failure(mailer, PermanentError, to="not an address").code == "email.refused"
    stranger = AcsEmail(world.ports.url("acs_americas"), KEY, None, "visits@other.example")
    error = failure(stranger, PermanentError)
    assert (error.code, error.vendor_status) == ("email.not_allowed", 404)
    wrong_key = AcsEmail(world.ports.url("acs_americas"), ACS_KEYS["emea"], None, SENDER)
    assert failure(wrong_key, PermanentError).code == "email.not_allowed"
    no_key = AcsEmail(world.ports.url("acs_americas"), "no key", None, SENDER)
    assert failure(no_key, PermanentError).code == "email.not_allowed"


def test_nothing_listens(running: World) -> None:
    (port,) = free_ports(1)
    unheard = AcsEmail(f"http://127.0.0.1:{port}", KEY, None, SENDER)
    assert failure(unheard, TransientError).code == "email.unreachable"


def test_connection_that_breaks_after_the_request(world: World) -> None:
    for said in (b"", b'HTTP/1.1 202 Accepted\r\nContent-Length: 900\r\n\r\n{"id":'):
        with raw(lambda connection, over, said=said: connection.sendall(said)) as port:  # type: ignore[misc]
            cut = AcsEmail(f"http://127.0.0.1:{port}", KEY, None, SENDER)
            assert failure(cut, AmbiguousError).code == "email.unknown_outcome"


@pytest.mark.parametrize(("status", "body", "kind", "code"), [
    (200, {}, AmbiguousError, "email.unknown_outcome"),
    (302, "", AmbiguousError, "email.unknown_outcome"),
    (400, {"error": {"code": "BadRequest"}}, PermanentError, "email.refused"),
    (401, {}, PermanentError, "email.not_allowed"),
    (403, "", PermanentError, "email.not_allowed"),
    (408, "", AmbiguousError, "email.unknown_outcome"),
    (409, {}, AmbiguousError, "email.unknown_outcome"),
    (429, "", TransientError, "email.throttled"),
    (503, "", AmbiguousError, "email.unknown_outcome"),
])  # fmt: skip
def test_verdicts(world: World, status: int, body: Any, kind: type[ConnectorError], code: str) -> None:
    asked: list[Any] = []
    scripted = flask.Flask("scripted")

    @scripted.post("/emails:send")
    def answer() -> Any:
        asked.append(flask.request.headers)
        text = body if isinstance(body, str) else json.dumps(body)
        return flask.Response(text, status, {"x-ms-request-id": "ref-1"}, content_type="application/json")

    moment = datetime(2031, 3, 4, 9, 30, 5, 999, tzinfo=UTC).astimezone()
    with listening(scripted) as port:
        mailer = AcsEmail(f"http://127.0.0.1:{port}", KEY, None, SENDER)
        error = failure(mailer, kind, operation_id="11111111-2222-4333-8444-555555555555", first_sent=moment)
    assert (error.code, error.vendor_reference, len(asked)) == (code, "ref-1", 1)
    assert asked[0]["Operation-Id"] == asked[0]["Repeatability-Request-Id"] == "11111111-2222-4333-8444-555555555555"
    assert asked[0]["Repeatability-First-Sent"] == "Tue, 04 Mar 2031 09:30:05 GMT"


def test_progress_of_an_operation(world: World, mailer: AcsEmail) -> None:
    assert mailer.progress(str(uuid4())) == "unknown"
    operation = send(mailer)
    assert [mailer.progress(operation) for _ in range(2)] == ["under_way", "succeeded"]
    world.email_operations[operation]["status"] = "Failed"
    assert mailer.progress(operation) == "failed"
    world.email_operations[operation]["status"] = "Sideways"
    with pytest.raises(PermanentError):
        mailer.progress(operation)
    world.add_fault("acs", "500", 1)
    with pytest.raises(TransientError):
        mailer.progress(operation)
