"""Before anything else: the organization allows the app, and gets its region, once and for ever."""

from __future__ import annotations

import azure.functions as func

from connector.checks import REQUIRED, USED
from connector.errors import ConnectorError, RefusedError
from connector.languages import N_
from connector.portal import consent, session
from connector.portal.entrance import Route, Visit
from connector.regions import Region, region_for


def region(visit: Visit) -> func.HttpResponse:
    if visit.found is not None:
        return visit.go("/portal")
    if not visit.posted:
        return _page(visit)
    chosen = visit.fields.get("region", "")
    if chosen not in tuple(Region):
        return _page(visit, status=422, errors={"region": N_("choose one of them")})
    try:
        scope = visit.services.directory.pin(visit.who.tenant_id, Region(chosen))
    except RefusedError as error:
        return _page(visit, status=error.status, errors={"region": error.message})
    who = session.store(visit.who, scope)
    return visit.go("/portal/setup", cookies=(session.cookie(who, visit.services.sealer),))


def _page(visit: Visit, *, status: int = 200, errors: dict[str, str] | None = None) -> func.HttpResponse:
    granted = _granted(visit)
    country = _country(visit) if granted else None
    return visit.page(
        "portal/region.html",
        status=status,
        errors=errors or {},
        granted=granted,
        missing=sorted((REQUIRED | USED) - (granted or frozenset())),
        ready=bool(granted and granted >= REQUIRED),
        country=country and visit.language.locale("UTC").territories.get(country, country),
        proposed=region_for(country) if country else None,
        served=[served.region for served in visit.services.settings.regions],
        chosen=visit.fields.get("region"),
    )


def _granted(visit: Visit) -> frozenset[str] | None:
    """None when Microsoft does not answer at the moment: the region can be chosen all the same."""
    try:
        return consent.granted(visit.services, visit.who.tenant_id)
    except ConnectorError:
        return None


def _country(visit: Visit) -> str | None:
    try:
        return visit.services.graph_directory.country(visit.who.tenant_id)
    except ConnectorError:
        return None


ROUTES = (Route("portal_region", "portal/region", region, ("GET", "POST"), pinned=False),)
