"""Changing a Cerner Appointment: the links of its video rooms, its status, the patient's answer.

Source: Oracle Health Millennium, "Patch an Appointment" (JSON Patch, RFC 6902; If-Match with the version; in patch
paths room 0 is the provider's and room 1 the patient's, the other way round than in a read).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from connector.adapters.cerner.fhir import TokenSource, refused
from connector.adapters.cerner.parse import RESOURCE_ID
from connector.adapters.http import OutgoingHttp, Response, origin
from connector.ehr import Appointment
from connector.errors import PermanentError, TransientError

LONGEST_URL = 255
_CHANGED = (409, 412)
_BUSY = {423: "cerner.locked", 424: "cerner.dependency_failed"}


class AppointmentWriter:
    """One FHIR base, written to with one token. Each method changes the version that was read, or nothing.

    Raises PermanentError `cerner.version_changed` (409, 412: read again), `cerner.change_refused` (422: the EHR does
    not take it for this appointment), `cerner.insufficient_scope`; TransientError `cerner.locked` (423),
    `cerner.dependency_failed` (424) and the like; AmbiguousError when no answer came: read to see.
    """

    def __init__(self, http: OutgoingHttp, fhir_base: str, token: TokenSource) -> None:
        http.policy.check_url(fhir_base)
        self._http = http
        self._base = fhir_base.rstrip("/")
        self._token = token

    def link_rooms(self, appointment: Appointment, *, provider: str, patient: str) -> None:
        """Put both links, good for the time of the visit, into its rooms: all four values together, as Cerner wants."""
        if appointment.start is None or max(len(provider), len(patient)) > LONGEST_URL:
            raise PermanentError("cerner.change_refused")
        operation = "replace" if appointment.room_links else "add"
        values = {
            "0/telecom/0/value": provider,
            "1/telecom/0/value": patient,
            "0/telecom/0/period/start": _instant(appointment.start),
            "0/telecom/0/period/end": _instant(appointment.end or appointment.start),
        }
        self._patch(
            appointment,
            [{"op": operation, "path": f"/contained/{path}", "value": value} for path, value in values.items()],
        )

    def set_status(self, appointment: Appointment, status: str) -> None:
        """`arrived` changes patient tracking only, and is taken of a booked appointment."""
        self._patch(appointment, [{"op": "replace", "path": "/status", "value": status}])

    def accept(self, appointment: Appointment) -> None:
        """The patient confirms; taken of a booked appointment whose patient is tentative."""
        self._patch(appointment, [{"op": "replace", "path": "/patient-status", "value": "accepted"}])

    def _patch(self, appointment: Appointment, operations: list[dict[str, Any]]) -> None:
        if not RESOURCE_ID.fullmatch(appointment.id):
            raise PermanentError("cerner.invalid_id")
        token = self._token()
        response = self._send(appointment, operations, token)
        if response.status == 401:
            renewed = self._token(renew=True)
            if renewed != token:
                response = self._send(appointment, operations, renewed)
        if response.status < 300:
            return
        about = {"vendor_status": response.status, "vendor_reference": response.reference}
        if response.status in _CHANGED:
            raise PermanentError("cerner.version_changed", **about)  # type: ignore[arg-type]
        if response.status in _BUSY:
            raise TransientError(_BUSY[response.status], **about)  # type: ignore[arg-type]
        if response.status == 422:
            raise PermanentError("cerner.change_refused", **about)  # type: ignore[arg-type]
        raise refused(response)

    def _send(self, appointment: Appointment, operations: list[dict[str, Any]], token: str) -> Response:
        return self._http.request(
            "PATCH",
            f"{self._base}/Appointment/{quote(appointment.id, safe='')}",
            headers={
                "Accept": "application/fhir+json",
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/json-patch+json",
                "If-Match": f'W/"{appointment.version}"',
            },
            json=operations,
            vendor="cerner",
            allowed_origin=origin(self._base),
        )


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
