"""The departments of a connection: their Cerner locations, which Cerner names, and their time zones."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import azure.functions as func
from pydantic import TypeAdapter

from connector import tenants
from connector.errors import ConnectorError
from connector.portal import forms, settings
from connector.portal.connection import found
from connector.portal.ehr_values import named_locations
from connector.portal.entrance import Route, Visit
from connector.tenants import Connection, Department, Versioned

_FIELDS = ("name", "location_ids", "time_zone")
_AT_MOST = 300
Row = dict[str, str]


def departments(visit: Visit) -> func.HttpResponse:
    present = found(visit)
    if not visit.posted:
        return _shown(visit, present, [_row(one) for one in present.value.departments])
    rows = _typed(visit.fields)
    if visit.fields.get("do") == "more":
        return _shown(visit, present, rows, more=True)
    kept = [row for row in rows if any(row.values())]

    def change(etag: str) -> Versioned[Connection]:
        listed = [{**row, "location_ids": forms.lines(row["location_ids"])} for row in kept]
        wanted = TypeAdapter(list[Department]).validate_python(listed)
        return tenants.set_departments(visit.scope, present.value.id, etag, wanted, visit.actor)

    refused = settings.attempt(visit, change)
    if refused is None:
        return visit.go(visit.path, saved="1")
    status, details = refused
    names = [f"departments.{number}.{name}" for number in range(len(kept)) for name in _FIELDS]
    placed = forms.on_fields({_full(path): said for path, said in details.items()}, names)
    return _shown(visit, found(visit), kept, status=status, errors=placed)


def _full(path: str) -> str:
    """Faults of the bare list begin with the number."""
    return f"departments.{path}" if path[:1].isdecimal() else path


def _row(department: Department) -> Row:
    return {
        "name": department.name,
        "location_ids": ", ".join(department.location_ids),
        "time_zone": department.time_zone,
    }


def _typed(fields: Mapping[str, str]) -> list[Row]:
    rows: list[Row] = []
    while len(rows) < _AT_MOST and f"departments.{len(rows)}.name" in fields:
        rows.append({name: fields.get(f"departments.{len(rows)}.{name}", "").strip() for name in _FIELDS})
    return rows


def _shown(
    visit: Visit,
    present: Versioned[Connection],
    rows: list[Row],
    *,
    status: int = 200,
    more: bool = False,
    errors: Mapping[str, str] | None = None,
) -> func.HttpResponse:
    known = present.value.departments
    empty = {"name": "", "location_ids": "", "time_zone": known[-1].time_zone if known else ""}
    wanted = [*rows, *([empty] if more or not rows else [])]
    return visit.page(
        "portal/connection_departments.html",
        status=status,
        connection=present.value,
        etag=present.etag,
        tab="departments",
        rows=wanted,
        more=more,
        zones=_zones(),
        labels=_labels(visit, present.value),
        saved=bool(visit.asked("saved")),
        errors=errors or {},
        **settings.meanwhile(visit, present.value.id, status),
    )


def _labels(visit: Visit, connection: Connection) -> dict[str, Any] | None:
    """What Cerner calls the locations that are stored; None when it does not say at the moment."""
    try:
        return {one.id: one.name for one in named_locations(visit.services, visit.scope, connection)}
    except ConnectorError:
        return None


@lru_cache(maxsize=1)
def _zones() -> list[str]:
    from zoneinfo import available_timezones

    places = ("Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific")
    return sorted(zone for zone in available_timezones() if zone.partition("/")[0] in places and "/" in zone)


ROUTES = (
    Route(
        "portal_connection_departments", "portal/connections/{connection}/departments", departments, ("GET", "POST")
    ),
)
