"""Starting a purchase or a release, and what has become of it.

Rows of table Configuration, partition = tenant:

`operation.{operation}`  one purchase or release: what is shown of it, the reservation that its number is bought by,
                         when it is looked at next (real time)
`quota.numbers`          which operation is under way (at most one), how many numbers are held, when purchases began

Both change in one transaction, so that two admins, or two clicks, start one operation.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from connector import clock, logs, tenants
from connector.adapters.tables import Row, RowChanged, RowExists, Write
from connector.errors import ConnectorError, RefusedError, Text, TransientError
from connector.numbers.models import NumberInput, NumberOperation
from connector.tenants import CONFIGURATION, Actor, TenantScope, audit_write

if TYPE_CHECKING:
    from connector.bootstrap import Services

LATE = timedelta(seconds=30)
"""After it should have been looked at, an operation counts as forgotten."""
PURCHASES_A_WEEK = 5
"""Begun by one tenant, whatever became of them: Azure's own limit of searches in its default quota."""
_WEEK = timedelta(days=7)
_TRIES = 5
_QUOTA = "quota.numbers"


@dataclass(frozen=True)
class Order:
    """An operation as stored."""

    operation: NumberOperation
    reservation: str = ""
    """Id of the reservation, ours, that holds `operation.number` and nothing else; written before it is used."""
    tries: int = 0
    next_look: datetime = field(default_factory=lambda: datetime.now(UTC))
    etag: str | None = None

    def changed(self, *, reservation: str | None = None, tries: int | None = None, **changes: Any) -> Order:
        """With another state, number, code ..., and without the code of before."""
        values = {"code": "", "changed_at": clock.now()} | changes
        return replace(
            self,
            operation=self.operation.model_copy(update=values),
            reservation=self.reservation if reservation is None else reservation,
            tries=self.tries if tries is None else tries,
        )

    @property
    def forgotten(self) -> bool:
        """Whoever had its hint has not come back: it died, perhaps."""
        return not self.operation.over and self.next_look + LATE < datetime.now(UTC)

    def row(self, scope: TenantScope) -> Row:
        kept = self.operation.model_dump_json(exclude={"what", "fix", "who"})
        values: dict[str, str | int] = {"body": kept, "reservation": self.reservation, "tries": self.tries}
        values["next_look"] = self.next_look.isoformat()
        return Row(scope.tenant_id, f"operation.{self.operation.id}", values, self.etag)

    @classmethod
    def of(cls, row: Row) -> Order:
        operation = NumberOperation.model_validate_json(row.text("body"), extra="ignore")
        look = datetime.fromisoformat(row.text("next_look"))
        return cls(operation, row.text("reservation"), row.number("tries"), look, row.etag)


@dataclass(frozen=True)
class Quota:
    open: str = ""
    held: int = 0
    started: tuple[datetime, ...] = ()
    etag: str | None = None

    def write(self, scope: TenantScope) -> Write:
        began = [moment.isoformat() for moment in self.started if moment > clock.now() - _WEEK]
        values: dict[str, str | int] = {"open": self.open, "held": self.held, "started": json.dumps(began)}
        return Write("update" if self.etag else "insert", Row(scope.tenant_id, _QUOTA, values, self.etag))


def start(services: Services, scope: TenantScope, wanted: NumberInput, actor: Actor) -> NumberOperation:
    """Begin to buy a number, or the purchase that is under way already: a second click buys no second number.

    Raises RefusedError: 422 `consent.missing`; 409 `numbers.switched_off`, `numbers.not_configured`, `numbers.held`,
    `numbers.too_often`, `numbers.busy` (another number is being given back).
    """
    tenants.require_consents(scope)
    allowed = services.settings.numbers_per_tenant
    if not services.settings.region(scope.region).communication_endpoint:
        raise _refused(
            "numbers.not_configured", "This service has no telephone numbers in your region yet. Ask its operator."
        )
    if allowed == 0:
        raise _refused(
            "numbers.switched_off",
            "The operator of this service buys numbers for you. Ask for one, and add it as a sender.",
        )
    for _ in range(_TRIES):
        quota = read_quota(scope)
        if quota.open:
            present = operation(scope, quota.open)
            if present.action == "buy":
                return present
            raise _refused("numbers.busy", "Another number is being given back. Start again when that is done.")
        _require_allowance(quota, allowed)
        now = clock.now()
        begun = NumberOperation(
            id=str(uuid.uuid4()), action="buy", state="searching", started_by=actor.object_id, started_at=now,
            changed_at=now, **wanted.model_dump(),
        )  # fmt: skip
        counted = replace(quota, open=begun.id, started=(*quota.started, now))
        if _begin(scope, begun, counted, actor, "number.ordered"):
            return begun.told()
    raise TransientError("storage.contended")


def release(scope: TenantScope, number: str, confirm: str, actor: Actor) -> NumberOperation:
    """Begin to give back a number that this tenant bought, and take it away as a sender.

    Raises RefusedError: 404 for any other number, 422 when `confirm` is not the number, 409 while a connection sends
    from it or another operation is under way.
    """
    bought = next((one for one in operations(scope) if _is_held(one) and one.number == number), None)
    if bought is None:
        raise RefusedError(
            "numbers.unknown", "Your organization has bought no such number here.", status=404, title="Not found"
        )
    if confirm.replace(" ", "") != number:
        raise tenants.invalid({"confirm": Text("must be %(number)s, as typed by you", number=number)})
    for _ in range(_TRIES):
        quota = read_quota(scope)
        if quota.open:
            present = operation(scope, quota.open)
            if present.action == "release" and present.number == number:
                return present
            raise _refused("numbers.busy", "Another number is being bought or given back. Start again after that.")
        _remove_sender(scope, number, actor)
        now = clock.now()
        kept = bought.model_dump(include={"country", "kind", "area_code", "label", "number", "monthly_cost"})
        begun = NumberOperation(
            id=str(uuid.uuid4()), action="release", state="releasing", started_by=actor.object_id, started_at=now,
            changed_at=now, of=bought.id, **kept,
        )  # fmt: skip
        if _begin(scope, begun, replace(quota, open=begun.id), actor, "number.release_ordered"):
            return begun.told()
    raise TransientError("storage.contended")


def operation(scope: TenantScope, operation_id: str) -> NumberOperation:
    """What has become of it; whoever waits for it also wakes it when it was forgotten, and need not wait for the sweep.

    Raises RefusedError (404), also for another tenant's.
    """
    found = read(scope, operation_id)
    if found is None:
        raise RefusedError("numbers.unknown", "There is no such operation.", status=404, title="Not found")
    if found.forgotten:
        hint(scope, operation_id)
    return found.operation.told()


def operations(scope: TenantScope) -> list[NumberOperation]:
    """All of them, newest first."""
    rows = scope.tables.query(CONFIGURATION, scope.tenant_id, start="operation.", end="operation/")
    found = [Order.of(row).operation.told() for row in rows]
    return sorted(found, key=lambda one: one.started_at, reverse=True)


def bought(scope: TenantScope) -> list[NumberOperation]:
    """The purchases whose numbers the tenant holds."""
    return [one for one in operations(scope) if _is_held(one)]


def allowance(services: Services, scope: TenantScope) -> tuple[int, int]:
    """How many numbers the tenant holds, and may hold by this service."""
    return read_quota(scope).held, services.settings.numbers_per_tenant


def read(scope: TenantScope, operation_id: str) -> Order | None:
    row = scope.tables.get(CONFIGURATION, scope.tenant_id, f"operation.{operation_id}")
    return Order.of(row) if row else None


def read_quota(scope: TenantScope) -> Quota:
    row = scope.tables.get(CONFIGURATION, scope.tenant_id, _QUOTA)
    if row is None:
        return Quota()
    began = tuple(datetime.fromisoformat(text) for text in json.loads(row.text("started")))
    return Quota(row.text("open"), row.number("held"), began, row.etag)


def hint(scope: TenantScope, operation_id: str, *, delay_s: int = 0) -> None:
    """Wake a worker. When the queue cannot be reached, the sweep does."""
    try:
        scope.queues.send(
            f"numbers-{scope.region}", {"tenant": scope.tenant_id, "operation": operation_id}, delay_s=delay_s
        )
    except ConnectorError as error:
        logs.event("numbers.hint_failed", tenant=scope.tenant_id, code=error.code)


def _begin(scope: TenantScope, begun: NumberOperation, quota: Quota, actor: Actor, action: str) -> bool:
    """False when somebody else was faster."""
    writes = [Write("insert", Order(begun).row(scope)), quota.write(scope)]
    try:
        scope.tables.transact(
            CONFIGURATION, [*writes, audit_write(scope, actor, action, begun.id, after=_shown(begun))]
        )
    except (RowChanged, RowExists):
        return False
    hint(scope, begun.id)
    return True


def _remove_sender(scope: TenantScope, number: str, actor: Actor) -> None:
    for sender in tenants.senders(scope):
        if sender.value == number:
            found = tenants.versioned_sender(scope, sender.id)
            tenants.remove_sender(scope, sender.id, found.etag, actor)


def _require_allowance(quota: Quota, allowed: int) -> None:
    if quota.held >= allowed:
        raise RefusedError(
            "numbers.held",
            Text("Your organization holds %(held)s of the %(allowed)s numbers that the operator allows. Ask the "
                 "operator of this service for more, or give one back.", held=quota.held, allowed=allowed),
            status=409, title="No more numbers",
        )  # fmt: skip
    week = [moment for moment in quota.started if moment > clock.now() - _WEEK]
    if len(week) >= PURCHASES_A_WEEK:
        raise _refused("numbers.too_often", "Numbers were asked for five times within a week. Try again later.")


def _refused(code: str, message: str) -> RefusedError:
    return RefusedError(code, message, status=409, title="Not possible now")


def _is_held(one: NumberOperation) -> bool:
    return one.action == "buy" and one.state == "done" and not one.released


def _shown(begun: NumberOperation) -> NumberOperation:
    """What the history keeps of it."""
    return begun.model_copy(update={"what": "", "fix": "", "who": ""})
