"""Takes over claims that lost their worker: replays what ACS still remembers, calls the rest uncertain.

A worker may have died before or after ACS took the message. Within the window ACS carries out the same
request, repeated to the byte, at most once; outside it nobody knows, and nothing is ever resent blindly.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime

from connector import clock, logs
from connector.errors import ConnectorError, TransientError
from connector.messages import ledger
from connector.messages.decide import Decision, Send
from connector.messages.ledger import REPLAY_WINDOW, Claim, Item, Outcome
from connector.messages.revoke import Generations
from connector.messages.send import Desk, RealTime, judge, replay
from connector.tenants import TenantScope

SLOW_S = 60.0
"""After this the other claims are left to the next run: where the EHR is slow, reading takes minutes."""


def sweep(scope: TenantScope, connection_id: str, open_desk: Callable[[], Desk | None], *,
          real: RealTime = ledger.real_now) -> int:
    """Deal with the abandoned claims of a connection; how many messages got an outcome.

    `open_desk` is called only when there are any; it gives None while the connection may not send: then
    claims only grow old.
    """
    settled, begun = 0, time.monotonic()
    abandoned_claims = ledger.abandoned(scope, connection_id, real())
    desk = open_desk() if abandoned_claims else None
    for abandoned in abandoned_claims:
        if time.monotonic() - begun > SLOW_S:
            break
        held = ledger.take_over(scope, connection_id, abandoned)
        if held is None:
            continue
        outcomes = _replayed(desk, held, real) if desk and _in_window(held, real()) else {}
        if not _in_window(held, real()):
            for item in held.items:
                outcomes.setdefault(item.message.key, Outcome("uncertain", "window_over"))
        if outcomes and ledger.record(scope, connection_id, held, outcomes):
            settled += len(outcomes)
            for state, count in Counter(outcome.state for outcome in outcomes.values()).items():
                logs.event("messages.swept", connection=connection_id, state=state, count=count)
    return settled


def _in_window(held: Claim, at: datetime) -> bool:
    return at - held.at < REPLAY_WINDOW


def _replayed(desk: Desk, held: Claim, real: RealTime) -> dict[str, Outcome]:
    try:
        decisions = judge(desk, [item.message for item in held.items], clock.now())
    except ConnectorError as error:
        logs.failure("messages.sweep_unread", error, connection=desk.connection.id, claim=held.id)
        return {}
    outcomes: dict[str, Outcome] = {}
    links = Generations(desk.scope, desk.connection.id)
    for item in held.items:
        outcome = _one(desk, held, item, decisions[item.message], links, real)
        if outcome is not None:
            outcomes[item.message.key] = outcome
    return outcomes


def _one(
    desk: Desk, held: Claim, item: Item, decision: Decision, links: Generations, real: RealTime
) -> Outcome | None:
    if not isinstance(decision, Send) or desk.body_hash(decision) != item.body:
        return Outcome("uncertain", "changed_since_claim")
    try:
        good = links.of(item.message.visit)
    except TransientError:
        return None
    if good != item.message.generation:
        return Outcome("uncertain", "link_revoked")
    if not _in_window(held, real()):
        return None
    return replay(desk, held, item.message, decision)
