"""A sender's rate holds whatever connections, tenants and instances there are. What is on its way to a worker uses up
no second share of it; what got lost does, after a while."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from connector import tenants
from connector.adapters.tables import Row, Write
from connector.messages import dispatch, ledger
from connector.tenants import ConnectionInput, ConnectionPatch, TenantScope
from tests.messages.conftest import ACTOR, Stage


def test_what_was_released_is_released_again_only_when_its_hint_must_be_lost(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "PATIENCE", timedelta(minutes=2))
    stage.book(0)
    stage.discover()
    assert len(stage.dispatch()) == 1
    stage.book(2)
    stage.discover()
    assert len(stage.dispatch()) == 1, "the second visit's alone"
    assert stage.dispatch() == []
    monkeypatch.setattr(dispatch, "PATIENCE", timedelta(0))
    stage.deliver()
    assert stage.status()["sent"] == len(stage.outbox) == 2


class Queue:
    """In the place of a region's queues: what was put there, and when it is to be seen."""

    def __init__(self) -> None:
        self.hints: list[tuple[str, int, int]] = []

    def send(self, queue: str, hint: dict[str, Any], *, delay_s: int = 0) -> None:
        self.hints.append((hint["connection"], hint["n"], delay_s))

    @property
    def released(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for connection, count, _ in self.hints:
            found[connection] += count
        return found


def due(scope: TenantScope, connection_id: str, count: int, *, minutes_ago: float, now: Any) -> None:
    """Messages that wait; a dispatcher looks at nothing but their keys."""
    at = ledger.stamp(now - timedelta(minutes=minutes_ago))
    rows = [Row(connection_id, f"d.{at}.m.{n:032x}.{'r' * 32}.confirmation.1") for n in range(count)]
    scope.tables.transact(ledger.TABLE, [Write("insert", row) for row in rows])


def another(stage: Stage) -> str:
    """A second connection of the tenant, by the same sender."""
    first = stage.connection
    values = first.model_dump(include=set(ConnectionInput.model_fields)) | {"name": "Second"}
    values["fhir_base_url"] = f"{first.fhir_base_url}-second"
    made = tenants.add_connection(stage.services.directory, stage.scope, ConnectionInput(**values), ACTOR)
    identity = made.value.id
    made = tenants.set_departments(stage.scope, identity, made.etag, list(first.departments), ACTOR)
    made = tenants.link_sender(stage.scope, identity, made.etag, first.sender_id or "", ACTOR)
    tenants.change_connection(stage.scope, identity, made.etag, ConnectionPatch(messages_enabled=True), ACTOR)
    return identity


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty messages a minute, and time for the workers to take them."""
    monkeypatch.setattr(dispatch, "PATIENCE", timedelta(minutes=2))
    monkeypatch.setattr(dispatch, "RATES", {"phone_number": 60, "alphanumeric": 60})


def test_connections_with_one_number_share_its_minute_by_due_time(stage: Stage, slow: None) -> None:
    queue, first, second, now = Queue(), stage.connection_id, another(stage), stage.world.now()
    scope = replace(stage.scope, queues=queue)  # type: ignore[arg-type]
    due(scope, first, 90, minutes_ago=1, now=now)
    due(scope, second, 20, minutes_ago=3, now=now)
    dispatcher = dispatch.Dispatcher()
    assert dispatcher.run().release(scope, now) == 60
    assert queue.released == {second: 20, first: 40}, "the oldest first, though the other's backlog is larger"
    (_, chunk, at_once), (_, _, later) = queue.hints
    assert (at_once, later) == (0, chunk), "a second for each message"
    queue.hints.clear()
    assert dispatcher.run().release(scope, now) == 50 == queue.released[first]


def test_names_share_their_regions_minute_over_all_tenants(staged: Callable[..., Stage], slow: None) -> None:
    one, other, queue = staged("nordlys"), staged("nordlys"), Queue()
    run, now = dispatch.Dispatcher().run(), one.world.now()
    for stage in (one, other):
        due(stage.scope, stage.connection_id, 40, minutes_ago=1, now=now)
        run.release(replace(stage.scope, queues=queue), now)  # type: ignore[arg-type]
    assert queue.released == {one.connection_id: 40, other.connection_id: 20}


def test_another_instance_releases_the_same_again_and_nothing_more(stage: Stage, slow: None) -> None:
    """The timer runs on one instance at a time; the next one knows nothing of what is under way."""
    queue, now = Queue(), stage.world.now()
    scope = replace(stage.scope, queues=queue)  # type: ignore[arg-type]
    due(scope, stage.connection_id, 90, minutes_ago=1, now=now)
    for _ in range(3):
        dispatch.Dispatcher().run().release(scope, now)
    assert len(set(queue.hints)) == len(queue.hints) / 3, "the same ranges: whoever claims one first sends it"
