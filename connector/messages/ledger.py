"""The rows that make "exactly one message" true; one partition for each connection, in table `Visits`.

`v.{visit}`                          what the last scan knew, what the patient was told, and what was asked for last
`m.{visit}.{recipient}.{kind}.{n}`   one message: planned, claimed, sent, failed, skipped or uncertain; a reminder's
                                     last part is `{n}-{lead}`, n being that of the telling that it follows
`d.{due}.{m key}`                    exists while the message is planned; deleting it is owning it
`k.{claimed}.{claim}`                a claim: the messages that one worker is about to send
`r.{claim}.{message}`                what of a claim was sent: reports of deliveries find their rows by it
`w.{visit}`                          waits for a second look: cancelled, or not found any more

Due times are business time; claims are leases and use real time. Keys hold keyed hashes and our own times.
A visit has at most one telling (confirmation, change, cancellation) planned at a time: planning the next one deletes
the d row of the one before, in one transaction, and so fails when a worker has it.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from connector import clock
from connector.adapters.tables import TRANSACTION_LIMIT, Row, RowChanged, RowExists, Value, Write
from connector.errors import TransientError
from connector.messages.compare import UNTOLD, Told
from connector.messages.reference import Awaiting, Sent, reference
from connector.tenants import TenantScope

TABLE = "Visits"
CHUNK = 49
"""Two operations a message, one for the claim and one for what was sent fill a transaction of 100."""
OTHER = 12
"""How much is kept of the keyed name of a number or address that was not told: a claim's row has a limit."""
LEASE = timedelta(seconds=75)
"""A claim older than this has lost its worker."""
REPLAY_WINDOW = timedelta(seconds=240)
"""ACS remembers a repeatability id for about five minutes (learn.microsoft.com: Repeatable requests)."""

State = Literal["planned", "claimed", "sent", "failed", "skipped", "uncertain"]


def stamp(moment: datetime) -> str:
    """A time as keys hold it: sortable, in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def real_now() -> datetime:
    """Real time, for leases; business time is clock.now()."""
    return datetime.now(UTC)


def instant(moment: datetime | None) -> str:
    """A time as columns hold it: sortable, in UTC."""
    return moment.astimezone(UTC).isoformat() if moment else ""


@dataclass(frozen=True)
class Message:
    """A message that is planned or claimed: enough to read its appointment again."""

    key: str
    ref: str
    generation: int
    start: datetime
    """As planned; the EHR has the last word."""
    person: str
    """Keyed name of the patient it is for, within the connection."""
    contact: str = ""
    """Keyed name of the number that an earlier message of this visit reached."""
    told: Told = UNTOLD
    """What the patient had been told when this was planned."""
    due_key: str = ""
    etag: str | None = None
    """Of the d row."""

    @property
    def visit(self) -> str:
        return self.key.split(".")[1]

    @property
    def kind(self) -> str:
        return self.key.split(".")[3]

    @property
    def n(self) -> int:
        return int(self.key.split(".")[4].partition("-")[0])

    @property
    def lead(self) -> int:
        """Minutes before the start; 0 for a telling."""
        return int(self.key.partition("-")[2] or 0)

    def due_row(self, partition: str, due: datetime) -> Row:
        return Row(partition, f"d.{stamp(due)}.{self.key}", self.facts())

    def facts(self) -> dict[str, Value]:
        return {"ref": self.ref, "generation": self.generation, "start": instant(self.start),
                "person": self.person, "contact": self.contact, "told": str(self.told)}  # fmt: skip

    @classmethod
    def of(cls, key: str, facts: Mapping[str, Value], due_key: str = "", etag: str | None = None) -> Message:
        return cls(
            key,
            str(facts["ref"]),
            int(facts["generation"]),
            datetime.fromisoformat(str(facts["start"])),
            str(facts["person"]),
            str(facts["contact"]),
            Told.parse(str(facts.get("told", ""))),
            due_key,
            etag,
        )


@dataclass(frozen=True)
class Item:
    """One message of a claim, with keyed hashes of the body and the number that it was about to go to."""

    message: Message
    body: str
    contact: str
    tells: str = ""
    """For a telling, state and start that the text tells: `live 2026-11-23T15:00:00+00:00`."""
    rule: str = ""
    """Which rule lets it pass."""
    channel: str = "sms"
    others: str = ""
    """Shortened keyed names of the record's other numbers and addresses, for who has lost the link."""


@dataclass(frozen=True)
class Claim:
    """A k row. First-sent and the repeatability ids derive from it, so a replay repeats them exactly."""

    id: str
    at: datetime
    """Real time, whole seconds."""
    items: tuple[Item, ...]
    etag: str | None = None

    @classmethod
    def new(cls, at: datetime, items: Sequence[Item]) -> Claim:
        return cls(uuid.uuid4().hex, at.astimezone(UTC).replace(microsecond=0), tuple(items))

    @property
    def key(self) -> str:
        return f"k.{stamp(self.at)}.{self.id}"

    def row(self, partition: str) -> Row:
        items = [
            [i.message.key, i.message.facts(), i.body, i.contact, i.tells, i.rule, i.channel, i.others]
            for i in self.items
        ]
        return Row(partition, self.key, {"items": json.dumps(items, separators=(",", ":"))}, self.etag)

    @classmethod
    def of(cls, row: Row) -> Claim:
        _, at, claim_id = row.key.split(".")
        stored = json.loads(row.text("items"))
        items = tuple(Item(Message.of(key, facts), *more[:6]) for key, facts, *more in stored)
        return cls(claim_id, datetime.strptime(at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC), items, row.etag)


@dataclass(frozen=True)
class Outcome:
    """What became of one claimed message; `due` says when a message that is planned again is due."""

    state: State
    rule: str = ""
    message_id: str = ""
    due: datetime | None = None
    generation: int | None = None
    """Of the link that it is to have then, where that was revoked which it was made with."""


def transacted(scope: TenantScope, writes: Sequence[Write]) -> bool:
    """All or nothing; False when somebody else was faster with one of the rows."""
    try:
        scope.tables.transact(TABLE, writes)
    except (RowExists, RowChanged):
        return False
    return True


def due(scope: TenantScope, partition: str, until: datetime, limit: int) -> list[str]:
    """Keys of the d rows due at `until`, the oldest first."""
    rows = scope.tables.query(TABLE, partition, start="d.", end=f"d.{stamp(until)}/", limit=limit)
    return [row.key for row in rows]


def due_between(scope: TenantScope, partition: str, first: str, last: str) -> list[Message]:
    """The planned messages of a range of d keys, both ends included; at most one more than a chunk."""
    rows = scope.tables.query(TABLE, partition, start=first, end=f"{last}!", limit=CHUNK + 1)
    return [Message.of(row.key.split(".", 2)[2], row.values, row.key, row.etag) for row in rows]


def claim(
    scope: TenantScope, partition: str, wanted: Claim, skipped: Mapping[Message, str], later: Mapping[Message, Outcome]
) -> Claim | None:
    """Take what is to be sent, record what is skipped, move what must wait: all or nothing.

    What does not fit into the transaction stays due. None when the claim is not ours: somebody else took one of the
    messages, or the storage failed. Unless the transaction went through the k row decides, whatever was answered: a
    lost answer that the SDK repeats looks like a conflict.
    """
    sends = [item.message for item in wanted.items]
    writes = [Write("delete", Row(partition, m.due_key, etag=m.etag)) for m in sends]
    writes += [_outcome(partition, i.message, Outcome("claimed", i.rule), wanted, i.contact) for i in wanted.items]
    if sends:
        writes.insert(0, Write("insert", wanted.row(partition)))
    for more in (*_skipping(partition, skipped), *_moving(partition, later)):
        if len(writes) + len(more) <= TRANSACTION_LIMIT:
            writes += more
    try:
        etags = scope.tables.transact(TABLE, writes)
    except (RowExists, RowChanged, TransientError):
        row = scope.tables.get(TABLE, partition, wanted.key) if sends else None
        return Claim.of(row) if row else None
    return replace(wanted, etag=etags[0]) if sends else None


def _skipping(partition: str, skipped: Mapping[Message, str]) -> Iterator[list[Write]]:
    for m, rule in skipped.items():
        taken = Write("delete", Row(partition, m.due_key, etag=m.etag))
        noted = [] if m.lead else [_merge(partition, m, {"asked_rule": rule})]
        yield [taken, _outcome(partition, m, Outcome("skipped", rule)), *noted]


def _moving(partition: str, later: Mapping[Message, Outcome]) -> Iterator[list[Write]]:
    for m, outcome in later.items():
        if outcome.due is not None:
            taken = Write("delete", Row(partition, m.due_key, etag=m.etag))
            yield [taken, _outcome(partition, m, outcome), Write("insert", m.due_row(partition, outcome.due))]


def record(scope: TenantScope, partition: str, held: Claim, outcomes: Mapping[str, Outcome]) -> bool:
    """Write what became of the messages, by m key; the others stay in the claim, for the sweep.

    What was sent, or perhaps was, is now what the patient was told. False when the claim was taken over, or recorded
    already: then nothing is written.
    """
    left = tuple(item for item in held.items if item.message.key not in outcomes)
    writes = [Write("update" if left else "delete", replace(held, items=left).row(partition))]
    if sent := _sent(partition, held, outcomes):
        writes.append(Write("upsert", Awaiting.new(partition, held.id, sent).stored()))
    for item in held.items:
        outcome = outcomes.get(item.message.key)
        if outcome is not None:
            writes.append(_outcome(partition, item.message, outcome, held, item.contact))
            if outcome.due is not None:
                again = item.message if outcome.generation is None else replace(
                    item.message, generation=outcome.generation)
                writes.append(Write("insert", again.due_row(partition, outcome.due)))
            elif not item.message.lead:
                writes.append(_merge(partition, item.message, _told(item, outcome)))
    if transacted(scope, writes):
        return True
    # A visit that was erased meanwhile has no v row to tell; one that lost its claim loses again.
    return transacted(scope, [write for write in writes if write.kind != "merge"])


def _sent(partition: str, held: Claim, outcomes: Mapping[str, Outcome]) -> list[Sent]:
    """What reports of deliveries are to be expected of; an e-mail's id is known even when its outcome is not."""
    known = {i.message.key: reference(partition, held.id, i.message.key) for i in held.items if i.channel == "email"}
    return [
        Sent(key, known.get(key) or outcome.message_id, item.channel, outcome.state == "sent")
        for item in held.items
        if (outcome := outcomes.get(key := item.message.key)) and outcome.state in ("sent", "uncertain")
    ]


def _told(item: Item, outcome: Outcome) -> dict[str, Value]:
    if outcome.state not in ("sent", "uncertain"):
        return {"asked_rule": outcome.rule or outcome.state}
    state, _, start = item.tells.partition(" ")
    return {"told_class": state, "told_start": start, "told_n": item.message.n, "contact": item.contact,
            "others": item.others}  # fmt: skip


def _merge(partition: str, message: Message, values: Mapping[str, Value]) -> Write:
    return Write("merge", Row(partition, f"v.{message.visit}", values))


def abandoned(scope: TenantScope, partition: str, at: datetime) -> list[Claim]:
    """Claims whose lease is over at the real time `at`, the oldest first."""
    rows = scope.tables.query(TABLE, partition, start="k.", end=f"k.{stamp(at - LEASE)}/")
    return [Claim.of(row) for row in rows]


def take_over(scope: TenantScope, partition: str, held: Claim) -> Claim | None:
    """The same claim under a new ETag, so that its former holder can record nothing; None when it is gone."""
    try:
        return replace(held, etag=scope.tables.update(TABLE, held.row(partition)).etag)
    except RowChanged:
        return None


def count_states(scope: TenantScope, partition: str) -> dict[str, int]:
    """How many messages of a connection are in each state."""
    rows: Iterable[Row] = scope.tables.query(TABLE, partition, start="m.", end="m/")
    return dict(Counter(row.text("state") for row in rows))


def _outcome(partition: str, message: Message, outcome: Outcome, held: Claim | None = None, contact: str = "") -> Write:
    """Whole-row upsert: the deleted d row, or the held k row, is what guards the message."""
    return Write("upsert", message_row(partition, message, outcome, held, contact))


def message_row(
    partition: str, message: Message, outcome: Outcome, held: Claim | None = None, contact: str = ""
) -> Row:
    reached = outcome.state in ("claimed", "sent", "uncertain")
    values: dict[str, Value] = {
        "state": outcome.state,
        "rule": outcome.rule,
        "message_id": outcome.message_id,
        "person": message.person,
        "contact": contact if reached else message.contact,
        "claim": held.id if held else "",
        "at": clock.now().isoformat(),
    }
    if outcome.due is not None:
        values["due"] = outcome.due.isoformat()
    return Row(partition, message.key, values)
