"""Running the checks: of an address before it is a connection, of a connection, and of every connection by night.

The last result of a connection is the row `checks.{connection}` in table Configuration. It holds which finding each
check came to, not the words: those are in the language of whoever reads it.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from connector import clock, visits
from connector.adapters.tables import Row, Write
from connector.checks import fhir
from connector.checks.microsoft import check_microsoft, load
from connector.checks.models import Check, Report, found
from connector.checks.sending import check_sending
from connector.checks.texts import CHECKS
from connector.tenants import CONFIGURATION, Connection, Department, TenantScope

if TYPE_CHECKING:
    from connector.bootstrap import Services

NIGHT_BEGINS = 1
"""O'clock, where the connection's first department is."""
SLOTS = 16
SLOT = timedelta(minutes=15)


def validate_base(
    services: Services,
    scope: TenantScope,
    base: str,
    *,
    environment: Literal["test", "production"],
    patient_base: str | None = None,
    scopes_version: Literal["v1", "v2"] | None = None,
    client_authentication: Literal["client_secret_basic", "private_key_jwt"] = "client_secret_basic",
    departments: tuple[Department, ...] = (),
    release_confirmed: bool = False,
) -> list[Check]:
    """The checks of a FHIR base URL as it was typed, before there is a connection. Stores nothing, raises nothing of
    the vendor's; takes some seconds, and up to a few minutes with a server that answers slowly."""
    typed = base.strip()
    wrong = fhir.malformed(services, typed)
    if wrong is not None:
        return [wrong]
    try:
        subject = Connection(
            id="", name="new", clinic_name="new", contact_phone="+18005550100", environment=environment,
            fhir_base_url=typed, patient_fhir_base_url=(patient_base or "").strip() or None,
            departments=list(departments), client_authentication=client_authentication,
            release_confirmed=release_confirmed,
            scopes_version=scopes_version or services.settings.smart_scopes_version,
        )  # fmt: skip
    except ValidationError as error:
        patient = error.errors()[0]["loc"][0] == "patient_fhir_base_url"
        return [found("patient.base" if patient else "fhir.address", "malformed")]
    return fhir.check_base(services, scope, subject)


def check_connection(
    services: Services, scope: TenantScope, connection: Connection, *, others: frozenset[str] | None = None
) -> Report:
    """Run every check now and remember the result. Raises TransientError only when it cannot be stored."""
    made = fhir.check_base(services, scope, connection, others=others)
    made += check_microsoft(services, scope, connection)
    made.append(load(visits.meetings_of_month(scope), connection))
    made += check_sending(services, scope, connection)
    report = Report(connection_id=connection.id, at=clock.now(), checks=made)
    findings = [[check.id, check.finding, check.values, check.command] for check in made]
    values = {"at": report.at.isoformat(), "findings": json.dumps(findings, separators=(",", ":"))}
    scope.tables.transact(CONFIGURATION, [Write("upsert", Row(scope.tenant_id, _key(connection.id), values))])
    return report


def latest(scope: TenantScope, connection_id: str) -> Report | None:
    """What the last run found; None before the first."""
    row = scope.tables.get(CONFIGURATION, scope.tenant_id, _key(connection_id))
    return None if row is None else _report(row)


def latest_of_all(scope: TenantScope) -> dict[str, Report]:
    """By connection id, of all that were ever checked: one query."""
    rows = scope.tables.query(CONFIGURATION, scope.tenant_id, start="checks.", end="checks/")
    reports = (_report(row) for row in rows)
    return {report.connection_id: report for report in reports}


def due(connection: Connection, last: datetime | None, now: datetime) -> bool:
    """Whether the connection's turn of this night has come since it was last checked. Pure.

    Each has its quarter of an hour between one and five in the morning where it is; what was missed is made up for at
    the next run, and a new connection is checked at once.
    """
    zone = ZoneInfo(connection.departments[0].time_zone) if connection.departments else ZoneInfo("UTC")
    slot = sum(connection.id.encode()) % SLOTS
    turn = now.astimezone(zone).replace(hour=NIGHT_BEGINS, minute=0, second=0, microsecond=0) + slot * SLOT
    if turn > now:
        turn -= timedelta(days=1)
    return last is None or last < turn


def _key(connection_id: str) -> str:
    return f"checks.{connection_id}"


def _report(row: Row) -> Report:
    """Findings that this version of the app no longer knows are left out."""
    listed = json.loads(row.text("findings") or "[]")
    return Report(
        connection_id=row.key.removeprefix("checks."),
        at=datetime.fromisoformat(row.text("at")),
        checks=[
            found(check, finding, command=command, **values)
            for check, finding, values, command in listed
            if check in CHECKS and finding in CHECKS[check].findings
        ],
    )

