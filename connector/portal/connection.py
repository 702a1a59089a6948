"""One connection: how it is, its integration records, and the dates of what takes weeks."""

from __future__ import annotations

from collections.abc import Mapping

import azure.functions as func
from pydantic import ValidationError

from connector import checks, clock, messages, tenants, web
from connector.errors import RefusedError
from connector.portal import forms
from connector.portal.entrance import Route, Visit
from connector.portal.records import integration_records
from connector.portal.tasks import tasks
from connector.tenants import Checklist, Connection, Dates, Versioned


def found(visit: Visit) -> Versioned[Connection]:
    """The connection that the path names. Raises RefusedError (404), also for another tenant's."""
    return tenants.connection(visit.scope, visit.part("connection"))


def overview(visit: Visit) -> func.HttpResponse:
    connection = found(visit).value
    if visit.posted:
        checks.check_connection(visit.services, visit.scope, connection)
        return visit.go(visit.path, checked="1")
    report = checks.latest(visit.scope, connection.id)
    return visit.page(
        "portal/connection.html",
        connection=connection,
        tab="overview",
        report=report,
        found=[check.formatted(visit.language.gettext) for check in report.checks] if report else [],
        checked=bool(visit.asked("checked")),
        messages=messages.connection_status(visit.scope, connection, clock.now()),
        tasks=tasks(connection, tenants.checklist(visit.scope, connection.id).value),
    )


def records(visit: Visit) -> func.HttpResponse:
    connection = found(visit).value
    made = integration_records(visit.services, visit.scope, connection)
    return visit.page("portal/connection_records.html", connection=connection, tab="records", records=made)


def records_json(visit: Visit) -> func.HttpResponse:
    connection = found(visit).value
    made = integration_records(visit.services, visit.scope, connection)
    file = {"Content-Disposition": f'attachment; filename="integration-records-{connection.id}.json"'}
    return web.respond(made.model_dump_json(indent=2), mimetype="application/json", headers=file)


def checklist(visit: Visit) -> func.HttpResponse:
    connection = found(visit).value
    if not visit.posted:
        return _checklist(visit, connection)
    if visit.fields.get("do") == "entered":
        return _entered(visit, connection)
    names = [f"steps.{step}.{date}" for step in tenants.STEPS for date in Dates.model_fields]
    typed = {name: visit.fields.get(name, "").strip() for name in names}
    dates = {
        step: {date: typed[f"steps.{step}.{date}"] or None for date in Dates.model_fields} for step in tenants.STEPS
    }
    try:
        wanted = Checklist.model_validate({"steps": dates})
        tenants.set_checklist(visit.scope, connection.id, visit.fields.get("etag", ""), wanted, visit.actor)
    except ValidationError as error:
        details = {path if path in typed else f"{path}.done_on": said for path, said in tenants.faults(error).items()}
        return _checklist(visit, connection, status=422, typed=typed, errors=forms.on_fields(details, names))
    except RefusedError as error:
        if error.status != 412:
            raise
        return _checklist(visit, connection, status=412, typed=typed, errors={"": error.message})
    return visit.go(visit.path, saved="1")


def _entered(visit: Visit, connection: Connection) -> func.HttpResponse:
    """The button of the review: today the integration records were entered in Cerner."""
    present = tenants.checklist(visit.scope, connection.id)
    entered = present.value.steps.get("records_entered", Dates())
    steps = present.value.steps | {"records_entered": entered.model_copy(update={"done_on": clock.now().date()})}
    tenants.set_checklist(visit.scope, connection.id, present.etag, Checklist(steps=steps), visit.actor)
    return visit.go("/portal/setup/finish")


def _checklist(
    visit: Visit,
    connection: Connection,
    *,
    status: int = 200,
    typed: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
) -> func.HttpResponse:
    present = tenants.checklist(visit.scope, connection.id)
    shown = {
        f"steps.{step}.{name}": value.isoformat() if value else ""
        for step in tenants.STEPS
        for name, value in present.value.steps.get(step, Dates())
    }
    senders = {sender.id: sender for sender in tenants.senders(visit.scope)}
    return visit.page(
        "portal/connection_checklist.html",
        status=status,
        connection=connection,
        tab="checklist",
        etag=present.etag,
        steps=tenants.STEPS,
        typed=typed or shown,
        sender=senders.get(connection.sender_id or ""),
        saved=bool(visit.asked("saved")),
        errors=errors or {},
    )


_PATH = "portal/connections/{connection}"
ROUTES = (
    Route("portal_connection", _PATH, overview, ("GET", "POST")),
    Route("portal_connection_checklist", f"{_PATH}/checklist", checklist, ("GET", "POST")),
    Route("portal_connection_records", f"{_PATH}/records", records),
    Route("portal_connection_records_json", f"{_PATH}/records.json", records_json),
)
