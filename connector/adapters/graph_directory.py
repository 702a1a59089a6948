"""A tenant's directory as set-up and readiness ask for it: country, Teams licence, organizers' accounts, application
access policy.

Source: Microsoft Graph v1.0 reference, "List subscribedSkus", "Get user" (accountEnabled, assignedPlans), "Get
onlineMeeting" (by JoinWebUrl); "Product names and service plan identifiers for licensing".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from connector.adapters.graph_http import GraphHttp, json_object, unreadable
from connector.errors import PermanentError

TEAMS_PLAN = "57ff2da0-773e-42df-b2af-ffb7a2317929"
"""Service plan TEAMS1."""
_NO_MEETING = "https://teams.microsoft.com/l/meetup-join/19%3ameeting_none%40thread.v2/0"
"""A join address in Teams' form that belongs to no meeting."""


@dataclass(frozen=True)
class Account:
    enabled: bool
    has_teams: bool


@dataclass(frozen=True)
class Person:
    object_id: str
    name: str
    username: str


class GraphDirectory:
    """Raises what `GraphHttp.call` does."""

    def __init__(self, http: GraphHttp) -> None:
        self._http = http

    def country(self, tenant_id: str) -> str | None:
        """Where the organization says it is (ISO 3166-1)."""
        response = self._http.call("GET", tenant_id, "/organization?$select=id,countryLetterCode")
        listed = json_object(response).get("value")
        first = listed[0] if isinstance(listed, list) and listed else None
        found = first.get("countryLetterCode") if isinstance(first, dict) else None
        return found.upper() if isinstance(found, str) and len(found) == 2 else None

    def has_teams_licence(self, tenant_id: str) -> bool:
        """Whether the tenant has any subscription in force that includes Teams."""
        response = self._http.call("GET", tenant_id, "/subscribedSkus")
        listed = json_object(response).get("value")
        if not isinstance(listed, list):
            raise unreadable(response)
        return any(
            sku.get("capabilityStatus") == "Enabled" and _has(sku.get("servicePlans"), "provisioningStatus", "Success")
            for sku in listed
            if isinstance(sku, dict)
        )

    def person(self, tenant_id: str, named: str) -> Person | None:
        """Whom an object id or a user principal name names in the tenant."""
        found = self._user(tenant_id, named, "id,displayName,userPrincipalName")
        if found is None:
            return None
        said = [found.get(name) for name in ("id", "displayName", "userPrincipalName")]
        return Person(*(value if isinstance(value, str) else "" for value in said))

    def account(self, tenant_id: str, object_id: str) -> Account | None:
        """None when there is no such account in the tenant."""
        found = self._user(tenant_id, object_id, "id,accountEnabled,assignedPlans")
        if found is None:
            return None
        teams = _has(found.get("assignedPlans"), "capabilityStatus", "Enabled")
        return Account(enabled=found.get("accountEnabled") is True, has_teams=teams)

    def _user(self, tenant_id: str, named: str, select: str) -> dict[str, Any] | None:
        try:
            return json_object(self._http.call("GET", tenant_id, f"/users/{quote(named, safe='@')}?$select={select}"))
        except PermanentError as error:
            if error.code == "graph.not_found":
                return None
            raise

    def may_act_for(self, tenant_id: str, organizer: str) -> bool:
        """Whether an application access policy lets us work with this account's meetings.

        Asks for a meeting that does not exist: without a policy Graph refuses (403) before it looks.
        """
        condition = quote(f"JoinWebUrl eq '{quote(_NO_MEETING, safe='')}'", safe="")
        try:
            self._http.call("GET", tenant_id, f"/users/{quote(organizer, safe='')}/onlineMeetings?$filter={condition}")
        except PermanentError as error:
            if error.code == "graph.no_application_access":
                return False
            if error.code != "graph.not_found":
                raise
        return True


def _has(plans: Any, status: str, wanted: str) -> bool:
    return isinstance(plans, list) and any(
        isinstance(plan, dict) and plan.get("servicePlanId") == TEAMS_PLAN and plan.get(status) == wanted
        for plan in plans
    )
