"""Millennium's Appointment PATCH: status, the patient's answer, the links of the virtual meeting rooms.

Source: Cerner (Oracle Health) FHIR R4 documentation, "Patch Appointment"; RFC 6902. In PATCH paths room 0 is
the provider's and room 1 the patient's, the other way round than in a read.
"""

from __future__ import annotations

import re

from flask import request

from sandbox.cerner import appointments
from sandbox.cerner.outcome import FhirError
from sandbox.world import Hospital, Json, World

_TRANSITIONS = {
    "proposed": {"booked", "cancelled"}, "booked": {"arrived", "checked-in", "cancelled"},
    "arrived": {"checked-in", "cancelled"}, "checked-in": {"fulfilled", "cancelled"},
}
_ROOM = "/contained/{}/telecom/0/{}"
_PROVIDER, _PATIENT, _START, _END = (_ROOM.format(0, "value"), _ROOM.format(1, "value"),
                                     _ROOM.format(0, "period/start"), _ROOM.format(0, "period/end"))
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_LONGEST_URL = 255


def patch(world: World, hospital: Hospital, appointment_id: str, *, can_read: bool) -> str:
    """Carry out the request's JSON Patch; returns the new version. `can_read`: the token may read, too."""
    if request.mimetype != "application/json-patch+json":
        raise FhirError(415, "not-supported", "Content-Type must be application/json-patch+json")
    operations = _operations(request.get_json(force=True, silent=True))
    with world.lock:
        resource = world.resources[hospital.ehr_tenant].get(("Appointment", appointment_id))
        if resource is None:
            raise FhirError(404, "not-found", "Not Found")
        _check_version(resource, world.mischief)
        if any(path.startswith("/contained/") for path in operations):
            if not can_read:
                raise FhirError(403, "forbidden", "Appointment read and write are needed for video links")
            _link(world, hospital, resource, operations)
        elif "/status" in operations:
            _set_status(world, hospital, resource, operations)
        elif set(operations) == {"/patient-status"}:
            _accept(world, hospital, resource, operations["/patient-status"])
        else:
            raise FhirError(422, "business-rule", "The operation is not supported")
        return str(world.resources[hospital.ehr_tenant]["Appointment", appointment_id]["meta"]["versionId"])


def _operations(body: object) -> dict[str, Json]:
    """Operations by path."""
    if not isinstance(body, list) or not body or not all(
            isinstance(one, dict) and {"op", "path", "value"} <= one.keys() for one in body):
        raise FhirError(400, "invalid", "The body must be a JSON Patch")
    if len({one["path"] for one in body}) != len(body):
        raise FhirError(422, "business-rule", "A path may be changed once")
    return {one["path"]: one for one in body}


def _check_version(resource: Json, mischief: set[str]) -> None:
    expected = request.headers.get("If-Match")
    if not expected:
        raise FhirError(412, "conflict", "If-Match is required")
    if expected != f'W/"{resource["meta"]["versionId"]}"':
        raise FhirError(409, "conflict", "The version is not current")
    if "locked" in mischief:
        raise FhirError(423, "lock-error", "The appointment is being modified")
    if "dependency" in mischief:
        raise FhirError(424, "processing", "A dependent step failed")


def _link(world: World, hospital: Hospital, resource: Json, operations: dict[str, Json]) -> None:
    if operations.keys() != {_PROVIDER, _PATIENT, _START, _END}:
        raise FhirError(422, "business-rule", "Both links, period start and period end are needed together")
    kinds = {one["op"] for one in operations.values()}
    if kinds not in ({"add"}, {"replace"}):
        raise FhirError(422, "business-rule", "The operations must be all add or all replace")
    if "contained" not in resource or resource["status"] == "cancelled":
        raise FhirError(422, "business-rule", "The appointment takes no video links")
    linked = any("telecom" in room for room in resource["contained"])
    if linked and kinds == {"add"}:
        raise FhirError(409, "conflict", "The video visit has links")
    if not linked and kinds == {"replace"}:
        raise FhirError(422, "business-rule", "The video visit has no links to replace")
    provider, patient, start, end = (str(operations[path]["value"])
                                     for path in (_PROVIDER, _PATIENT, _START, _END))
    too_long = max(len(provider), len(patient)) > _LONGEST_URL
    if too_long or not (_INSTANT.fullmatch(start) and _INSTANT.fullmatch(end)):
        raise FhirError(422, "business-rule", "A link is too long or a period is no instant")
    with appointments.changing(world, hospital.key, resource["id"], links=True) as changed:
        appointments.link_rooms(changed, provider, patient, start, end)


def _set_status(world: World, hospital: Hospital, resource: Json, operations: dict[str, Json]) -> None:
    status = operations["/status"]
    reason = operations.get("/cancelationReason")
    cancelling = status["value"] == "cancelled"
    extra = len(operations) - 1 - (reason is not None)
    if status["op"] != "replace" or extra or (reason and not cancelling):
        raise FhirError(422, "business-rule", "The operations do not go together")
    if status["value"] not in _TRANSITIONS.get(resource["status"], set()):
        raise FhirError(422, "business-rule", f"{resource['status']} cannot become {status['value']}")
    if cancelling:
        appointments.cancel(world, hospital.key, resource["id"], reason["value"] if reason else None)
        return
    with appointments.changing(world, hospital.key, resource["id"]) as changed:
        changed["status"] = status["value"]


def _accept(world: World, hospital: Hospital, resource: Json, operation: Json) -> None:
    def of_patient(row: Json) -> Json:
        found: Json = next(one for one in row["participant"]
                           if one.get("type", [{}])[0].get("text") == "Patient")
        return found

    asked = (operation["op"], operation["value"])
    state = (resource["status"], of_patient(resource)["status"])
    if asked != ("replace", "accepted") or state != ("booked", "tentative"):
        raise FhirError(422, "business-rule", "Only a tentative patient of a booked appointment can accept")
    with appointments.changing(world, hospital.key, resource["id"]) as changed:
        of_patient(changed)["status"] = "accepted"
