"""The front page: what works, what does not, who can fix it, and what comes next."""

from __future__ import annotations

from dataclasses import dataclass

import azure.functions as func

from connector import checks, clock, messages, tenants
from connector.checks import Check, Report
from connector.messages import MessageStatus
from connector.portal.entrance import Route, Visit
from connector.portal.tasks import Task, tasks
from connector.tenants import Connection

_SHOWN = 3
"""Of what is wrong with a connection; the rest is on its own page."""


@dataclass(frozen=True)
class Card:
    connection: Connection
    report: Report | None
    wrong: list[Check]
    """The worst first."""
    more: int
    messages: MessageStatus
    tasks: list[Task]

    @property
    def next(self) -> Task | None:
        return next((task for task in self.tasks if not task.done and not task.optional), None)


def home(visit: Visit) -> func.HttpResponse:
    reports = checks.latest_of_all(visit.scope)
    cards = [_card(visit, found.value, reports.get(found.value.id)) for found in tenants.connections(visit.scope)]
    return visit.page("portal/home.html", cards=cards, region=visit.scope.region)


def _card(visit: Visit, connection: Connection, report: Report | None) -> Card:
    wrong = [check for check in report.checks if check.state != "pass"] if report else []
    wrong = sorted((check for check in wrong if check.finding != "not_asked"), key=lambda check: check.state)
    return Card(
        connection,
        report,
        [check.formatted(visit.language.gettext) for check in wrong[:_SHOWN]],
        max(0, len(wrong) - _SHOWN),
        messages.connection_status(visit.scope, connection, clock.now()),
        tasks(connection, tenants.checklist(visit.scope, connection.id).value),
    )


ROUTES = (Route("portal", "portal", home),)
