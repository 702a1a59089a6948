"""What a patient's link opens now: the visit read live, and where its patient stands.

Possession of a link grants the lobby only; the clinician verifies who is there. In a row: the connection, the presence
row, one EHR read, and for a visit that has not begun the row of what its patient was told.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

import azure.functions as func

from connector import clock, flood, logs, web
from connector.ehr import Appointment
from connector.errors import ConnectorError, PermanentError, TransientError
from connector.join_link import connection_of, open_join_link, scope_of, wrong_link
from connector.keys import JoinToken
from connector.languages import Language
from connector.messages import was_moved
from connector.tenants import Connection, TenantScope
from connector.visits.find import zone_named, zone_of
from connector.visits.meeting import Meeting, stored, visit_key
from connector.visits.presence import Presence, put_presence, read_presence

if TYPE_CHECKING:
    from connector.bootstrap import Services

Stage = Literal["early", "open", "waiting", "outside", "in_call", "over", "cancelled", "in_person", "unreachable"]
"""`outside`: Join was tapped, and Teams sees nobody: the name is still being typed, or the patient has left."""
OF_THE_DAY = timedelta(hours=12)
GONE = ("cancelled", "entered-in-error", "noshow")


@dataclass(frozen=True)
class Link:
    """A link that is ours and was not revoked, and what is known of its visit by one point read."""

    token: JoinToken
    scope: TenantScope
    visit: str
    presence: Presence

    @property
    def look(self) -> str:
        """Changes when an open page should show something else: the part of that which no clock tells."""
        seen = self.presence
        parts = [seen.text(name) for name in ("ended", "late_minutes", "late_at", "live", "lobby_since")]
        return ".".join([*parts, str(bool(seen.text("joined_at"))), str(self.in_call)])

    @property
    def in_call(self) -> bool:
        return self.presence.text("live") == "on" and self.presence.number("guests") > 0


@dataclass(frozen=True)
class Threshold(Link):
    """The EHR is not asked yet."""

    connection: Connection


@dataclass(frozen=True)
class Doorway(Threshold):
    """`appointment` is None when the EHR did not answer; a `meeting` that was made before then still opens the door."""

    stage: Stage
    start: datetime | None
    end: datetime | None
    zone: ZoneInfo
    appointment: Appointment | None = None
    meeting: Meeting | None = None
    moved: bool = False

    @property
    def joinable(self) -> bool:
        return self.stage in ("open", "waiting", "outside", "in_call")

    @property
    def opens(self) -> datetime | None:
        return self.start and self.start - timedelta(minutes=self.connection.join_opens_minutes)

    @property
    def expected(self) -> datetime | None:
        """When a clinic that runs late said it would begin; None when it did not say."""
        minutes, said = self.presence.number("late_minutes"), self.presence.text("late_at")
        if not (self.start and minutes and said) or self.start - datetime.fromisoformat(said) > OF_THE_DAY:
            return None  # what was said before belongs to an earlier time of the visit
        return self.start + timedelta(minutes=minutes)

    @property
    def since(self) -> datetime | None:
        """Since when the patient waits: in the lobby, as Teams says, or else since Join was tapped."""
        at = self.presence.text("lobby_since") or self.presence.text("joined_at")
        return datetime.fromisoformat(at) if at else None


def reserve(services: Services, req: func.HttpRequest) -> JoinToken:
    """Raises RefusedError, before any I/O: 404 for a link that is not ours, 429 for one that is used too often."""
    token = open_join_link(req.route_params.get("token", ""), services.sealer)
    flood.reserve(f"{token.connection_id}.{token.appointment_id}")
    return token


def link_of(services: Services, req: func.HttpRequest) -> Link:
    """As `reserve`, and 404 for a link that was revoked."""
    token = reserve(services, req)
    scope = scope_of(services.directory, token)
    visit = visit_key(scope, token.connection_id, token.appointment_id)
    presence = read_presence(scope, token.connection_id, visit)
    presence.require_current(token)
    return Link(token, scope, visit, presence)


def threshold(services: Services, req: func.HttpRequest) -> Threshold:
    """As `link_of`, and 404 for a connection that is gone."""
    link = link_of(services, req)
    return Threshold(**vars(link), connection=connection_of(link.scope, link.token))


def doorway(services: Services, req: func.HttpRequest, *, doing: str = "") -> Doorway:
    """As `threshold`, and 404 for a visit that the EHR does not know.

    Whoever is `doing` something too often gets what is known without the EHR: who has a meeting still comes in.
    """
    before = threshold(services, req)
    if doing and not flood.within(before.scope, f"{doing}.{before.visit}"):
        logs.event("visit.link_limited", connection=before.connection.id, visit=before.visit)
        return _from_stored(services, before)
    try:
        appointment = services.ehr.reader(before.scope, before.connection).appointment(before.token.appointment_id)
    except TransientError:
        return _from_stored(services, before)
    except PermanentError as error:
        if error.code == "cerner.not_found":
            raise wrong_link() from None
        return _from_stored(services, before)
    stage = stage_of(before, appointment.start, appointment.end)
    if appointment.status in GONE:
        stage = "over" if appointment.status == "noshow" else "cancelled"
    elif not appointment.is_video(before.connection.video_codes):
        stage = "in_person"
    return Doorway(
        **vars(before),
        stage=stage,
        start=appointment.start,
        end=appointment.end,
        zone=zone_of(appointment, before.connection),
        appointment=appointment,
        moved=stage in ("early", "open")
        and appointment.start is not None
        and was_moved(before.scope, before.connection.id, before.visit, appointment.start),
    )


def stage_of(before: Threshold, start: datetime | None, end: datetime | None) -> Stage:
    now, found, presence = clock.now(), before.connection, before.presence
    if start is None:
        return "early"
    opens = start - timedelta(minutes=found.join_opens_minutes)
    if now < opens:
        return "early"
    if presence.text("ended_at") >= opens.isoformat() or now > closes(found, start, end):
        return "over"  # what was ended before belongs to an earlier time of the visit
    if before.in_call:
        return "in_call"
    if presence.text("joined_at") < opens.isoformat():
        return "open"
    return "outside" if presence.text("live") == "on" and not presence.number("lobby") else "waiting"


def closes(found: Connection, start: datetime, end: datetime | None) -> datetime:
    return (end or start) + timedelta(minutes=found.join_closes_minutes)


def _from_stored(services: Services, before: Threshold) -> Doorway:
    """The EHR is unreachable: a meeting made before still lets the patient in, within its stored times."""
    found = before.connection
    meeting = stored(services, before.scope, found, before.visit)
    zone = zone_named(meeting.department if meeting else "", found)
    if meeting is None:
        return Doorway(**vars(before), stage="unreachable", start=None, end=None, zone=zone)
    stage = stage_of(before, meeting.start, meeting.end)
    return Doorway(**vars(before), stage=stage, start=meeting.start, end=meeting.end, zone=zone, meeting=meeting)


def here(req: func.HttpRequest) -> str:
    """The path of the link's own page."""
    return f"/j/{req.route_params['token']}"


def seen(door: Doorway, **columns: str) -> None:
    """Write what the patient's side did into the presence row."""
    end = closes(door.connection, door.start, door.end) if door.start else None
    put_presence(door.scope, door.connection.id, door.visit, end=end, **columns)


def language_of(services: Services, req: func.HttpRequest, door: Threshold) -> Language:
    """The patient's language. That of the record costs an EHR read."""

    def record() -> str | None:
        appointment = door.appointment if isinstance(door, Doorway) else None
        if appointment is None or len(appointment.patient_ids) != 1:
            return None
        try:
            found = services.ehr.reader(door.scope, door.connection).patients_by_id(appointment.patient_ids)
        except ConnectorError:
            return None
        return found.items[0].language if found.items else None

    return web.language_of(req, "patient", record)
