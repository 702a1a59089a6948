"""Bringing an operation forward, by whatever worker has its hint: nothing depends on one process living.

    searching -> reserved -> purchasing -> done
    releasing -> done                        each -> failed, with a code

Before the first request of a step that changes something at ACS, the row says so. A number is bought by a reservation
whose id the row had before the reservation was made, that holds this number alone, and that ACS buys once. So whoever
comes back after a crash asks ACS what became of the reservation and goes on; at no point is another number bought.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from connector import clock, logs, tenants
from connector.adapters.tables import RowChanged, Write
from connector.errors import ConnectorError, PermanentError, RefusedError, TransientError
from connector.numbers.orders import Order, hint, read, read_quota
from connector.tenants import CONFIGURATION, Actor, SenderInput, TenantScope, audit_write

if TYPE_CHECKING:
    from connector.adapters.acs_numbers import AcsNumbers
    from connector.bootstrap import Services

LOOK_S = 5
TROUBLE_S = 30
STUCK_S = 600
CHOICES = 3
"""Numbers that are tried to be held, before it counts as no stock."""
GIVE_UP = timedelta(hours=1)
"""Until a search that Azure does not answer is given up."""
STUCK = timedelta(days=1)
_EARLY = timedelta(seconds=1)


def real_now() -> datetime:
    return datetime.now(UTC)


def look(
    services: Services, scope: TenantScope, operation_id: str, *, real: Callable[[], datetime] = real_now
) -> None:
    """Bring an operation as far as it goes now, and see that it is looked at again. Running it twice, or at once in two
    places, buys nothing twice: whoever writes the row second stops."""
    order = read(scope, operation_id)
    if order is None or order.operation.over or order.next_look > real() + _EARLY:
        return
    try:
        order, wait = _Desk(scope, services.numbers(scope.region)).forward(order)
        if order.operation.over:
            return
        order = replace(order, next_look=real() + timedelta(seconds=wait))
        scope.tables.update(CONFIGURATION, order.row(scope))
    except RowChanged:
        return  # another worker has it
    hint(scope, operation_id, delay_s=wait)


class _Desk:
    def __init__(self, scope: TenantScope, acs: AcsNumbers) -> None:
        self._scope = scope
        self._acs = acs

    def forward(self, order: Order) -> tuple[Order, int]:
        """The order as it is now, and in how many seconds to look again."""
        steps = {"searching": self._search, "reserved": self._reserved, "purchasing": self._purchasing,
                 "releasing": self._releasing}  # fmt: skip
        self._last = order
        try:
            while not order.operation.over:
                before = order.operation.state
                order = self._last = steps[before](order)
                if order.operation.state == before:
                    return _waiting(order)
        except RowChanged:
            raise
        except TransientError as error:
            return self._troubled(error)
        return order, 0

    def _search(self, order: Order) -> Order:
        """Choose a number, write down the choice, hold it. What an earlier worker held is taken up."""
        if order.reservation and self._holds(order):
            return self._write(order.changed(state="reserved"))
        wanted = order.operation
        while order.tries < CHOICES:
            try:
                prefix = f"{_calling_code(wanted.country)}{wanted.area_code}" if wanted.area_code else ""
                offers = self._acs.browse(wanted.country, wanted.kind, prefix)
                free = [offer for offer in offers if not offer.resale_agreement]
                if not free:
                    return self._failed(order, "agreement_required" if offers else "no_stock")
                order = self._last = self._write(
                    order.changed(
                        number=free[0].number,
                        monthly_cost=free[0].cost,
                        reservation=str(uuid.uuid4()),
                        tries=order.tries + 1,
                    )
                )
                self._acs.reserve(order.reservation, free[0])
                if self._holds(order):
                    return self._write(order.changed(state="reserved"))
            except PermanentError as error:
                return self._failed(order, _reason(error))
        return self._failed(order, "no_stock")

    def _holds(self, order: Order) -> bool:
        held = self._acs.reservation(order.reservation)
        return held is not None and held.status == "active" and held.numbers == {order.operation.number: "reserved"}

    def _reserved(self, order: Order) -> Order:
        return self._write(order.changed(state="purchasing"))

    def _purchasing(self, order: Order) -> Order:
        try:
            held = self._acs.reservation(order.reservation)
            status = held.status if held else "expired"
            if status == "active":
                return self._buy(order)
            if status == "submitted":
                return order
            # Asked of the number itself, too: nothing that was paid for is ever called failed.
            if self._acs.owns(order.operation.number or ""):
                return self._bought(order)
            if held is not None and held.numbers.get(order.operation.number or "") == "purchased":
                return order
        except PermanentError as error:
            raise TransientError(error.code) from None  # no verdict on the purchase
        return self._failed(order, "purchase_failed" if status == "completed" else "expired")

    def _buy(self, order: Order) -> Order:
        """ACS begins to buy a reservation only while it is active: asking again is harmless, and may be refused."""
        try:
            self._acs.purchase(order.reservation)
        except PermanentError as error:
            held = self._acs.reservation(order.reservation)
            if held is None or held.status == "active":
                return self._failed(order, _reason(error))
        return order

    def _bought(self, order: Order) -> Order:
        number, actor = order.operation.number or "", Actor(order.operation.started_by)
        wanted = SenderInput(kind="phone_number", value=number, label=order.operation.label)
        tenants.prove_number(self._scope, number)
        sender_id = None
        try:
            sender_id = tenants.add_sender(self._scope, wanted, actor).id
        except RefusedError:  # there already, by a worker that died after it, or by hand
            sender_id = next((one.id for one in tenants.senders(self._scope) if one.value == number), None)
        done = order.changed(state="done", sender_id=sender_id, code="" if sender_id else "no_sender")
        return self._end(done, held=1, action="number.bought")

    def _releasing(self, order: Order) -> Order:
        number = order.operation.number or ""
        try:
            gone = not self._acs.owns(number)
            if not gone:
                self._acs.release(number)
                gone = not self._acs.owns(number)
        except PermanentError as error:
            if error.code in ("numbers.not_allowed", "numbers.unreadable_answer"):
                return self._failed(order, "not_released")
            gone = False  # refused: a release is under way, perhaps
        if gone:
            tenants.forget_number(self._scope, number)
            return self._end(order.changed(state="done"), held=-1, action="number.released")
        return self._failed(order, "not_released") if clock.now() - order.operation.changed_at > STUCK else order

    def _troubled(self, error: TransientError) -> tuple[Order, int]:
        order = self._last
        logs.event("numbers.waiting", tenant=self._scope.tenant_id, operation=order.operation.id, code=error.code)
        if order.operation.state == "searching" and clock.now() - order.operation.started_at > GIVE_UP:
            return self._failed(order, "unanswered"), 0
        told = order.operation.model_copy(update={"code": "waiting"})  # it is as old as it was
        return replace(order, operation=told), max(TROUBLE_S, int(error.retry_after_s or 0))

    def _failed(self, order: Order, code: str) -> Order:
        ended = self._end(order.changed(state="failed", code=code))
        if order.reservation:
            try:
                self._acs.cancel(order.reservation)
            except ConnectorError:
                pass  # it ends by itself in a quarter of an hour
        return ended

    def _end(self, order: Order, *, held: int = 0, action: str = "") -> Order:
        """The operation, the allowance and the history in one transaction."""
        scope, operation = self._scope, order.operation
        quota = read_quota(scope)
        writes = [Write("update", order.row(scope)), replace(quota, open="", held=quota.held + held).write(scope)]
        if action:
            writes.append(audit_write(scope, Actor(operation.started_by), action, operation.id, after=operation))
        if operation.of and operation.state == "done":
            bought = read(scope, operation.of)
            if bought is not None:
                given = replace(bought, operation=bought.operation.model_copy(update={"released": True}))
                writes.append(Write("update", given.row(scope)))
        scope.tables.transact(CONFIGURATION, writes)
        logs.event(
            "numbers.ended", tenant=scope.tenant_id, operation=operation.id, state=operation.state, code=operation.code
        )
        return order

    def _write(self, order: Order) -> Order:
        return replace(order, etag=self._scope.tables.update(CONFIGURATION, order.row(self._scope)).etag)


def _waiting(order: Order) -> tuple[Order, int]:
    """It goes on at Azure. A purchase is never given up while Azure has not said what became of it: a second one could
    be paid for."""
    stuck = order.operation.state == "purchasing" and clock.now() - order.operation.changed_at > STUCK
    told = order.operation.model_copy(update={"code": "stuck" if stuck else ""})
    return replace(order, operation=told), STUCK_S if stuck else LOOK_S


def _reason(error: PermanentError) -> str:
    named = (error.vendor_code or "").lower()
    if "quota" in named or "limit" in named:
        return "microsoft_quota"
    return "not_allowed" if error.code == "numbers.not_allowed" else "refused"


def _calling_code(country: str) -> str:
    import phonenumbers

    return str(phonenumbers.country_code_for_region(country) or "")
