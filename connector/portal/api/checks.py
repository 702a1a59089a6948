"""Checks: of an address before it is a connection, of a connection, and of the whole chain."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from connector import checks
from connector.checks import Check, Report
from connector.errors import RefusedError
from connector.portal.api.operations import Call, Registry
from connector.tenants import Department

api = Registry()
ONE = "/connections/{connection}"
COST = 30
"""Of the rate limit: each asks the EHR and Microsoft some ten times."""


class BaseCheckInput(BaseModel):
    """A FHIR base URL as it was typed, with what is meant to be chosen for it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    fhir_base_url: Annotated[str, StringConstraints(max_length=300)]
    patient_fhir_base_url: Annotated[str, StringConstraints(max_length=300)] | None = None
    environment: Literal["test", "production"]
    scopes_version: Literal["v1", "v2"] | None = None
    client_authentication: Literal["client_secret_basic", "private_key_jwt"] = "client_secret_basic"
    departments: list[Department] = []
    release_confirmed: bool = False


class SelfTestInput(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    number: Annotated[str, StringConstraints(strip_whitespace=True, max_length=30)] = ""
    """Your own, for one text; it is not kept. Empty: no text is sent."""


class CheckResult(BaseModel):
    state: Literal["pass", "warn", "fail"]
    """The worst of all."""
    checks: list[Check]


@api.operation("POST", "/checks", "Check a FHIR base URL before it is a connection; nothing is stored", cost=COST)
def checks_of_base(call: Call, body: BaseCheckInput) -> CheckResult:
    found = checks.validate_base(
        call.services,
        call.scope,
        body.fhir_base_url,
        environment=body.environment,
        patient_base=body.patient_fhir_base_url,
        scopes_version=body.scopes_version,
        client_authentication=body.client_authentication,
        departments=tuple(body.departments),
        release_confirmed=body.release_confirmed,
    )
    return _result(found)


@api.operation("GET", f"{ONE}/checks", "What the last run of the checks found; they run every night")
def checks_latest(call: Call) -> Report:
    report = checks.latest(call.scope, call.connection.id)
    if report is None:
        raise RefusedError("checks.none", "The checks have not run yet. Run them.", status=404, title="Not run yet")
    return _told(report)


@api.operation("POST", f"{ONE}/checks", "Run the checks now; takes seconds, minutes with a slow EHR", cost=COST)
def checks_run(call: Call) -> Report:
    return _told(checks.check_connection(call.services, call.scope, call.connection))


@api.operation("POST", f"{ONE}/self-test", "Try the whole chain with no patient; nothing of it stays", cost=COST)
def checks_self_test(call: Call, body: SelfTestInput) -> CheckResult:
    return _result(checks.self_test(call.services, call.scope, call.connection, body.number, call.actor))


def _told(report: Report) -> Report:
    return report.model_copy(update={"checks": [check.formatted() for check in report.checks]})


def _result(found: list[Check]) -> CheckResult:
    states = {check.state for check in found}
    worst: Literal["pass", "warn", "fail"] = "fail" if "fail" in states else "warn" if "warn" in states else "pass"
    return CheckResult(state=worst, checks=[check.formatted() for check in found])
