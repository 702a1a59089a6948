"""The configuration of timers and workers: a process sees its own changes at once, another one's in seconds."""

from collections import Counter

import pytest

from connector import tenants
from connector.regions import Region
from connector.tenants import CONFIGURATION, ConnectionPatch, SenderInput, recent
from sandbox.azurite import Azurite
from tests.tenants.stamp import ACTOR, build, connected, pinned, tenant_id


def test_it_is_read_once_and_what_is_written_here_is_seen_at_once(
    azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    services, scope = pinned(azurite)
    made = connected(services, scope)
    run, asked = scope.tables._run, Counter[str]()
    monkeypatch.setattr(scope.tables, "_run", lambda table, work: (asked.update([table]), run(table, work))[1])
    for _ in range(5):
        assert list(tenants.recent_connections(scope)) == [made.value.id] and tenants.recent_senders(scope) == {}
    assert asked == {CONFIGURATION: 2}
    tenants.change_connection(scope, made.value.id, made.etag, ConnectionPatch(name="Other"), ACTOR)
    assert tenants.recent_connections(scope)[made.value.id].name == "Other"
    sender = tenants.add_sender(scope, SenderInput(kind="alphanumeric", value="Harbor", label="Main"), ACTOR)
    assert tenants.recent_senders(scope) == {sender.id: sender}


def test_what_another_process_writes_is_seen_when_the_moment_is_over(
    azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    tid = tenant_id()
    mine, other = build(azurite, tid), build(azurite, tid)
    scope = mine.directory.pin(tid, Region.AMERICAS)
    made = connected(mine, scope)
    assert tenants.recent_connections(scope)
    patch = ConnectionPatch(name="Other")
    tenants.change_connection(other.directory.scope(tid), made.value.id, made.etag, patch, ACTOR)
    assert tenants.recent_connections(scope)[made.value.id].name == "Live"
    monkeypatch.setattr(recent, "KEPT_S", -1)
    assert tenants.recent_connections(scope)[made.value.id].name == "Other"
