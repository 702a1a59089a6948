"""Log lines hold constant names and our own ids, whatever is handed to them."""

import io
import logging
import socket
import threading
from collections.abc import Iterator

import pytest

from connector import logs
from connector.adapters.http import OutgoingHttp, OutgoingPolicy
from tests.adapters.serving import raw

PRIVATE = "Mirabelka Testonby"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What root's handlers print after `protect`."""
    root, text = logging.getLogger(), io.StringIO()
    kept, level = root.handlers[:], root.level
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG)
    logs.protect()
    yield text
    root.handlers[:], root.level = kept, level


def test_an_event_is_one_line_of_ids_and_counts(written: io.StringIO) -> None:
    logs.event("visit.joined", connection="abcdefgh2", count=3, ok=True, at="2026-11-23T12:00:00+00:00", left_out=None)
    assert written.getvalue() == (
        "INFO visit.joined connection=abcdefgh2 count=3 ok=True at=2026-11-23T12:00:00+00:00\n"
    )


@pytest.mark.parametrize("value", [PRIVATE, "https://ehr.example/Patient?name=x", "a/b", "a@b.example", "x\ny", "ø",
                                   "a" * 161, "{}", "a=b", "a&b"])
def test_a_value_that_is_no_id_is_replaced(written: io.StringIO, value: str) -> None:
    logs.event("visit.joined", value=value)
    assert written.getvalue() == "INFO visit.joined value=?\n"


def test_a_failure_says_type_and_place_and_never_the_text(written: io.StringIO) -> None:
    try:
        raise ValueError(PRIVATE)
    except ValueError as error:
        logs.failure("request.error", error, reference="ab12")
    line = written.getvalue()
    assert line.startswith("ERROR request.error error=ValueError at=test_a_failure_says_")
    assert "reference=ab12" in line
    assert "Mirabelka" not in line


def test_exceptions_of_anybody_print_without_their_text(written: io.StringIO) -> None:
    try:
        try:
            raise KeyError(PRIVATE)
        except KeyError as cause:
            raise RuntimeError(f"https://ehr.example/{PRIVATE}") from cause
    except RuntimeError:
        logging.getLogger("somebody").exception("it failed")
    line = written.getvalue()
    assert "ERROR it failed\nRuntimeError test_exceptions_of_anybody" in line
    assert "Mirabelka" not in line and "ehr.example" not in line


def test_a_record_that_was_formatted_before_keeps_no_text_either(written: io.StringIO) -> None:
    """Another handler, asked first, leaves its rendering in the record."""
    early = logging.StreamHandler(io.StringIO())
    logging.getLogger().handlers.insert(0, early)
    try:
        raise RuntimeError(PRIVATE)
    except RuntimeError:
        logging.getLogger("somebody").exception("it failed")
    assert "Mirabelka" not in written.getvalue()


def test_a_malformed_answer_of_a_vendor_is_not_quoted(written: io.StringIO) -> None:
    def behave(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{PRIVATE}\r\n\r\n{{}}".encode())

    with raw(behave) as port:
        http = OutgoingHttp(OutgoingPolicy(loopback_http=True))
        http.request("GET", f"http://127.0.0.1:{port}/Patient", params={"name": PRIVATE})
    assert written.getvalue() == ""


@pytest.mark.parametrize("name", ["azure.core.pipeline", "urllib3.connectionpool", "msal", "requests", "httpx"])
def test_libraries_that_log_addresses_are_quiet(written: io.StringIO, name: str) -> None:
    logging.getLogger(name).info("GET /Patient?name=%s", PRIVATE)
    logging.getLogger(name).debug("GET /Patient?name=%s", PRIVATE)
    assert written.getvalue() == ""
