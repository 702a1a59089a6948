"""The Flask app of a simulated vendor: routes with the world at hand, every request counted, faults suffered.

A timeout is a real one: the connection stays open and silent until the caller gives up (at most
`World.patience_s`), then it is closed without an answer.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import cast

import flask
from flask import g, request
from flask.typing import ResponseReturnValue
from werkzeug.local import LocalProxy

from sandbox.world import Suffered, World

Refusal = Callable[[int], ResponseReturnValue]
"""The vendor's own error body for a status (429 or 500)."""

world = cast(World, LocalProxy(lambda: flask.current_app.config["WORLD"]))
"""The world of the app that serves the current request."""


def vendor_error(status: int) -> ResponseReturnValue:
    """The error form that Graph and Azure Communication Services share."""
    code = {429: "TooManyRequests"}.get(status, "InternalServerError")
    return flask.jsonify(error={"code": code, "message": f"The request failed with {code}."}), status


def make(
    world: World, vendor: str, routes: flask.Blueprint | None = None, refusal: Refusal = vendor_error
) -> flask.Flask:
    """An app that counts each request under its view's name and lets it suffer the vendor's next fault."""
    app = flask.Flask(__name__)
    app.config["WORLD"] = world
    if routes:
        app.register_blueprint(routes)

    @app.before_request
    def before() -> ResponseReturnValue | None:
        view = request.endpoint or "unknown"
        operation = view.removeprefix(f"{routes.name}.") if routes else view
        world.count(vendor, f"{operation}.by_id" if "_id" in request.args else operation)
        time.sleep(world.latency_s.get(vendor, 0.0))
        fault = world.take_fault(vendor)
        if fault:
            about = request.headers.get("Operation-Id", "") + request.get_data(as_text=True)
            world.suffered.append(Suffered(datetime.now(UTC), vendor, fault, about))
        g.silent = fault == "timeout_after_accept"
        if fault == "timeout":
            return hang_up()
        if fault in ("429", "500"):
            answer = flask.make_response(refusal(int(fault)))
            if fault == "429":
                answer.headers["Retry-After"] = "1"
            return answer
        return None

    @app.after_request
    def after(response: flask.Response) -> flask.Response:
        return hang_up() if g.get("silent", False) else response

    return app


def hang_up() -> flask.Response:
    """Wait for the caller to give up, then close its connection; the returned response is never sent."""
    g.silent = False
    connection = cast(socket.socket, request.environ["werkzeug.socket"])
    until = time.monotonic() + world.patience_s
    with suppress(OSError):  # the caller closed it first, perhaps with a reset
        while (left := until - time.monotonic()) > 0:
            readable, _, _ = select.select([connection], [], [], left)
            if not readable or not connection.recv(65536):
                break
        connection.shutdown(socket.SHUT_RDWR)
    return flask.Response(status=204)
