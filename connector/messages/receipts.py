"""What became of messages after they were accepted: reports by Event Grid in the Americas, asked for elsewhere.

A report is kept in columns `delivery`, `delivery_code` and `delivery_at` of the message's row; `state` says what we
did, and changes only from `uncertain`, which a report proves sent. Reports may come twice, late, in any order, before
we recorded the message, or from somebody who made them up: one that names no message of ours, or another message id
than the one we were given, changes nothing. Event Grid's topic of Communication Services is global, so only the
Americas use it; the other regions ask their own resource.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from connector import clock, logs
from connector.adapters.acs_events import Report
from connector.adapters.tables import Row, Value, Write
from connector.errors import ConnectorError, RefusedError, TransientError
from connector.messages import health, optouts
from connector.messages.ledger import TABLE, transacted
from connector.messages.reference import Awaiting, Reference, Sent
from connector.regions import Region
from connector.tenants import Connection, TenantScope, recent_connections, recent_senders

if TYPE_CHECKING:
    from connector.bootstrap import Services

LOOKS = (timedelta(minutes=3), timedelta(minutes=15), timedelta(hours=2), timedelta(hours=12))
"""Ages at which the vendor is asked. E-mail begins with the second: its status may be read 200 times an hour."""
KEPT = timedelta(hours=24)
"""Nothing is expected any more of what was sent longer ago."""
ASKED = 200
"""Reports that one run asks for, of one connection."""
OPTED_OUT = "4007"


@dataclass(frozen=True)
class Delivery:
    """What is written of a message."""

    row: str
    delivery: str
    """`delivered`, `handed_over` (an e-mail that the mail service passed on) or `undelivered`."""
    code: str
    at: datetime
    message_id: str

    def values(self, present: Row) -> dict[str, Value]:
        found: dict[str, Value] = {"delivery": self.delivery, "delivery_code": self.code, "delivery_at": _text(self.at)}
        if present.text("state") == "uncertain":
            found |= {"state": "sent", "message_id": self.message_id}
        return found


def take(services: Services, region: Region, report: Report) -> str:
    """Keep a report that Event Grid brought; what was done, in a constant word.

    Raises TransientError for one that came before its message was recorded: then Event Grid brings it again.
    """
    reference = Reference.parse(report.tag or report.message_id, region)
    try:
        scope = services.directory.scope_of_connection(reference.connection_id) if reference else None
    except RefusedError:
        scope = None
    if reference is None or scope is None:
        return "unknown"
    connection, sent = recent_connections(scope).get(reference.connection_id), _find(scope, reference)
    if sent is None:
        _require_recorded(scope, reference)
        sent = _find(scope, reference)  # it may have been recorded in between
    if connection is None or sent is None:
        return "unknown"
    if sent.message_id and sent.message_id != report.message_id:
        return "refused"
    delivered = "delivered" if report.delivered else "undelivered"
    found = Delivery(sent.key, delivered, report.code, report.at, report.message_id)
    if not _keep(scope, connection.id, found):
        return "known"
    _learn(scope, connection, [report])
    return delivered


def _find(scope: TenantScope, reference: Reference) -> Sent | None:
    claim = f"r.{reference.claim}"
    for row in scope.tables.query(TABLE, reference.connection_id, start=f"{claim}.", end=f"{claim}/"):
        for sent in Awaiting.of(row).sent:
            if sent.message == reference.message:
                return sent
    return None


def _require_recorded(scope: TenantScope, reference: Reference) -> None:
    partition, claim = reference.connection_id, reference.claim
    under_way = [row.key.rpartition(".")[2] for row in scope.tables.query(TABLE, partition, start="k.", end="k/")]
    under_way += [row.text("claim") for row in scope.tables.query(TABLE, partition, start="l.", end="l/")
                  if row.text("state") == "claimed"]  # fmt: skip
    if any(found.startswith(claim) for found in under_way):
        raise TransientError("messages.report_too_early")


def _keep(scope: TenantScope, partition: str, found: Delivery) -> bool:
    """False when the row is gone, or holds this report or a later one already."""
    present = scope.tables.get(TABLE, partition, found.row)
    if present is None or present.text("delivery_at") >= _text(found.at):
        return False
    return transacted(scope, [Write("merge", Row(partition, found.row, found.values(present)))])


def look(services: Services, scope: TenantScope, connection: Connection) -> Counter[str]:
    """Ask for what is due of a connection, and forget what is old; counts of what was found.

    In the Americas only e-mail of unknown outcome is asked for. One storage operation, and one more for each claim
    whose time has come.
    """
    now, counts = clock.now(), Counter[str]()
    for row in list(scope.tables.query(TABLE, connection.id, start="r.", end="r/")):
        awaiting = Awaiting.of(row)
        if now - awaiting.at >= KEPT:
            transacted(scope, [Write("delete", Row(connection.id, row.key))])
        elif awaiting.looked < len(LOOKS) and now - awaiting.at >= LOOKS[awaiting.looked] and counts["asked"] < ASKED:
            counts += _look_at(services, scope, connection, awaiting)
    return counts


def _look_at(services: Services, scope: TenantScope, connection: Connection, awaiting: Awaiting) -> Counter[str]:
    counts, reports = Counter[str](), list[Report]()
    settled: dict[Sent, Delivery | None] = {}
    try:
        for sent in awaiting.sent:
            if not _asked(scope, sent, awaiting):
                continue
            counts["asked"] += 1
            found = _ask(services, scope, sent)
            if isinstance(found, Report):
                reports.append(found)
                delivered = "delivered" if found.delivered else "undelivered"
                settled[sent] = Delivery(sent.key, delivered, found.code, found.at, sent.message_id)
            elif found:
                settled[sent] = None if found == "unknown" else _of_progress(sent, found)
    except ConnectorError as error:  # what is known is written, the rest is asked for in the next run
        logs.event("messages.receipts_unread", connection=connection.id, code=error.code)
        awaiting = replace(awaiting, looked=awaiting.looked - 1)
    counts += _settle(scope, connection.id, replace(awaiting, looked=awaiting.looked + 1), settled)
    _learn(scope, connection, reports)
    return counts


def _asked(scope: TenantScope, sent: Sent, awaiting: Awaiting) -> bool:
    told_of = scope.region is Region.AMERICAS and (sent.certain or sent.channel == "sms")
    return bool(sent.message_id) and not told_of and (sent.channel == "sms" or awaiting.looked > 0)


def _ask(services: Services, scope: TenantScope, sent: Sent) -> Report | str | None:
    if sent.channel == "sms":
        return services.sms(scope.region).delivery_report(sent.message_id)
    mailer = services.email(scope.region)
    progress = mailer.progress(sent.message_id) if mailer else "under_way"
    return None if progress == "under_way" else progress


def _of_progress(sent: Sent, progress: str) -> Delivery:
    delivered = "handed_over" if progress == "succeeded" else "undelivered"
    return Delivery(sent.key, delivered, "" if progress == "succeeded" else "failed", clock.now(), sent.message_id)


def _settle(
    scope: TenantScope, partition: str, awaiting: Awaiting, settled: dict[Sent, Delivery | None]
) -> Counter[str]:
    """Write what is known now. An e-mail of unknown outcome that the vendor has never heard of was not sent."""
    counts, writes = Counter[str](), list[Write]()
    for sent, found in settled.items():
        nothing = Row(partition, sent.key)
        present = nothing if sent.certain else scope.tables.get(TABLE, partition, sent.key) or nothing
        if found is not None:
            values = found.values(present)
        elif present.text("state") == "uncertain":
            values = {"state": "failed", "rule": "email.never_accepted"}
        else:
            continue
        counts[str(values.get("delivery", "never_accepted"))] += 1
        writes.append(Write("merge", Row(partition, sent.key, values)))
    left = tuple(sent for sent in awaiting.sent if sent not in settled)
    kept = replace(awaiting, sent=left).stored()
    if not transacted(scope, [*writes, Write("update" if left else "delete", kept)]):
        logs.event("messages.receipts_contended", connection=partition)
        return Counter()
    return counts


def _learn(scope: TenantScope, connection: Connection, reports: Sequence[Report]) -> None:
    """What failed reports say of the sender, and of a person who told the carrier to stop."""
    sender = recent_senders(scope).get(connection.sender_id or "")
    for report in reports:
        if report.delivered or not report.sender:
            continue
        logs.event("messages.undelivered", connection=connection.id, code=report.code)
        if sender and report.code == OPTED_OUT and report.sender == sender.value:
            optouts.record(scope, sender.id, report.to, out=True, via="carrier")
    faults = Counter(report.code for report in reports if report.code in health.FAULTS and report.sender)
    if sender and faults:
        health.note(scope, sender.id, faults, clock.now())


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")
