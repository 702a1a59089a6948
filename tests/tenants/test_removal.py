"""A deleted connection is gone at once, nothing of it is sent, and every row of it goes, whatever dies meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connector import bootstrap, clock, launch, tenants
from connector.adapters.tables import Row, Tables, Write
from connector.ehr import EhrUser
from connector.errors import RefusedError, TransientError
from connector.tenants import CredentialInput, TenantScope, Versioned
from sandbox.azurite import Azurite
from tests.tenants.stamp import ACTOR, BASE, connected, pinned

KINDS = ("v.1", "d.1", "d.2", "o.1", "p.1", "m.1", "k.1", "b.brake", "lease.discover")
Begun = tuple[bootstrap.Services, TenantScope, Versioned[Any]]


@pytest.fixture
def begun(azurite: Azurite) -> Iterator[Begun]:
    """A connection with rows of every kind, and at an hour that a test moves."""
    services, scope = pinned(azurite)
    made = connected(services, scope)
    secret = CredentialInput(client_id="a", client_secret="a-good-secret")  # type: ignore[arg-type]
    made = tenants.set_credential(scope, made.value.id, made.etag, "system", secret, ACTOR)
    launch.add_link(scope, made.value.id, EhrUser("https://ehr.example", "Practitioner/1"), "oid")
    scope.tables.insert("Sessions", Row(made.value.id, "visit.x", {"expires": 1}))
    scope.tables.insert(tenants.CONFIGURATION, Row(scope.tenant_id, f"checks.{made.value.id}"))
    fill(scope, made.value.id)
    yield services, scope, made
    clock.install(None)


def fill(scope: TenantScope, connection_id: str, more: int = 0) -> None:
    rows = [Row(connection_id, key) for key in (*KINDS, *(f"m.{n}" for n in range(10, 10 + more)))]
    for first in range(0, len(rows), 100):
        scope.tables.transact("Visits", [Write("upsert", row) for row in rows[first : first + 100]])


def later(minutes: float) -> None:
    moment = datetime.now(UTC) + timedelta(minutes=minutes)
    clock.install(lambda: moment)


def finish(services: bootstrap.Services, scope: TenantScope) -> int:
    return tenants.finish_deletions(services.directory, scope, until=time.monotonic() + 60)


def left(scope: TenantScope, connection_id: str) -> list[str]:
    """Every row of any table that is of this connection, but for its history."""
    tables = scope.tables
    rows = [row for table in ("Visits", "Sessions", "Links") for row in tables.query(table, connection_id)]
    rows += [row for row in tables.query(tenants.CONFIGURATION, scope.tenant_id)
             if not row.key.startswith("audit.") and connection_id in f"{row.key} {row.values}"]
    rows += [row for row in [tables.get(tenants.DIRECTORY, "connection", connection_id)] if row]
    return [row.key for row in rows]


def test_what_will_go_is_counted_first(begun: Begun) -> None:
    _, scope, made = begun
    told = tenants.consequences(scope, made.value.id)
    assert told.model_dump() == {"visits": 1, "planned_messages": 2, "user_links": 1, "open_sessions": 1}
    with pytest.raises(RefusedError) as refused:
        tenants.consequences(pinned_elsewhere(scope), made.value.id)
    assert refused.value.status == 404


def pinned_elsewhere(scope: TenantScope) -> TenantScope:
    return TenantScope("another", scope.region, scope.tables, scope.queues, scope._wrapper)


def test_it_is_gone_at_once_and_its_base_is_free(begun: Begun) -> None:
    services, scope, made = begun
    tenants.delete_connection(scope, made.value.id, made.etag, ACTOR)
    assert tenants.connections(scope) == []
    for ask in (lambda: tenants.connection(scope, made.value.id),
                lambda: tenants.delete_connection(scope, made.value.id, made.etag, ACTOR),
                lambda: tenants.consequences(scope, made.value.id)):
        with pytest.raises(RefusedError) as refused:
            ask()
        assert refused.value.status == 404
    again = connected(services, scope)
    assert (again.value.fhir_base_url, again.value.id == made.value.id) == (BASE, False)
    newest = tenants.history(scope, made.value.id).items[0]
    assert (newest.action, newest.actor, newest.restorable) == ("connection.deleted", ACTOR.object_id, False)
    assert [row.key for row in scope.tables.query(tenants.CONFIGURATION, scope.tenant_id, start="credential.")
            if row.key.startswith("credential.")] == []


def test_every_row_goes_at_once_and_the_mark_when_no_worker_can_remember_it(begun: Begun) -> None:
    services, scope, made = begun
    other = connected(services, scope, fhir_base_url=BASE + "-other")
    fill(scope, other.value.id)
    tenants.delete_connection(scope, made.value.id, made.etag, ACTOR)
    assert finish(services, scope) == 0
    assert sorted(left(scope, made.value.id)) == sorted(
        [made.value.id, f"checks.{made.value.id}", f"connection.{made.value.id}"])
    fill(scope, made.value.id)  # a worker that had read it before
    later(16)
    assert finish(services, scope) == 1
    assert left(scope, made.value.id) == []
    assert finish(services, scope) == 0
    assert len(left(scope, other.value.id)) == len(KINDS) + 3
    with pytest.raises(RefusedError) as refused:
        services.directory.scope_of_connection(made.value.id)
    assert refused.value.status == 404


def test_a_run_that_dies_anywhere_is_taken_up_by_the_next(begun: Begun, monkeypatch: pytest.MonkeyPatch) -> None:
    services, scope, made = begun
    fill(scope, made.value.id, more=250)
    tenants.delete_connection(scope, made.value.id, made.etag, ACTOR)
    later(16)
    transact, calls, deaths = Tables.transact, 0, 0

    def dying(self: Tables, table: str, writes: Any) -> None:
        """Dies at each call once: before the write when it is even, after it when it is odd."""
        nonlocal calls, deaths
        calls += 1
        if calls % 2 == 0:
            deaths += 1
            if deaths % 2:
                transact(self, table, writes)
            raise TransientError("storage.unreachable")
        transact(self, table, writes)

    monkeypatch.setattr(Tables, "transact", dying)
    for _ in range(20):
        with suppress(TransientError):
            finish(services, scope)
    assert deaths > 3 and left(scope, made.value.id) == []


def test_it_stops_when_its_time_is_over(begun: Begun) -> None:
    services, scope, made = begun
    tenants.delete_connection(scope, made.value.id, made.etag, ACTOR)
    later(16)
    assert tenants.finish_deletions(services.directory, scope, until=time.monotonic() - 1) == 0
    assert len(left(scope, made.value.id)) > len(KINDS)


def test_only_the_version_that_was_read_is_deleted(begun: Begun) -> None:
    _, scope, made = begun
    changed = tenants.change_connection(scope, made.value.id, made.etag, tenants.ConnectionPatch(name="Other"), ACTOR)
    with pytest.raises(RefusedError) as refused:
        tenants.delete_connection(scope, made.value.id, made.etag, ACTOR)
    assert refused.value.status == 412
    assert tenants.connection(scope, made.value.id) == changed
