"""Where Microsoft Graph tells of calls.

What it tells counts only when the tenant's token, the secret of the visit's own subscription and the signature of the
content all hold; whatever else comes is answered alike and leaves nothing.
Source: Microsoft Graph, "Receive change notifications through webhooks" (validation within ten seconds, an answer
within three), "Reduce missing subscriptions and change notifications" (lifecycle).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import azure.functions as func

from connector import logs, web
from connector.adapters import graph_notifications
from connector.adapters.graph_notifications import Notification, NotReadable
from connector.adapters.tables import Row
from connector.errors import ConnectorError, TransientError
from connector.tenants import TenantScope
from connector.visits import ahead, live

if TYPE_CHECKING:
    from connector.bootstrap import Services

MOST = 400
"""Items of one delivery, whose body has a limit too (`web.body`)."""
_LONGEST_TOKEN = 2048


def blueprint(services: Callable[[], Services]) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("graph_notifications")
    @bp.route(route="webhooks/graph", methods=["POST"])
    @web.answers_with_problem
    def notified(req: func.HttpRequest) -> func.HttpResponse:
        return _handshake(req) or _delivered(services(), req)

    @bp.function_name("graph_lifecycle")
    @bp.route(route="webhooks/graph/lifecycle", methods=["POST"])
    @web.answers_with_problem
    def lifecycle(req: func.HttpRequest) -> func.HttpResponse:
        return _handshake(req) or _delivered(services(), req)

    return bp


def _handshake(req: func.HttpRequest) -> func.HttpResponse | None:
    token = web.query_one(req, "validationToken")
    if token is None or len(token) > _LONGEST_TOKEN:
        return None
    return web.respond(token, mimetype="text/plain")


def _delivered(services: Services, req: func.HttpRequest) -> func.HttpResponse:
    """202 whatever it was; 503 when storage or Entra's keys cannot be had, and Graph delivers again."""
    try:
        items, tokens = graph_notifications.read(web.body(req), most=MOST)
    except NotReadable:
        logs.event("live.notifications", not_readable=1)
        return web.respond(status=202)
    proven = services.entra.notification_tenants(tokens) if items else frozenset()
    visits: dict[str, list[Notification]] = {}
    for item in items:
        visits.setdefault(item.client_state, []).append(item)
    with ThreadPoolExecutor(max_workers=8) as pool:  # Graph waits three seconds
        taken = pool.map(lambda its: [_take(services, item, proven) for item in its], visits.values())
        outcomes = Counter(outcome for its in taken for outcome in its)
    logs.event("live.notifications", **outcomes)
    return web.respond(status=202)


def _take(services: Services, item: Notification, proven: frozenset[str]) -> str:
    """What became of one item, for the log."""
    found = live.named(item.client_state)
    if found is None:
        return "not_ours"
    connection_id, visit = found
    try:
        scope = services.directory.scope_of_connection(connection_id)
        subscription = live.subscribed(scope, connection_id, visit, item) if scope.tenant_id == item.tenant_id else None
        if subscription is None:
            return "not_ours"
        if item.lifecycle_event or item.tenant_id not in proven:
            # no more than a reason to ask Graph: anybody who has the secret may make us look
            ahead.hint(scope, connection_id, visit, doubted=True)
            return "looked_up"
        return _record(services, scope, subscription, item)
    except TransientError:
        raise
    except ConnectorError:
        return "not_ours"


def _record(services: Services, scope: TenantScope, subscription: Row, item: Notification) -> str:
    try:
        event = graph_notifications.call_event(
            item, live.certificates(services.settings.graph_notification_certificates)
        )
    except NotReadable:
        return "not_readable"
    live.record(scope, subscription, event)
    return "recorded"
