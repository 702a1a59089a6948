"""The whole configuration as a file: out, and in again after one has seen what it would change."""

from __future__ import annotations

import json
from collections.abc import Mapping

import azure.functions as func

from connector import clock, messages, tenants, web
from connector.errors import RefusedError
from connector.languages import N_
from connector.portal.entrance import Route, Visit
from connector.tenants import ImportResult


def transfer(visit: Visit) -> func.HttpResponse:
    if not visit.posted:
        return _page(visit)
    try:
        document = json.loads(visit.fields.get("document", ""))
    except (ValueError, RecursionError):
        return _page(visit, status=422, errors={"document": N_("is not JSON: paste the whole file")})
    dry_run = visit.fields.get("do") != "import"
    etag = tenants.export(visit.scope).etag if dry_run else visit.fields.get("etag", "")
    directory = visit.services.directory
    try:
        result, written = tenants.import_file(
            directory, visit.scope, document, etag, visit.actor, dry_run=dry_run
        )
    except RefusedError as error:
        said = {"document": error.message} if error.status == 412 or not error.details else error.details
        return _page(visit, status=error.status, errors=said)
    for one in written:
        messages.configured(visit.scope, one.value, clock.now())
    return _page(visit, result=result)


def download(visit: Visit) -> func.HttpResponse:
    """Two exports of the same configuration are the same to the byte."""
    file = {"Content-Disposition": 'attachment; filename="configuration.json"'}
    text = tenants.export(visit.scope).value.model_dump_json(indent=2) + "\n"
    return web.respond(text, mimetype="application/json", headers=file)


def _page(
    visit: Visit,
    *,
    status: int = 200,
    result: ImportResult | None = None,
    errors: Mapping[str, str] | None = None,
) -> func.HttpResponse:
    return visit.page(
        "portal/transfer.html",
        status=status,
        document=visit.fields.get("document", ""),
        etag=tenants.export(visit.scope).etag,
        result=result,
        errors=errors or {},
    )


ROUTES = (
    Route("portal_export", "portal/export", transfer, ("GET", "POST")),
    Route("portal_export_file", "portal/export/configuration.json", download),
)
