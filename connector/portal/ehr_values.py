"""What the EHR itself has, to choose from: appointment types of the schedule, names of locations. Nothing is kept."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

from pydantic import BaseModel

from connector import clock
from connector.tenants import Connection, TenantScope

if TYPE_CHECKING:
    from connector.bootstrap import Services

_AHEAD = timedelta(days=2)


class SeenType(BaseModel):
    code: str
    """Of Cerner code set 14249: what `video_visit_types` holds."""
    name: str
    """As the EHR shows it; empty when it does not say."""
    count: int


class SeenTypes(BaseModel):
    """Appointment types in the departments' schedule of the next two days."""

    types: list[SeenType]
    """The most frequent first."""
    virtual_rooms: int
    """Appointments that the EHR itself calls video visits: they need no type."""
    complete: bool


class NamedLocation(BaseModel):
    id: str
    name: str | None
    """None: the EHR knows no such location, or does not show it."""


def seen_types(services: Services, scope: TenantScope, connection: Connection) -> SeenTypes:
    """Raises ConnectorError when the EHR does not answer."""
    if not connection.location_ids:
        return SeenTypes(types=[], virtual_rooms=0, complete=True)
    now, reader = clock.now(), services.ehr.reader(scope, connection)
    found = reader.search_appointments(start=now, end=now + _AHEAD, location_ids=connection.location_ids)
    names = dict(pair for one in found.items for pair in one.service_names)
    counts = Counter(code for one in found.items for code in one.service_types)
    return SeenTypes(
        types=[SeenType(code=code, name=names.get(code, ""), count=count) for code, count in counts.most_common()],
        virtual_rooms=sum(one.has_virtual_room for one in found.items),
        complete=found.complete,
    )


def named_locations(services: Services, scope: TenantScope, connection: Connection) -> list[NamedLocation]:
    """Of the departments. Raises ConnectorError when the EHR does not answer."""
    wanted = connection.location_ids
    if not wanted:
        return []
    known = {one.id: one.name or "" for one in services.ehr.reader(scope, connection).locations_by_id(wanted).items}
    return [NamedLocation(id=identity, name=known.get(identity)) for identity in wanted]
