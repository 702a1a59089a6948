"""The device test `/j/{token}/test`, on the day or days ahead: the page tries, one word comes back.

Supported browsers: facts of Microsoft's "Join Teams meetings from a browser" for appointments, latest version and two
back of Chrome, Edge and Safari.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import azure.functions as func

from connector import clock, flood, logs, web
from connector.errors import RefusedError
from connector.join_link import scope_of
from connector.visits.doorway import doorway, here, language_of, reserve, seen, threshold
from connector.visits.meeting import visit_key

if TYPE_CHECKING:
    from connector.bootstrap import Services

RESULTS = frozenset({
    "ok", "browser_old", "browser_other", "camera_denied", "camera_none", "camera_busy", "microphone_denied",
    "microphone_none", "microphone_busy", "microphone_silent", "speaker_unheard", "network_slow",
})  # fmt: skip
"""All that ever leaves the device: of several faults the first that would keep the visit from working."""
_SAMPLE_BYTES = 256 * 1024


def blueprint(services: Callable[[], Services]) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("patient_test")
    @bp.route(route="j/{token}/test", methods=["GET"])
    @web.page_errors("patient", "patient_error.html")
    def patient_test(req: func.HttpRequest) -> func.HttpResponse:
        door = threshold(services(), req)
        return web.page(
            "patient_test.html",
            language=language_of(services(), req, door),
            here=here(req),
            address=f"{here(req)}/test",
            clinic=door.connection.clinic_name,
            phone=door.connection.contact_phone,
        )

    @bp.function_name("patient_test_post")
    @bp.route(route="j/{token}/test", methods=["POST"])
    @web.answers_with_problem
    def patient_test_post(req: func.HttpRequest) -> func.HttpResponse:
        web.require_same_origin(req, services().settings.public_url)
        said = web.json_body(req)
        result = said.get("result") if isinstance(said, dict) else None
        if not isinstance(result, str) or result not in RESULTS:
            raise RefusedError("visit.not_a_result", "This is not a result of the device test.", status=422)
        door = doorway(services(), req, doing="test")
        if door.stage == "early" or door.joinable:
            old = {"browser": "old"} if result.startswith("browser_") else {}
            seen(door, test=result, tested_at=clock.now().isoformat(), **old)
            logs.event("visit.device_tested", connection=door.connection.id, visit=door.visit, result=result)
        return web.json_response({"result": result})

    @bp.function_name("patient_speed")
    @bp.route(route="j/{token}/speed", methods=["GET"])
    @web.answers_with_problem
    def patient_speed(req: func.HttpRequest) -> func.HttpResponse:
        """Bytes to time, for links of ours only, and not without end: traffic costs."""
        token = reserve(services(), req)
        scope = scope_of(services().directory, token)
        if not flood.within(scope, f"speed.{visit_key(scope, token.connection_id, token.appointment_id)}"):
            raise flood.too_many()
        return web.respond(_sample(), mimetype="application/octet-stream")

    return bp


@lru_cache(maxsize=1)
def _sample() -> bytes:
    """Nothing that a proxy could compress."""
    return secrets.token_bytes(_SAMPLE_BYTES)
