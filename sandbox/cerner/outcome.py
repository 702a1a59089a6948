"""How simulated Millennium says no: an OperationOutcome with one issue (Cerner FHIR R4, "Errors")."""

from __future__ import annotations

import json

import flask


class FhirError(Exception):
    """Answered as `outcome(status, code, text)`."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.text = text


def outcome(status: int, code: str, text: str) -> flask.Response:
    issue = {"severity": "fatal" if status >= 500 else "error", "code": code, "details": {"text": text}}
    return flask.Response(json.dumps({"resourceType": "OperationOutcome", "issue": [issue]}), status,
                          content_type="application/fhir+json;charset=UTF-8")
