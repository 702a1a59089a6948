"""What admins do to brakes, and for a patient who told staff to stop. Each is written into the tenant's history, with
who and why, before it is done: the two stand in different partitions, and an attempt that failed may be seen there.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from connector import logs
from connector.adapters.tables import Row, Value, Write
from connector.errors import RefusedError, TransientError
from connector.languages import N_
from connector.messages import ledger, optouts
from connector.messages.brakes import ALL, RELEASED_FOR, BrakeChange, State, change
from connector.messages.contacts import normal_address
from connector.messages.inbound import may_start
from connector.messages.ledger import TABLE
from connector.tenants import Actor, Connection, TenantScope, record, versioned_sender

if TYPE_CHECKING:
    from connector.bootstrap import Services

FORGET_CHUNK = 33
"""Three operations a message fill a transaction."""


def pause(scope: TenantScope, connection: Connection, now: datetime, actor: Actor, reason: str | None = None) -> State:
    """Nothing of this connection is sent until `resume`; what comes due meanwhile waits."""
    record(scope, actor, "messages.paused", connection.id, after=BrakeChange(reason=reason))
    logs.event("messages.paused", connection=connection.id)
    return change(scope, connection, now, lambda state: replace(state, paused=True))


def resume(scope: TenantScope, connection: Connection, now: datetime, actor: Actor, reason: str | None = None) -> State:
    record(scope, actor, "messages.resumed", connection.id, after=BrakeChange(reason=reason))
    logs.event("messages.resumed", connection=connection.id)
    return change(scope, connection, now, lambda state: replace(state, paused=False))


def release(
    scope: TenantScope, connection: Connection, kind: str, now: datetime, actor: Actor, reason: str | None = None
) -> State:
    """Let go what is held of a kind, or `all`; it is not held again for a day."""
    record(scope, actor, "messages.released", connection.id, after=BrakeChange(kind=kind, reason=reason))
    logs.event("messages.hold_released", connection=connection.id, kind=kind)

    def edit(state: State) -> State:
        gone = set(state.held) if kind == ALL else {kind} & set(state.held)
        kept = {name: rule for name, rule in state.held.items() if name not in gone}
        until = {name: now + RELEASED_FOR for name in gone if name != ALL}
        return replace(state, held=kept, released={**state.released, **until})

    return change(scope, connection, now, edit)


def forget_due(
    scope: TenantScope, connection: Connection, now: datetime, actor: Actor, reason: str | None = None
) -> int:
    """Send nothing that may have been sent before a restore: planned tellings, and reminders whose time has come.

    How many messages. Later reminders stay. Raises TransientError when workers are in the way: then ask again.
    """
    forgotten = 0
    for _ in range(3):
        rows = scope.tables.query(TABLE, connection.id, start="d.", end="d/")
        planned = [ledger.Message.of(row.key.split(".", 2)[2], row.values, row.key, row.etag) for row in rows]
        doubtful = [m for m in planned if not m.lead or m.start - timedelta(minutes=m.lead) <= now]
        if not doubtful:
            logs.event("messages.forgotten", connection=connection.id, count=forgotten)
            return forgotten
        gone = BrakeChange(count=len(doubtful), reason=reason)
        record(scope, actor, "messages.forgotten", connection.id, after=gone)
        for first in range(0, len(doubtful), FORGET_CHUNK):
            chunk = doubtful[first : first + FORGET_CHUNK]
            none = ledger.Claim.new(ledger.real_now(), [])
            ledger.claim(scope, connection.id, none, dict.fromkeys(chunk, "forgotten_after_restore"), {})
            forgotten += len(chunk)
    raise TransientError("messages.forget_contended")


def pause_sender(
    scope: TenantScope, sender_id: str, now: datetime, actor: Actor, *, paused: bool = True, reason: str | None = None
) -> None:
    """Nothing goes out by this sender, of any connection, until it is resumed (`paused=False`)."""
    action = "sender.paused" if paused else "sender.resumed"
    record(scope, actor, action, sender_id, after=BrakeChange(reason=reason))
    logs.event("messages.sender_paused", tenant=scope.tenant_id, sender=sender_id, paused=paused)
    values: dict[str, Value] = {"paused": paused, "at": now.isoformat()}
    scope.tables.transact(TABLE, [Write("upsert", Row(scope.tenant_id, f"b.sender.{sender_id}", values))])


def enter_opt_out(
    services: Services, scope: TenantScope, sender_id: str, typed: str, actor: Actor, *, out: bool
) -> None:
    """Stop, or restart, the messages of a sender to a number; or, where it is `email`, all e-mail to an address.

    Raises RefusedError: 404 for an unknown sender, 422 for what is no number or address, 409 while the carrier's own
    list would go on blocking.
    """
    if sender_id == optouts.EMAIL:
        address = normal_address(typed)
        if address is None:
            raise RefusedError(
                "optout.not_an_address",
                "This is not an e-mail address.",
                status=422,
                title="Not an e-mail address",
                details={"address": N_("must be an e-mail address such as visits@example.org")},
            )
        contact = address
    else:
        found = versioned_sender(scope, sender_id).value
        contact = optouts.international(typed, found)
        if not out and not may_start(services, scope, found, contact):
            raise RefusedError(
                "optout.carrier",
                "The carrier still blocks texts to this number: the person must reply START to one of them.",
                status=409,
                title="Still stopped",
                details={"number": N_("is still blocked by the carrier; the person must reply START to a text")},
            )
    optouts.record(scope, sender_id, contact, out=out, via="staff", by=actor)
