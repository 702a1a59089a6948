"""Releases due messages to the workers, no faster than their sender may send; the backlog stays in the table.

Source of the rates: Azure Communication Services, "Service limits": a toll-free number 200 messages a minute,
alphanumeric senders 600 a minute for the whole resource.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from connector.messages import brakes, ledger
from connector.messages.discover import sendable
from connector.tenants import TIMER_S, Connection, Sender, TenantScope, recent_senders

EVERYTHING = 100_000
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
RATES = {"phone_number": 200, "alphanumeric": 600, "email": 600}
"""Messages a minute. What goes by e-mail is known only when the patient's record is read: its own rate is kept there
(pace.py), and connections that send nothing else are only kept from flooding the queue."""
LOOK = timedelta(minutes=5)
"""Brakes are read this often though nothing is due: that proves that dispatching goes on."""
PATIENCE = timedelta(minutes=2)
"""Real time after which a message that was released and is still there is released again: its hint was lost."""


class Dispatcher:
    """What one process released lately, so that a message on its way to a worker uses up no second share.

    Only a saving: where two instances dispatch, or one begins anew, a message is released twice and sent once.
    """

    def __init__(self) -> None:
        self._released: dict[str, dict[str, datetime]] = {}
        """Real time of each release, by connection and d key; only of those that are still there."""
        self._looked: dict[str, datetime] = {}
        """When a connection's brakes were read last."""

    def run(self) -> Run:
        """One minute's work."""
        return Run(self._released, self._looked)


class Run:
    """One run over all tenants: what each sender has left of this minute is shared by all its connections."""

    def __init__(self, released: dict[str, dict[str, datetime]], looked: dict[str, datetime]) -> None:
        self._released, self._looked = released, looked
        self._left: dict[str, int] = {}

    def release(self, scope: TenantScope, now: datetime) -> int:
        """Put hints for what is due on the region's queue, spread over the minute; how many were released.

        Connections that share a sender take turns by due time: one's backlog does not hold up the others.
        """
        by_sender: dict[tuple[str, int], list[Connection]] = {}
        for connection in sendable(scope):
            chosen = recent_senders(scope, TIMER_S).get(connection.sender_id or "")
            if chosen is not None or "sms" not in connection.messages.channels:
                by_sender.setdefault(_pool(scope, chosen), []).append(connection)
        return sum(self._share(scope, pool, rate, members, now) for (pool, rate), members in by_sender.items())

    def _share(self, scope: TenantScope, pool: str, rate: int, members: list[Connection], now: datetime) -> int:
        left = self._left.setdefault(pool, rate)
        if left == 0:
            return 0
        waiting = {c.id: self._waiting(scope, c, now, left) for c in members}
        oldest = sorted((key, c) for c, keys in waiting.items() for key, fresh in keys if fresh)[:left]
        wanted = set(oldest)
        for connection_id, keys in waiting.items():
            for chunk in _chunks((key, (key, connection_id) in wanted) for key, _ in keys):
                scope.queues.send(
                    f"send-{scope.region}",
                    {
                        "tenant": scope.tenant_id,
                        "connection": connection_id,
                        "from": chunk[0],
                        "to": chunk[-1],
                        "n": len(chunk),
                    },
                    delay_s=(rate - self._left[pool]) * 60 // rate,
                )
                self._left[pool] -= len(chunk)
                self._released[connection_id].update(dict.fromkeys(chunk, ledger.real_now()))
        return left - self._left[pool]

    def _waiting(self, scope: TenantScope, connection: Connection, now: datetime, left: int) -> list[tuple[str, bool]]:
        """The oldest d keys that are due, and whether each is to be released: it was not, or long ago.

        One planned late into the midst of released ones is on its way with them: their worker finds it in its range.
        """
        at, connection_id = ledger.real_now(), connection.id
        known = self._released.get(connection_id, {})
        under_way = [key for key, released in known.items() if at - released < PATIENCE]
        low, high = min(under_way, default=""), max(under_way, default="")
        due = ledger.due(scope, connection_id, now, left + len(under_way))
        if not due and timedelta() <= now - self._looked.get(connection_id, _LONG_AGO) < LOOK:
            self._released[connection_id] = {}
            return []
        state, self._looked[connection_id] = brakes.read(scope, connection, now), now
        if state.all_stopped:
            return []
        if state.held:  # what is held must not hide what is not: then all that is due is looked at
            due = [key for key in ledger.due(scope, connection_id, now, EVERYTHING) if not state.stopped(_kind(key))]
        kept = self._released[connection_id] = {
            key: known.get(key, at) for key in due if key in known or low < key < high
        }
        return [(key, at - kept.get(key, _LONG_AGO) >= PATIENCE) for key in due]


def _chunks(keys: Iterable[tuple[str, bool]]) -> Iterator[list[str]]:
    """The wanted keys as ranges that a worker can claim at once; a range never spans a key that is not wanted."""
    chunk: list[str] = []
    for key, wanted in keys:
        if chunk and (not wanted or len(chunk) == ledger.CHUNK):
            yield chunk
            chunk = []
        if wanted:
            chunk.append(key)
    if chunk:
        yield chunk


def _kind(due_key: str) -> str:
    """`d.{due}.m.{visit}.{recipient}.{kind}.{n}`"""
    return due_key.split(".")[5]


def _pool(scope: TenantScope, chosen: Sender | None) -> tuple[str, int]:
    """Whose rate a sender uses up, and what it is: a number its own, a name, or e-mail, the whole region's."""
    kind = chosen.kind if chosen else "email"
    return f"{scope.region}.{chosen.value if chosen and kind == 'phone_number' else kind}", RATES[kind]
