"""The forms of a connection's settings that have a page of their own: what each holds, and what helps to fill it."""

from __future__ import annotations

import re
from typing import Any

from connector import checks
from connector.errors import ConnectorError
from connector.languages import N_
from connector.portal import people
from connector.portal.ehr_values import seen_types
from connector.portal.entrance import Route, Visit
from connector.portal.settings import Part, page
from connector.tenants import Connection

_GUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


def _object_ids(visit: Visit, typed: dict[str, Any]) -> dict[str, str]:
    """Accounts may be typed by their names; their object ids are kept."""
    wrong: dict[str, str] = {}
    ids: list[str] = []
    for number, named in enumerate(typed["organizers"]):
        if "@" not in named:
            ids.append(named.lower() if _GUID.fullmatch(named) else named)
            continue
        try:
            person = visit.services.graph_directory.person(visit.scope.tenant_id, named)
        except ConnectorError:
            wrong[f"organizers.{number}"] = N_(
                "cannot be looked up now: allow this service in Microsoft first, or enter the object id"
            )
            continue
        if person is None:
            wrong[f"organizers.{number}"] = N_("is not an account of your organization")
        else:
            ids.append(person.object_id)
    typed["organizers"] = list(dict.fromkeys(ids))
    return wrong


def _meetings(visit: Visit, connection: Connection) -> dict[str, Any]:
    """The accounts by user name, and what the last check saw of the Microsoft side."""
    report, known = checks.latest(visit.scope, connection.id), people.accounts(visit, connection.organizers)
    of_microsoft = [one for one in report.checks if one.id.startswith("microsoft.")] if report else []
    return {
        "accounts": [known[one].username if one in known else one for one in connection.organizers],
        "found": [check.formatted(visit.language.gettext) for check in of_microsoft],
        "client_id": visit.services.settings.entra_client_id,
    }


def _sample(visit: Visit, connection: Connection) -> dict[str, Any]:
    """Appointment types of two days of the departments' schedule, when asked for: codes, names and how many."""
    nothing: dict[str, Any] = {"sample": None, "sample_failed": False, "virtual": 0}
    if not visit.asked("sample") or not connection.location_ids:
        return nothing
    try:
        seen = seen_types(visit.services, visit.scope, connection)
    except ConnectorError:
        return nothing | {"sample_failed": True}
    sample = [(one.code, one.name, one.count) for one in seen.types]
    return {"sample": sample, "sample_failed": False, "virtual": seen.virtual_rooms}


def _chosen_types(visit: Visit, typed: dict[str, Any]) -> dict[str, str]:
    """Ticked ones of the sample come to those that are typed."""
    ticked = [name.removeprefix("type.") for name in visit.fields if name.startswith("type.")]
    typed["video_visit_types"] = list(dict.fromkeys([*typed["video_visit_types"], *ticked]))
    return {}


_PARTS = (
    Part(
        "general",
        "portal/connection_general.html",
        texts=("name", "clinic_name", "contact_phone", "patient_fhir_base_url"),
        switches=("release_confirmed",),
    ),
    Part(
        "meetings",
        "portal/connection_meetings.html",
        texts=("join_opens_minutes", "join_closes_minutes"),
        lists=("organizers",),
        more=_meetings,
        resolve=_object_ids,
    ),
    Part(
        "visits",
        "portal/connection_visits.html",
        lists=("video_visit_types",),
        more=_sample,
        resolve=_chosen_types,
    ),
    Part(
        "access",
        "portal/connection_access.html",
        texts=("scopes_version", "client_authentication"),
        lists=("framers",),
        switches=("write_back", "arrived_on_join"),
    ),
)
ROUTES = tuple(
    Route(
        f"portal_connection_{part.name}",
        f"portal/connections/{{connection}}/{part.name}",
        page(part),
        ("GET", "POST"),
    )
    for part in _PARTS
)
