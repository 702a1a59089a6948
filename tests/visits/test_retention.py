"""What is forgotten, and when: a visit a day after its end, launches and sessions at theirs."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import azure.functions as func
import pytest

from connector import clock
from connector.adapters.tables import Row
from connector.ehr import EhrTokens, EhrUser
from connector.launch import SESSIONS, session, state
from connector.tenants import TenantScope
from connector.visits.presence import put_presence
from connector.visits.retention import blueprint, purge_sessions, purge_visits
from sandbox.azurite import Azurite
from tests.tenants.stamp import build, connected, pinned

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def at_noon() -> Iterator[None]:
    clock.install(lambda: NOW)
    yield
    clock.install(None)


def put(scope: TenantScope, connection: str, key: str, **values: str) -> None:
    scope.tables.insert("Visits", Row(connection, key, values))


def keys(scope: TenantScope, connection: str, table: str = "Visits") -> set[str]:
    return {row.key for row in scope.tables.query(table, connection)}


def ended(hours: float) -> str:
    return (NOW - timedelta(hours=hours)).isoformat()


def test_a_day_after_its_end_every_row_of_a_visit_is_gone_and_younger_ones_stay(azurite: Azurite) -> None:
    services, scope = pinned(azurite)
    one = connected(services, scope).value.id
    for name, hours in ("old", 25), ("young", 23), ("coming", -2):
        put(scope, one, f"o.{name}", organizer="x", created=ended(99), end=ended(hours))
        put(scope, one, f"v.{name}", end=ended(hours))
        put(scope, one, f"m.{name}.p.confirmation.1", state="sent")
        put_presence(scope, one, name, end=datetime.fromisoformat(ended(hours)), joined_at=ended(hours))
    put(scope, one, "o.begun", organizer="x", created=ended(25))  # its meeting was never made
    put(scope, one, "o.beginning", organizer="x", created=ended(1))
    put(scope, one, "v.unmet", end=ended(25))  # nobody needed a meeting
    put(scope, one, "o.moved", organizer="x", created=ended(99), end=ended(25))
    put(scope, one, "v.moved", end=ended(-5))  # the appointment moved after its meeting was made
    put(scope, one, "m.older.p.confirmation.1", state="sent")  # another visit, though its name begins alike
    put(scope, one, "w.old", since=ended(30))
    put(scope, one, "d.20260101T000000Z.m.old.p.reminder.1-15", start=ended(26))  # never sent: sending was off
    put(scope, one, "d.20260101T000000Z.m.coming.p.reminder.1-15", start=ended(-2))
    put_presence(scope, one, "linked", end=datetime.fromisoformat(ended(25)), opened_at=ended(30))  # and never joined
    put_presence(scope, one, "moved", end=datetime.fromisoformat(ended(25)), opened_at=ended(30))
    for n in range(120):
        put(scope, one, f"m.old.p{n:03d}.reminder.24", state="sent")
    stays = {key for key in keys(scope, one) if not {"old", "begun", "unmet", "linked"} & set(key.split("."))}
    assert purge_visits(scope, one) == 4
    assert keys(scope, one) == stays
    assert purge_visits(scope, one) == 0
    clock.install(lambda: NOW + timedelta(hours=2))
    assert purge_visits(scope, one) == 1
    assert not any(".young" in key for key in keys(scope, one))


def test_claims_and_awaited_reports_go_after_a_day_whoever_was_to_end_them(azurite: Azurite) -> None:
    services, scope = pinned(azurite)
    one = connected(services, scope).value.id
    old, young = (f"k.{datetime.now(UTC) - timedelta(hours=hours):%Y%m%dT%H%M%SZ}.abc" for hours in (25, 23))
    put(scope, one, old, items="[]")
    put(scope, one, young, items="[]")
    put(scope, one, "r.abc.1", at=ended(25), sent="[]")
    put(scope, one, "r.def.1", at=ended(23), sent="[]")
    purge_visits(scope, one)
    assert keys(scope, one) == {young, "r.def.1"}


def test_sessions_and_unused_launches_go_when_they_expire(azurite: Azurite) -> None:
    services, scope = pinned(azurite)
    one = connected(services, scope).value
    for _ in range(2):
        state.begin(scope, one.id, "provider")
        session.start(scope, one, "provider", EhrUser("i", "Practitioner/1"), EhrTokens("a", 570, frozenset()))
    clock.install(lambda: NOW + timedelta(days=30))  # they end by real time
    assert purge_sessions(scope, one.id) == 0
    expired = {}
    for row in scope.tables.query(SESSIONS, one.id):
        expired[row.key.partition(".")[0]] = row
    for row in expired.values():
        scope.tables.update(SESSIONS, replace(row, values={**row.values, "expires": int(time.time()) - 1}))
    assert purge_sessions(scope, one.id) == 2
    left = keys(scope, one.id, SESSIONS)
    assert len(left) == 2 and left.isdisjoint(row.key for row in expired.values())


def test_a_row_without_a_time_goes_unless_its_visit_is_still_on(azurite: Azurite) -> None:
    services, scope = pinned(azurite)
    one = connected(services, scope).value.id
    for key in "p.odd", "p.on":
        put(scope, one, key, live="on")
    put(scope, one, "v.on", end=ended(-1))
    assert purge_visits(scope, one) == 1
    assert keys(scope, one) == {"p.on", "v.on"}


def test_the_timer_purges_every_connection_also_of_a_tenant_that_left_the_list(
    azurite: Azurite, caplog: pytest.LogCaptureFixture
) -> None:
    """One that cannot be read ends nobody else's purge."""
    hospitals = sorted((pinned(azurite) for _ in range(3)), key=lambda made: made[1].tenant_id)
    ones = [(scope, connected(services, scope).value.id) for services, scope in hospitals]
    for scope, one in ones:
        put(scope, one, "v.old", end=ended(25))
    (first, unreadable), *others = ones
    put(first, unreadable, "v.odd", end="whenever")
    app = func.FunctionApp()
    app.register_functions(blueprint(lambda: build(azurite)))
    (function,) = app.get_functions()
    with caplog.at_level("INFO", "connector"):
        function.get_user_function()(None)
    assert [keys(scope, one) for scope, one in others] == [set(), set()]
    assert keys(first, unreadable) == {"v.odd", "v.old"}
    assert any(line.startswith("purge.failed") and f"connection={unreadable}" in line for line in caplog.messages)
