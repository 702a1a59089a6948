"""Results are remembered, and every connection has its turn each night whatever becomes of the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from connector import checks, clock
from connector.adapters.tables import Row, Write
from connector.checks import nightly, run
from connector.tenants import CONFIGURATION, Connection, Department
from tests.checks.conftest import Tenant
from tests.tenants import stamp

CHICAGO = Department(name="Family Medicine", location_ids=["21570461"], time_zone="America/Chicago")
NOON = datetime(2031, 7, 10, 17, 0, tzinfo=UTC)


def stored(tenant: Tenant, **changes: object) -> Connection:
    made: Connection = stamp.connected(tenant.services, tenant.scope, **changes).value
    return made


def test_the_last_result_is_remembered_without_words(tenant: Tenant) -> None:
    connection = stored(tenant)
    assert checks.latest(tenant.scope, connection.id) is None
    report = checks.check_connection(tenant.services, tenant.scope, connection)
    assert report.state == "fail"
    found = {check.id: check.finding for check in report.checks}
    assert (found["fhir.address"], found["microsoft.consent"]) == ("unreachable", "unanswered")
    assert checks.latest(tenant.scope, connection.id) == report
    assert checks.latest_of_all(tenant.scope) == {connection.id: report}
    row = tenant.scope.tables.get(CONFIGURATION, tenant.scope.tenant_id, f"checks.{connection.id}")
    assert row is not None and "reached" not in row.text("findings") and set(row.values) == {"at", "findings"}


def test_findings_of_another_version_are_left_out(tenant: Tenant) -> None:
    findings = '[["fhir.address","reached",{"host":"x"},""],["gone","reached",{},""],["release","gone",{},""]]'
    values = {"at": NOON.isoformat(), "findings": findings}
    tenant.scope.tables.transact(
        CONFIGURATION, [Write("upsert", Row(tenant.scope.tenant_id, "checks.a1", values))]
    )
    report = checks.latest(tenant.scope, "a1")
    assert report is not None and [check.id for check in report.checks] == ["fhir.address"]


def test_counts_of_meetings_are_read_where_visits_write_them(tenant: Tenant) -> None:
    connection = stored(tenant)
    month = f"{clock.now():%Y%m}"
    for name, count in ((f"meetings.{month}.{connection.organizers[0]}", 1700), (f"meetings.190001.{'x' * 36}", 9)):
        row = Row(tenant.scope.tenant_id, name, {"count": count})
        tenant.scope.tables.transact(CONFIGURATION, [Write("upsert", row)])
    report = checks.check_connection(tenant.services, tenant.scope, connection)
    assert next(check for check in report.checks if check.id == "microsoft.load").finding == "high"


def test_each_connection_has_its_quarter_of_an_hour_at_night() -> None:
    base = Connection(id="a0", **stamp.wanted().model_dump())
    turns = {}
    for number in range(200):
        connection = base.model_copy(update={"id": f"a{number:04}", "departments": [CHICAGO]})
        assert run.due(connection, None, NOON), "a new one at once"
        hours = [minute / 60 for minute in range(0, 24 * 60, 5)
                 if run.due(connection, NOON, NOON + timedelta(minutes=minute))]
        local = NOON.astimezone(run.ZoneInfo("America/Chicago")) + timedelta(hours=hours[0])
        turns[connection.id] = local.hour + local.minute / 60
        assert hours[-1] > 23.9, "due until it was done"
        done = NOON + timedelta(hours=hours[0], minutes=1)
        assert not run.due(connection, done, done + timedelta(hours=20)) and run.due(
            connection, done, done + timedelta(days=1)
        )
    assert min(turns.values()) >= 1 and max(turns.values()) < 5 and len(set(turns.values())) == run.SLOTS


def test_one_tenants_trouble_does_not_stop_the_others(
    new_tenant: Callable[..., Tenant], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = new_tenant(), new_tenant()
    both = {tenant.scope.tenant_id: ("*",) for tenant in (bad, good)}
    services = replace(good.services, settings=replace(good.services.settings, tenants=both))
    services = replace(services, directory=type(services.directory)(services.settings, services.storage))
    first = stored(bad, name="secret name")
    row = bad.scope.tables.get(CONFIGURATION, bad.scope.tenant_id, f"connection.{first.id}")
    assert row is not None
    broken = Row(row.partition, row.key, {"schema": 1, "body": '{"name": "secret name"}'})
    bad.scope.tables.transact(CONFIGURATION, [Write("upsert", broken)])
    second = stored(good)
    assert nightly.check_due(services) == 1
    assert checks.latest(good.scope, second.id) is not None
    assert "checks.failed" in caplog.text and "secret name" not in caplog.text
    assert nightly.check_due(services) == 0, "once a night"


def test_a_run_ends_before_the_host_ends_it(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(tenant)
    monkeypatch.setattr(nightly, "RUN_S", -1)
    assert nightly.check_due(tenant.services) == 0
