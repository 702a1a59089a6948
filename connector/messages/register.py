"""The visits of a connection as they were last seen and told: v rows, and the w rows of those that wait.

Changes of many visits are written in one transaction, each with the messages that are planned or dropped with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from connector import clock
from connector.adapters.tables import TRANSACTION_LIMIT, Row, Value, Write
from connector.messages.compare import UNASKED, UNTOLD, Asked, Class, Told
from connector.messages.ledger import TABLE, Message, Outcome, instant, message_row, stamp, transacted
from connector.tenants import TenantScope


@dataclass(frozen=True)
class Visit:
    """A v row."""

    key: str
    ref: str
    """The sealed appointment id."""
    start: datetime
    end: datetime
    department: str
    state: Class
    generation: int = 0
    person: str = ""
    """Keyed name of the patient."""
    likeness: str = ""
    """Keyed: patient, department and type. A visit booked in place of another has the same."""
    told: Told = UNTOLD
    asked: Asked = UNASKED
    contact: str = ""
    """Keyed name of the number that was told last."""
    others: str = ""
    """Shortened keyed names of the other numbers and addresses that the record had then."""
    leads: str = ""
    """Leads, in minutes, for which reminders were considered under `asked.n`."""
    changed_at: datetime | None = field(default=None, compare=False)
    """When a scan last wrote this row."""
    etag: str | None = None

    def row(self, partition: str) -> Row:
        told, asked = self.told, self.asked
        return Row(partition, f"v.{self.key}", {
            "ref": self.ref, "start": instant(self.start), "end": instant(self.end), "department": self.department,
            "class": self.state, "generation": self.generation, "changed_at": clock.now().isoformat(),
            "person": self.person, "likeness": self.likeness, "contact": self.contact, "others": self.others,
            "leads": self.leads,
            "told_start": instant(told.start), "told_class": told.state, "told_n": told.n,
            "asked_start": instant(asked.start), "asked_kind": asked.kind, "asked_n": asked.n, "asked_rule": asked.rule,
        }, self.etag)  # fmt: skip


def visits(scope: TenantScope, partition: str, window: tuple[datetime, datetime] | None = None) -> dict[str, Visit]:
    """The remembered visits of a connection by visit key; of a window, those that start in it."""
    where = ("start", instant(window[0]), instant(window[1])) if window else None
    rows = scope.tables.query(TABLE, partition, start="v.", end="v/", where=where)
    return {visit.key: visit for visit in map(_visit, rows)}


TOGETHER = 10
FEW = 20
"""Up to here single rows are read, beyond it the whole range: a page of 1,000 costs as much as one row."""


def visits_of(scope: TenantScope, partition: str, wanted: Sequence[str]) -> dict[str, Visit]:
    """Those of the visits that are remembered."""
    if len(wanted) > FEW:
        known = visits(scope, partition)
        return {key: known[key] for key in wanted if key in known}
    rows = [scope.tables.get(TABLE, partition, f"v.{key}") for key in wanted]
    return {visit.key: visit for visit in (_visit(row) for row in rows if row)}


def visits_of_people(scope: TenantScope, partition: str, people: Collection[str]) -> list[Visit]:
    """The live visits of these persons, whenever they are; one storage operation for ten."""
    if len(people) > TOGETHER * FEW:
        return [one for one in visits(scope, partition).values() if one.state == "live" and one.person in people]
    found, names = list[Visit](), sorted(people)
    for first in range(0, len(names), TOGETHER):
        some = ("person", names[first : first + TOGETHER])
        found += map(_visit, scope.tables.query(TABLE, partition, start="v.", end="v/", among=some))
    return [visit for visit in found if visit.state == "live"]


def was_moved(scope: TenantScope, partition: str, visit: str, start: datetime) -> bool:
    """Whether the patient may have another time in mind: moved since the last telling, or told by a change."""
    seen = visits_of(scope, partition, [visit]).get(visit)
    if seen is None or seen.told.start is None:
        return False
    return seen.told.start != start or seen.asked.kind == "change"


def messages_of(scope: TenantScope, partition: str, wanted: Sequence[str]) -> dict[str, list[Row]]:
    """The m rows of visits, by visit key."""
    found: dict[str, list[Row]] = {key: [] for key in wanted}
    ranges = [f"{key}." for key in wanted] if len(wanted) <= FEW else [""]
    for prefix in ranges:
        end = f"m.{prefix[:-1]}/" if prefix else "m/"
        for row in scope.tables.query(TABLE, partition, start=f"m.{prefix}", end=end):
            if (visit := row.key.split(".")[1]) in found:
                found[visit].append(row)
    return found


def forget_waits(scope: TenantScope, partition: str, visits: Iterable[str]) -> None:
    """Delete the w rows of visits that were purged."""
    for key in visits:
        transacted(scope, [Write("delete", Row(partition, f"w.{key}"))])


def waiting(scope: TenantScope, partition: str) -> dict[str, Row]:
    """The w rows, by visit key."""
    rows = scope.tables.query(TABLE, partition, start="w.", end="w/")
    return {row.key.removeprefix("w."): row for row in rows}


@dataclass(frozen=True)
class Change:
    """What becomes of one visit, all or nothing: its v row, messages that are dropped, planned or silent."""

    visit: Visit
    dropped: Sequence[tuple[Row, str]] = ()
    """Planned m rows, and the rule by which they are not sent."""
    planned: Sequence[tuple[Message, Outcome]] = ()
    wait: Literal["", "begin", "end"] = ""

    def writes(self, partition: str) -> list[Write]:
        found = [Write("update" if self.visit.etag else "insert", self.visit.row(partition))]
        for row, rule in self.dropped:
            due = datetime.fromisoformat(row.text("due"))
            values = {**row.values, "state": "skipped", "rule": rule, "at": clock.now().isoformat()}
            found.append(Write("delete", Row(partition, f"d.{stamp(due)}.{row.key}")))
            found.append(Write("upsert", Row(partition, row.key, values)))
        for message, outcome in self.planned:
            found.append(Write("insert", message_row(partition, message, outcome)))
            if outcome.due is not None:
                found.append(Write("insert", message.due_row(partition, outcome.due)))
        if self.wait:
            noted: dict[str, Value] = {"since": clock.now().isoformat(), "likeness": self.visit.likeness}
            row = Row(partition, f"w.{self.visit.key}", noted)
            found.append(Write("upsert" if self.wait == "begin" else "delete", row))
        return found


def apply(scope: TenantScope, partition: str, changes: Sequence[Change]) -> list[Change]:
    """Write changes, many visits in one transaction; those that somebody else was faster with are returned."""
    lost: list[Change] = []
    for batch in _batches([(change, change.writes(partition)) for change in changes]):
        if not transacted(scope, [write for _, writes in batch for write in writes]):
            lost += [c for c, writes in batch if len(batch) == 1 or not transacted(scope, writes)]
    return lost


def _batches(parts: Iterable[tuple[Change, list[Write]]]) -> Iterator[list[tuple[Change, list[Write]]]]:
    batch: list[tuple[Change, list[Write]]] = []
    size = 0
    for change, writes in parts:
        if batch and size + len(writes) > TRANSACTION_LIMIT:
            yield batch
            batch, size = [], 0
        batch.append((change, writes))
        size += len(writes)
    if batch:
        yield batch


def _visit(row: Row) -> Visit:
    told = f"{row.number('told_n')} {row.text('told_class')} {row.text('told_start')}"
    asked_start = row.text("asked_start")
    asked = Asked(row.number("asked_n"), row.text("asked_kind"),
                  datetime.fromisoformat(asked_start) if asked_start else None, row.text("asked_rule"))  # fmt: skip
    return Visit(
        key=row.key.removeprefix("v."), ref=row.text("ref"), start=datetime.fromisoformat(row.text("start")),
        end=datetime.fromisoformat(row.text("end")), department=row.text("department"),
        state=_CLASSES[row.text("class")],
        generation=row.number("generation"), person=row.text("person"), likeness=row.text("likeness"),
        told=Told.parse(told), asked=asked, contact=row.text("contact"), others=row.text("others"),
        leads=row.text("leads"),
        changed_at=datetime.fromisoformat(row.text("changed_at")), etag=row.etag,
    )  # fmt: skip


_CLASSES: dict[str, Class] = {"live": "live", "cancelled": "cancelled", "not_video": "not_video", "lost": "lost"}
