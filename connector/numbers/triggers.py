"""The worker of the queue, and the sweep that wakes it when a hint was lost. A hint is not the truth: the row is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import azure.functions as func

from connector import logs
from connector.numbers.orders import hint, read, read_quota
from connector.numbers.work import look
from connector.regions import Region
from connector.tenants import TenantScope

if TYPE_CHECKING:
    from connector.bootstrap import Services

GetServices = Callable[[], "Services"]


def blueprint(services: GetServices, regions: Iterable[Region]) -> func.Blueprint:
    made = func.Blueprint()

    @made.function_name("numbers_sweep")
    @made.timer_trigger(arg_name="timer", schedule="50 */2 * * * *")
    def numbers_sweep(timer: func.TimerRequest) -> None:
        for scope in services().directory.scopes():
            try:
                sweep(scope)
            except Exception as error:
                logs.failure("numbers.sweep_failed", error, tenant=scope.tenant_id)

    for region in regions:
        _add_region(made, services, region)
    return made


def sweep(scope: TenantScope) -> None:
    """Hint again for the operation that is under way, if nobody has looked at it when it was due."""
    under_way = read_quota(scope).open
    order = read(scope, under_way) if under_way else None
    if order is not None and order.forgotten:
        hint(scope, under_way)


def _add_region(made: func.Blueprint, services: GetServices, region: Region) -> None:
    @made.function_name(f"numbers_work_{region}")
    @made.queue_trigger(arg_name="message", queue_name=f"numbers-{region}", connection=f"{region.upper()}_STORAGE")
    def numbers_work_region(message: func.QueueMessage) -> None:
        given = json.loads(message.get_body())
        scope = services().directory.find(given["tenant"])
        if scope is None:
            return
        scope.require_region(region)
        look(services(), scope, given["operation"])
