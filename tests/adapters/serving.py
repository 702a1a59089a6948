"""Loopback servers of the adapter tests: Flask apps, and raw ones that misbehave below HTTP."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

from flask import Flask
from werkzeug.serving import make_server

from connector.errors import ConnectorError


@contextlib.contextmanager
def listening(app: Flask, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port on which `app` answers."""
    server = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=tls)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def raw(behave: Callable[[socket.socket, threading.Event], None]) -> Iterator[int]:
    """The port of a server that reads one request and then does what `behave` says until the event is set."""
    over = threading.Event()

    def run(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.recv(65536)
                    behave(connection, over)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=run, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def shown(error: BaseException) -> str:
    """Everything that a log could show of an error: it, its attributes, and what it was raised from."""
    texts = []
    current: BaseException | None = error
    while current is not None:
        texts += [str(current), repr(current), repr(vars(current))]
        current = current.__cause__ or current.__context__
    assert isinstance(error, ConnectorError)
    return " ".join(texts)
