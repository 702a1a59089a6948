"""The timers and queue functions of the feature: they find the tenant, call the logic and log counts.

A queue message is a hint. Losing one, or running it twice, changes nothing: the tables are the truth, and the
next timer run gives the same hint again.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import azure.functions as func

from connector import clock, logs
from connector.errors import ConnectorError, RefusedError
from connector.messages import discover, dispatch, send, sweep
from connector.regions import Region
from connector.tenants import TIMER_S, Connection, TenantScope, connection, recent_connections, recent_senders

if TYPE_CHECKING:
    from connector.bootstrap import Services

ROUNDS = 4
"""Chunks that one run may send of its range; each takes at most a minute, and the host ends a run after five."""
SLOW_S = 90.0
"""After this no other chunk or claim is begun in a run: where the EHR is slow, reading takes minutes."""
GetServices = Callable[[], "Services"]


def blueprint(services: GetServices, regions: Iterable[Region]) -> func.Blueprint:
    """The feature's functions; queue functions only for the regions served: the others have no storage."""
    made = func.Blueprint()
    _add_timers(made, services)
    for region in regions:
        _add_region(made, services, region)
    return made


def _add_timers(made: func.Blueprint, services: GetServices) -> None:
    dispatcher = dispatch.Dispatcher()

    @made.function_name("messages_discover")
    @made.timer_trigger(arg_name="timer", schedule="0 */5 * * * *")
    def messages_discover(timer: func.TimerRequest) -> None:
        for scope in services().directory.scopes():
            with logs.contained("messages.discover_failed", tenant=scope.tenant_id):
                hints = discover.request_scans(scope, clock.now())
                logs.event("messages.scans_requested", tenant=scope.tenant_id, hints=hints)

    @made.function_name("messages_dispatch")
    @made.timer_trigger(arg_name="timer", schedule="0 * * * * *")
    def messages_dispatch(timer: func.TimerRequest) -> None:
        run = dispatcher.run()
        for scope in _in_turn(services()):  # names share one rate
            with logs.contained("messages.dispatch_failed", tenant=scope.tenant_id):
                released = run.release(scope, clock.now())
                logs.event("messages.released", tenant=scope.tenant_id, count=released)

    @made.function_name("messages_sweep")
    @made.timer_trigger(arg_name="timer", schedule="30 * * * * *")
    def messages_sweep(timer: func.TimerRequest) -> None:
        begun = time.monotonic()
        for scope in _in_turn(services()):
            with logs.contained("messages.sweep_failed", tenant=scope.tenant_id):
                for chosen in recent_connections(scope, TIMER_S).values():
                    if time.monotonic() - begun > SLOW_S:
                        return
                    with logs.contained("messages.sweep_failed", tenant=scope.tenant_id, connection=chosen.id):
                        sweep.sweep(scope, chosen.id, partial(desk, services(), scope, chosen))


def _in_turn(services: Services) -> list[TenantScope]:
    """Every tenant; who comes first changes each minute."""
    scopes = services.directory.scopes()
    first = clock.now().minute % max(1, len(scopes))
    return scopes[first:] + scopes[:first]


def _add_region(made: func.Blueprint, services: GetServices, region: Region) -> None:
    storage = f"{region.upper()}_STORAGE"

    @made.function_name(f"messages_discover_{region}")
    @made.queue_trigger(arg_name="message", queue_name=f"discover-{region}", connection=storage)
    def messages_discover_region(message: func.QueueMessage) -> None:
        hint = json.loads(message.get_body())
        scope = _scope(services(), region, hint)
        chosen = _present(scope, hint) if scope else None
        if scope is None or chosen is None or not chosen.may_send:
            return
        with _logged("messages.scan_failed", scope, chosen.id):
            reader = services().ehr.reader(scope, chosen)
            counts = discover.run(scope, chosen, reader, services().sealer, clock.now())
        logs.event("messages.scanned", connection=chosen.id, **counts)

    @made.function_name(f"messages_send_{region}")
    @made.queue_trigger(arg_name="message", queue_name=f"send-{region}", connection=storage)
    def messages_send_region(message: func.QueueMessage) -> None:
        hint = json.loads(message.get_body())
        scope = _scope(services(), region, hint)
        chosen = recent_connections(scope).get(hint["connection"]) if scope else None
        if scope is None or chosen is None:
            return
        with _logged("messages.send_failed", scope, chosen.id):
            place = desk(services(), scope, chosen)
            counts = _send_all(place, hint["from"], hint["to"]) if place else {}
        logs.event("messages.handled", connection=chosen.id, **counts)


def _send_all(place: send.Desk, first: str, last: str) -> Counter[str]:
    """A range is its worker's own, with what was planned into it since: the dispatcher leaves that to it."""
    counts, begun = Counter[str](), time.monotonic()
    for _ in range(ROUNDS):
        handled = send.send_range(place, first, last)
        more = handled.pop("more", 0)
        counts.update(handled)
        if not more or handled.get("not_claimed") or time.monotonic() - begun > SLOW_S:
            break
    return counts


def desk(services: Services, scope: TenantScope, chosen: Connection) -> send.Desk | None:
    """Where a connection's messages are sent from; None while it may not send."""
    by = recent_senders(scope).get(chosen.sender_id or "")
    email = services.email(scope.region) if "email" in chosen.messages.channels else None
    if not chosen.may_send or (by is None and email is None):
        return None
    return send.Desk(
        scope=scope,
        connection=chosen,
        sender=by,
        reader=services.ehr.reader(scope, chosen),
        sms=services.sms(scope.region),
        email=email,
        sealer=services.sealer,
        public_url=services.settings.public_url,
    )


def _scope(services: Services, region: Region, hint: dict[str, str]) -> TenantScope | None:
    """None for a tenant that is gone: its hints are old."""
    scope = services.directory.find(hint["tenant"])
    if scope is not None:
        scope.require_region(region)
    return scope


def _present(scope: TenantScope, hint: dict[str, str]) -> Connection | None:
    """As it is at this moment: a scan is asked for when a configuration was changed."""
    try:
        return connection(scope, hint["connection"]).value
    except RefusedError:
        return None


@contextmanager
def _logged(name: str, scope: TenantScope, connection_id: str | None = None) -> Iterator[None]:
    """Log a failure and let it go on to the host, which gives the hint again."""
    try:
        yield
    except ConnectorError as error:
        logs.event(name, tenant=scope.tenant_id, connection=connection_id, code=error.code)
        raise
