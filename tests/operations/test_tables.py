"""Operators' commands on the tables: keys wrapped anew, backup and restore, erasing a visit and a tenant."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import azure.functions as func
import pytest

from connector import bootstrap, clock, messages, settings, visits
from connector.adapters.tables import Row, Write
from connector.errors import RefusedError
from connector.keys import NotOpened
from connector.launch import SESSIONS
from connector.messages import brakes, limits, optouts
from connector.operations import backup, erase, keys, ownership
from connector.regions import Region
from connector.tenants import (
    CONFIGURATION,
    CredentialInput,
    SenderInput,
    TenantScope,
    add_sender,
    connection,
    forget_number,
    own_credential,
    set_credential,
    upkeep_blueprint,
)
from connector.visits import visit_key
from sandbox import stamp as sandbox_stamp
from sandbox.azurite import Azurite
from tests.tenants import stamp

VISITS = "Visits"


# keys


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Azurite]:
    """Of its own, for what works on a whole region."""
    with Azurite(tmp_path / "azurite") as own:
        yield own


def stored(scope: TenantScope) -> list[tuple[str, str]]:
    found = [(table, row) for table in scope.tables.names() for row in scope.tables.scan(table)]
    return sorted((table, f"{row.partition} {row.key} {sorted(row.values.items())}") for table, row in found)


def test_after_a_re_key_the_older_wrapping_key_is_needed_no_more(storage: Azurite) -> None:
    old, new = sandbox_stamp.fresh_key("sandbox-old"), sandbox_stamp.fresh_key("sandbox-new")
    one, two = stamp.tenant_id(), stamp.tenant_id()

    def with_keys(*listed: str) -> tuple[bootstrap.Services, TenantScope]:
        services = stamp.build(storage, one, two, CONNECTOR_WRAPPING_KEYS=",".join(listed))
        return services, services.directory.scope(one)

    services = stamp.build(storage, one, two, CONNECTOR_WRAPPING_KEYS=old)
    scope = services.directory.pin(one, Region.AMERICAS)
    services.directory.pin(two, Region.AMERICAS).index("optout", "+15555550100")
    named = scope.index("visit", "a", "1"), scope.index("optout", "+15555550100")
    made = stamp.connected(services, scope)
    secret = CredentialInput(client_id="c", client_secret="s3cret-of-the-ehr", method="client_secret_basic")
    set_credential(scope, made.value.id, made.etag, "system", secret, stamp.ACTOR)

    services, scope = with_keys(new, old)
    counts = keys.wrapped(scope.tables, services.settings.wrapping_keys)
    assert counts == {"older": 4}
    assert keys.rewrap(scope.tables, services.settings.wrapping_keys) == {"newest": 4}
    assert keys.rewrap(scope.tables, services.settings.wrapping_keys) == {"newest": 4}

    services, scope = with_keys(new)
    assert (scope.index("visit", "a", "1"), scope.index("optout", "+15555550100")) == named
    own = own_credential(scope, connection(scope, made.value.id).value, "system")
    assert own.secret == "s3cret-of-the-ehr"

    services, scope = with_keys(old)
    assert keys.wrapped(scope.tables, services.settings.wrapping_keys) == {"lost": 4}
    with pytest.raises(NotOpened):
        scope.index("visit", "a", "1")


# timers


@pytest.mark.parametrize("timer", [
    "messages_discover", "messages_dispatch", "messages_sweep", "messages_watch", "messages_receipts", "visits_ahead",
    "visits_purge", "tenants_upkeep"])
def test_what_is_wrong_with_one_tenant_keeps_no_other_waiting(
    broken: tuple[bootstrap.Services, list[str]], caplog: pytest.LogCaptureFixture, timer: str
) -> None:
    """Both have a row that cannot be read; each is reached although the other fails."""
    services, tenants = broken
    made = func.FunctionApp()
    for blueprint in (
        messages.blueprint(lambda: services, []), messages.routes_blueprint(lambda: services),
        messages.events_blueprint(lambda: services, []), visits.ahead_blueprint(lambda: services, []),
        visits.retention_blueprint(lambda: services), upkeep_blueprint(lambda: services),
    ):  # fmt: skip
        made.register_functions(blueprint)
    with caplog.at_level(logging.INFO, "connector"):
        next(one for one in made.get_functions() if one.get_function_name() == timer).get_user_function()(None)
    failed = [line for line in caplog.messages if "failed" in line.split()[0] and " error=V" in line]
    assert {tenant for tenant in tenants for line in failed if f"tenant={tenant}" in line} == set(tenants)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[bootstrap.Services, list[str]]]:
    """In a storage of its own, for some timers work on a whole region."""
    with Azurite(tmp_path_factory.mktemp("broken") / "azurite") as storage:
        tenants = [stamp.tenant_id(), stamp.tenant_id()]
        services = stamp.build(storage, *tenants, regions=Region.AMERICAS)
        for tenant in tenants:
            scope = services.directory.pin(tenant, Region.AMERICAS)
            for name, more in ("aaaaaaaab", {}), ("aaaaaaaac", {"deleting": "never"}):
                values = {"schema": 1, "body": "{", **more}
                scope.tables.insert(CONFIGURATION, Row(tenant, f"connection.{name}", values))
        yield services, tenants


# numbers


def test_a_number_that_the_operator_bought_sends_in_one_hospitals_name(azurite: Azurite) -> None:
    owner, other, number = stamp.tenant_id(), stamp.tenant_id(), "+12245550163"
    services = stamp.build(azurite, owner, other)
    mine, theirs = (services.directory.pin(one, Region.AMERICAS) for one in (owner, other))
    typed = SenderInput(kind="phone_number", value=number, label="Main")
    assert ownership.own_number(services, number, owner) == []
    with pytest.raises(RefusedError) as refused:
        add_sender(theirs, typed, stamp.ACTOR)
    assert refused.value.code == "sender.taken"
    add_sender(mine, typed, stamp.ACTOR)
    assert ownership.own_number(services, number, other) == [owner], "added before: the operator is told"
    for wrong, tenant in ("2245550163", owner), (number, stamp.tenant_id()):
        with pytest.raises(RefusedError):
            ownership.own_number(services, wrong, tenant)
    forget_number(mine, number)


# backup


def test_a_backup_comes_back_as_it_was_and_holds_sending(storage: Azurite, tmp_path: Path) -> None:
    services, scope = stamp.pinned(storage)
    made = stamp.connected(services, scope).value
    now = clock.now()
    brakes.read(scope, made, now)
    optouts.record(scope, "s1", "+15555550100", out=True, via="link")
    scope.tables.insert(VISITS, Row(made.id, "v.x", {"told_n": 2, "class": "live", "off": False}))
    before = stored(scope)

    counts = backup.backup(scope.tables, tmp_path / "files")
    assert counts[VISITS] >= 2
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "files").iterdir()} == {0o600}
    with pytest.raises(RefusedError, match=r"backup\.folder_not_empty"):
        backup.backup(scope.tables, tmp_path / "files")
    with pytest.raises(RefusedError, match=r"backup\.not_empty"):
        backup.restore(scope.tables, tmp_path / "files")

    with Azurite(tmp_path / "empty") as empty:
        served = stamp.build(empty, scope.tenant_id)
        assert backup.restore(served.storage.tables[Region.AMERICAS], tmp_path / "files") == counts
        again = served.directory.scope(scope.tenant_id)
        assert [line for line in stored(again) if "b.epoch" not in line[1]] == [
            line for line in before if "b.epoch" not in line[1]
        ]
        brakes._epochs.clear()  # another process: the app was stopped for the restore
        state = brakes.read(again, connection(again, made.id).value, now + timedelta(minutes=1))
        assert state.held == {brakes.ALL: "held_restored"}


# erasing


def rows_of(scope: TenantScope, connection_id: str, visit: str, end: str) -> list[Row]:
    told, due = f"m.{visit}.p.confirmation.1", f"m.{visit}.p.reminder.15"
    columns: dict[str, dict[str, str]] = {
        f"v.{visit}": {"end": end, "ref": "x"}, f"o.{visit}": {"end": end}, f"p.{visit}": {"end": end},
        told: {"state": "sent"}, due: {"state": "planned"}, f"d.20260101T000000Z.{due}": {"ref": "x"},
    }  # fmt: skip
    return [Row(connection_id, key, values) for key, values in columns.items()]


def test_a_visit_is_erased_and_no_other(azurite: Azurite) -> None:
    services, scope = stamp.pinned(azurite)
    made = stamp.connected(services, scope).value
    one, other = (visit_key(scope, made.id, appointment) for appointment in ("4711", "4712"))
    over = (clock.now() - timedelta(hours=1)).isoformat()
    for visit in (one, other):
        scope.tables.transact(VISITS, [Write("insert", row) for row in rows_of(scope, made.id, visit, over)])
    assert erase.visit(services, made.id, "4711", although_live=False) == 6
    left = [row.key for row in scope.tables.query(VISITS, made.id)]
    assert len([key for key in left if other in key]) == 6
    assert not [key for key in left if one in key]
    assert erase.visit(services, made.id, "4711", although_live=False) == 0


def test_a_visit_to_come_is_erased_only_on_demand(azurite: Azurite) -> None:
    services, scope = stamp.pinned(azurite)
    made = stamp.connected(services, scope).value
    visit = visit_key(scope, made.id, "4711")
    soon = (clock.now() + timedelta(hours=1)).isoformat()
    scope.tables.transact(VISITS, [Write("insert", row) for row in rows_of(scope, made.id, visit, soon)])
    with pytest.raises(RefusedError, match=r"erase\.live"):
        erase.visit(services, made.id, "4711", although_live=False)
    assert erase.visit(services, made.id, "4711", although_live=True) == 6


def test_nothing_is_left_of_a_deleted_tenant_and_everything_of_the_others(storage: Azurite) -> None:
    leaving, staying = stamp.tenant_id(), stamp.tenant_id()
    services = stamp.build(storage, leaving, staying)
    scopes = {tid: services.directory.pin(tid, Region.EMEA) for tid in (leaving, staying)}
    ids = {}
    for tid, scope in scopes.items():
        made = stamp.connected(services, scope).value
        ids[tid] = made.id
        scope.index("visit", "x")
        scope.tables.insert(SESSIONS, Row(made.id, "visit.1", {"expires": 1}))
        scope.tables.insert(SESSIONS, Row(tid, "portal.1", {"expires": 1}))
        scope.tables.insert("Links", Row(made.id, "link.1", {"object_id": "o"}))
        scope.tables.transact(VISITS, [Write("insert", Row(made.id, f"m.{n:03}")) for n in range(100)])
        scope.tables.insert(VISITS, Row(made.id, "m.100"))
        scope.tables.insert(VISITS, Row(tid, "b.sender.s1", {"paused": True}))
        optouts.record(scope, "s1", "+15555550100", out=True, via="link")
        scope.tables.insert(limits.TABLE, Row(f"{tid}.20260101", "x", {"entries": "e"}))
    before = [line for line in stored(scopes[staying]) if staying in line[1] or ids[staying] in line[1]]

    with pytest.raises(RefusedError, match=r"erase\.listed"):
        erase.tenant(services, leaving)
    unlisting = stamp.build(storage, staying)
    counts = erase.tenant(unlisting, leaving)
    assert counts[VISITS] == 102
    everywhere = [line for tables in unlisting.storage.tables.values() for table in tables.names()
                  for row in tables.scan(table) for line in [f"{table} {row.partition} {row.key} {row.values}"]]
    assert not [line for line in everywhere if leaving in line or ids[leaving] in line]
    assert [line for line in stored(scopes[staying]) if staying in line[1] or ids[staying] in line[1]] == before
    assert sum(erase.tenant(unlisting, leaving).values()) == 0
    assert not [scope for scope in unlisting.directory.every_scope() if scope.tenant_id == leaving]


def test_an_operator_opens_storage_as_the_person_who_is_signed_in() -> None:
    from azure.identity import AzureCliCredential

    from connector.adapters.identity import credential

    served = settings.RegionSettings(Region.EMEA, None, "t", "q", "c", None, None, storage_credential="azurecli")
    assert isinstance(credential(served), AzureCliCredential)
