"""Outgoing requests: where they may go, how long they may take, and what an error may tell."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest

from connector.adapters.http import OutgoingHttp, OutgoingPolicy
from connector.errors import AmbiguousError, ConnectorError, PermanentError, TransientError
from sandbox import certificates
from sandbox.ports import free_ports
from tests.adapters.serving import listening, raw, shown

SECRET = "patient-13207741-token"
LOOPBACK = OutgoingPolicy(loopback_http=True)
PUBLIC = OutgoingPolicy()


class Server:
    """Answers `/status/<code>` and a few oddities, and keeps what it was asked."""

    def __init__(self) -> None:
        self.seen: list[flask.Request] = []
        self.script: list[tuple[int, dict[str, str]]] = []
        self.app = flask.Flask(__name__)
        self.app.before_request(self._remember)
        self.app.add_url_rule("/next", "next", self._next, methods=["GET", "POST"])
        self.app.add_url_rule("/bomb", "bomb", lambda: (gzip.compress(bytes(9_000_000)), {"Content-Encoding": "gzip"}))
        self.app.add_url_rule("/big-hop", "big-hop", lambda: (bytes(9_000_000), 302, {"Location": "/next"}))
        self.app.add_url_rule("/cookie", "cookie", lambda: ("", {"Set-Cookie": "a=b; Path=/"}))
        self.app.add_url_rule("/hop/<int:left>", "hop", self._hop)

    def _remember(self) -> None:
        request = flask.request._get_current_object()  # type: ignore[attr-defined]
        self.seen.append(request)

    def _next(self) -> tuple[str, int, dict[str, str]]:
        status, headers = self.script.pop(0) if self.script else (200, {})
        return '{"ok": true}', status, headers

    def _hop(self, left: int) -> Any:
        return flask.redirect(f"/hop/{left - 1}") if left else f"arrived {flask.request.args}"


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def url(server: Server) -> Iterator[str]:
    with listening(server.app) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def http(pauses: list[float]) -> OutgoingHttp:
    return OutgoingHttp(LOOPBACK, pause=pauses.append)


def entry(address: str, port: int = 443) -> tuple[Any, ...]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return (family, socket.SOCK_STREAM, 6, "", (address, port))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",  # noqa: S104 - refused
        "224.0.0.1", "255.255.255.255", "240.0.0.1", "168.63.129.16", "198.18.0.1", "192.0.2.1",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fec0::1", "ff0e::1", "2001:db8::1",
        "::ffff:8.8.8.8", "::ffff:10.0.0.1", "::8.8.8.8", "64:ff9b::808:808", "64:ff9b:1::a00:1",
        "2002:808:808::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2a00:1450::5efe:808:808",
        "2a00:1450::200:5efe:808:808", "nonsense",
    ],
)  # fmt: skip
def test_it_refuses_addresses_that_are_not_plainly_public(address: str) -> None:
    assert not PUBLIC.allows(address)


def test_it_allows_public_addresses_and_in_the_sandbox_loopback_only() -> None:
    assert PUBLIC.allows("8.8.8.8") and PUBLIC.allows("2a00:1450:4001:830::200e")
    assert LOOPBACK.allows("127.0.0.1") and LOOPBACK.allows("::1")
    assert not any(map(LOOPBACK.allows, ("8.8.8.8", "10.0.0.1", "::ffff:127.0.0.1")))


@pytest.mark.parametrize(
    "text",
    [
        "http://fhir.example/r4", "ftp://fhir.example", "file:///etc/passwd", "//fhir.example", "fhir.example", "",
        "https://user:pw@fhir.example/", "https://fhir.example@evil.example/",
        "https://fhir.example\\@evil/",
        "https://", "https://fhir.example:0/", "https://fhir.example:99999/", "https://[::1", "https://a b/",
        "https://fhir.example/\r\nX: y",
    ],
)  # fmt: skip
def test_it_refuses_urls(text: str) -> None:
    def resolve(*_: Any) -> list[Any]:
        raise AssertionError("never resolved")

    with pytest.raises(PermanentError) as refused:
        OutgoingHttp(PUBLIC, resolve=resolve).request("GET", text)
    assert refused.value.code == "outgoing.refused_url"


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
def test_it_refuses_loopback_in_any_spelling(host: str) -> None:
    with pytest.raises(ConnectorError) as refused:
        OutgoingHttp(PUBLIC).request("GET", f"https://{host}:9/")
    assert refused.value.code == "outgoing.refused_address"


def test_one_bad_address_among_good_ones_refuses_the_name() -> None:
    def resolve(*_: Any) -> list[Any]:
        return [entry("8.8.8.8"), entry("10.0.0.5")]

    with pytest.raises(PermanentError) as refused:
        OutgoingHttp(PUBLIC, resolve=resolve).request("GET", "https://fhir.example/")
    assert refused.value.code == "outgoing.refused_address"


def test_it_resolves_once_and_connects_to_the_address_it_checked(server: Server, url: str) -> None:
    port = int(url.rpartition(":")[2])
    answers = [[entry("127.0.0.1", port)], [entry("10.0.0.5", port)]]
    http = OutgoingHttp(LOOPBACK, resolve=lambda *_: answers.pop(0))
    assert http.request("GET", f"http://fhir.invalid:{port}/next").json() == {"ok": True}
    assert len(answers) == 1
    assert server.seen[0].host == f"fhir.invalid:{port}"


def test_the_certificate_must_carry_the_name_that_was_asked_for(server: Server, tmp_path: Path) -> None:
    made = certificates.make(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(made.cert, made.key)
    with listening(server.app, tls) as port:
        http = OutgoingHttp(LOOPBACK, ca_bundle=str(made.ca), resolve=lambda *_: [entry("127.0.0.1", port)])
        assert http.request("GET", f"https://127.0.0.1:{port}/next").status == 200
        for client, host in ((http, "fhir.invalid"), (OutgoingHttp(LOOPBACK), "127.0.0.1")):
            with pytest.raises(PermanentError) as refused:
                client.request("POST", f"https://{host}:{port}/next")
            assert refused.value.code == "outgoing.untrusted_certificate"


def test_it_ignores_proxies_and_keeps_no_cookies(
    http: OutgoingHttp, server: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    http.request("GET", f"{url}/cookie")
    http.request("GET", f"{url}/cookie")
    assert not any("Cookie" in request.headers for request in server.seen)


@pytest.mark.parametrize("path", ["bomb", "big-hop"])
def test_an_answer_may_not_be_too_large_even_packed_or_redirecting(http: OutgoingHttp, url: str, path: str) -> None:
    with pytest.raises(PermanentError) as refused:
        http.request("GET", f"{url}/{path}", redirects=1)
    assert refused.value.code == "outgoing.too_large"


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_dripping_server_is_cut_off(start: bytes) -> None:
    def drip(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start)
        while not over.wait(0.05):
            connection.sendall(b"a")

    with raw(drip) as port, pytest.raises(TransientError) as cut:
        OutgoingHttp(LOOPBACK, total_s=0.6).request("GET", f"http://127.0.0.1:{port}/{SECRET}")
    assert cut.value.code == "outgoing.timed_out"
    assert SECRET not in shown(cut.value)


def test_redirects_are_returned_unless_asked_for_and_counted(http: OutgoingHttp, server: Server, url: str) -> None:
    assert http.request("GET", f"{url}/hop/1").status == 302
    assert http.request("GET", f"{url}/hop/3", redirects=3).body.startswith(b"arrived")
    assert http.request("GET", f"{url}/hop/4", redirects=3).status == 302
    assert http.request("GET", f"{url}/hop/1", headers={"authorization": "Bearer x"}, redirects=3).status == 302
    server.script = [(307, {"Location": "/next"})]
    assert http.request("POST", f"{url}/next", redirects=3).status == 307


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("http://8.8.8.8/", "outgoing.refused_address"),
        ("file:///etc/passwd", "outgoing.refused_url"),
        ("http://a:b@127.0.0.1/", "outgoing.refused_url"),
    ],
)
def test_every_hop_is_checked(http: OutgoingHttp, server: Server, url: str, location: str, code: str) -> None:
    server.script = [(302, {"Location": location})]
    with pytest.raises(PermanentError) as refused:
        http.request("GET", f"{url}/next", redirects=3)
    assert refused.value.code == code


def test_a_location_that_is_no_url_is_refused(http: OutgoingHttp) -> None:
    def answer(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n")

    with raw(answer) as port, pytest.raises(PermanentError) as refused:
        http.request("GET", f"http://127.0.0.1:{port}/", redirects=3)
    assert refused.value.code == "outgoing.refused_url"


def test_it_stays_at_the_allowed_origin(http: OutgoingHttp, server: Server, url: str) -> None:
    with pytest.raises(PermanentError) as refused:
        http.request("GET", f"{url}/next", allowed_origin="http://127.0.0.1:9/r4")
    assert refused.value.code == "outgoing.refused_origin"
    assert not server.seen
    assert http.request("GET", f"{url}/next", allowed_origin=url).status == 200


def test_it_retries_only_what_may_be_repeated(
    http: OutgoingHttp, server: Server, url: str, pauses: list[float]
) -> None:
    server.script = [(503, {}), (500, {})]
    assert http.request("POST", f"{url}/next", retry=True).status == 200
    assert len(server.seen) == 3 and len(pauses) == 2
    server.script = [(503, {"X-Request-Id": "abc-123"})] * 4
    with pytest.raises(TransientError) as failed:
        http.request("GET", f"{url}/next", retry=True, vendor="cerner")
    assert len(server.seen) == 6
    assert (failed.value.code, failed.value.vendor_status) == ("cerner.unavailable", 503)
    assert failed.value.vendor_reference == "abc-123"


@pytest.mark.parametrize(("status", "ambiguous"), [(429, False), (503, False), (500, True), (504, True)])
def test_what_must_not_be_repeated_is_sent_once(
    http: OutgoingHttp, server: Server, url: str, status: int, ambiguous: bool
) -> None:
    server.script = [(status, {})]
    with pytest.raises(TransientError) as failed:
        http.request("POST", f"{url}/next")
    assert len(server.seen) == 1
    assert isinstance(failed.value, AmbiguousError) is ambiguous


def test_it_honours_short_retry_after_and_hands_on_long_ones(
    http: OutgoingHttp, server: Server, url: str, pauses: list[float]
) -> None:
    server.script = [(429, {"Retry-After": "2"})]
    assert http.request("GET", f"{url}/next", retry=True).status == 200
    assert pauses == [2.0]
    server.script = [(429, {"Retry-After": "60"})]
    with pytest.raises(TransientError) as failed:
        http.request("GET", f"{url}/next", retry=True, vendor="cerner")
    assert (failed.value.code, failed.value.retry_after_s, len(pauses)) == ("cerner.throttled", 60.0, 1)
    server.script = [(429, {"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"})]
    with pytest.raises(TransientError) as failed:
        http.request("GET", f"{url}/next", retry=True)
    assert (failed.value.retry_after_s or 0) > 1e6


def test_no_answer_is_ambiguous_only_when_the_request_went_out(http: OutgoingHttp) -> None:
    def silent(connection: socket.socket, over: threading.Event) -> None:
        over.wait(10)

    def hang_up(connection: socket.socket, over: threading.Event) -> None:
        connection.shutdown(socket.SHUT_RDWR)

    for behave, code, patience in ((silent, "outgoing.timed_out", 0.2), (hang_up, "outgoing.interrupted", 20)):
        with raw(behave) as port:
            for method, kind in (("GET", TransientError), ("POST", AmbiguousError)):
                with pytest.raises(TransientError) as failed:
                    http.request(method, f"http://127.0.0.1:{port}/{SECRET}", data=SECRET, timeout=(5, patience))
                assert (type(failed.value), failed.value.code) == (kind, code)
                assert SECRET not in shown(failed.value)
    (port,) = free_ports(1)
    with pytest.raises(TransientError) as failed:
        http.request("POST", f"http://127.0.0.1:{port}/{SECRET}")
    assert (type(failed.value), failed.value.code) == (TransientError, "outgoing.unreachable")
    assert SECRET not in shown(failed.value)


def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    def resolve(*_: Any) -> list[Any]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(TransientError) as failed:
        OutgoingHttp(PUBLIC, resolve=resolve).request("POST", f"https://{SECRET}.example/{SECRET}")
    assert (type(failed.value), failed.value.code) == (TransientError, "outgoing.unreachable")
    assert SECRET not in shown(failed.value)


def test_errors_and_answers_show_no_url_body_or_token(http: OutgoingHttp, server: Server, url: str) -> None:
    response = http.request("GET", f"{url}/next?q={SECRET}", headers={"Authorization": f"Bearer {SECRET}"})
    assert "ok" not in repr(response)
    with pytest.raises(PermanentError) as unreadable:
        http.request("GET", f"{url}/hop/0?q={SECRET}", vendor="cerner").json()
    server.script = [(500, {"X-Request-Id": f"<{SECRET} {SECRET}>"})]
    with pytest.raises(TransientError) as failed:
        http.request("GET", f"{url}/next?q={SECRET}")
    assert unreadable.value.code == "cerner.unreadable_answer"
    for error in (unreadable.value, failed.value):
        assert SECRET not in shown(error) and url not in shown(error)
