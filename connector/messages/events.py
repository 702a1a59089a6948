"""What Communication Services tells of itself: replies and reports by Event Grid (Americas), and the asking elsewhere.

Event Grid delivers at least once and in any order. A function that raises gets the event again for a day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import azure.functions as func

from connector import logs
from connector.adapters import acs_events
from connector.messages import inbound, receipts
from connector.regions import Region
from connector.tenants import recent_connections

if TYPE_CHECKING:
    from connector.bootstrap import Services


def blueprint(services: Callable[[], Services], regions: Iterable[Region]) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("messages_receipts")
    @bp.timer_trigger(arg_name="timer", schedule="15 */5 * * * *")
    def messages_receipts(timer: func.TimerRequest) -> None:
        for scope in services().directory.scopes():
            with logs.contained("messages.receipts_failed", tenant=scope.tenant_id):
                for connection in recent_connections(scope).values():
                    with logs.contained("messages.receipts_failed", connection=connection.id):
                        if counts := receipts.look(services(), scope, connection):
                            logs.event("messages.receipts", connection=connection.id, **counts)

    if Region.AMERICAS in regions:

        @bp.function_name("messages_inbound")
        @bp.event_grid_trigger(arg_name="event")
        def messages_inbound(event: func.EventGridEvent) -> None:
            if event.event_type == acs_events.RECEIVED:
                reply = acs_events.reply(event.get_json())
                done = inbound.take(services(), reply) if reply else "unreadable"
                logs.event("messages.reply", done=done)

        @bp.function_name("messages_reports")
        @bp.event_grid_trigger(arg_name="event")
        def messages_reports(event: func.EventGridEvent) -> None:
            report = acs_events.report(str(event.event_type), event.get_json())
            done = receipts.take(services(), Region.AMERICAS, report) if report else "unreadable"
            logs.event("messages.report", done=done)

    return bp
