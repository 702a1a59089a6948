"""Names of Entra accounts, looked up when a page shows them and kept nowhere."""

from __future__ import annotations

from collections.abc import Iterable

from connector.adapters.graph_directory import Person
from connector.errors import ConnectorError
from connector.portal.entrance import Visit

_AT_MOST = 25
"""Look-ups for one page."""


def names(visit: Visit, object_ids: Iterable[str]) -> dict[str, str]:
    """By object id; without those that Microsoft does not name, such as programs and people who left."""
    known = {visit.who.object_id: visit.who.name or visit.who.username}
    others = [one for one in object_ids if one not in known]
    return known | {one: found.name or found.username for one, found in accounts(visit, others).items()}


def accounts(visit: Visit, object_ids: Iterable[str]) -> dict[str, Person]:
    """The same with their user names."""
    known: dict[str, Person] = {}
    for object_id in list(dict.fromkeys(object_ids))[:_AT_MOST]:
        try:
            person = visit.services.graph_directory.person(visit.scope.tenant_id, object_id)
        except ConnectorError:
            break  # no consent, or Microsoft is away: ids have to do
        if person:
            known[object_id] = person
    return known
