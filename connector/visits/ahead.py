"""Meetings ahead of the day's visits, and what their live status needs until the visit is over.

Every five minutes a timer looks which visits need something and puts a hint for each on the region's queue; the worker
looks again and does what is needed, so a hint that comes twice, or never, changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import azure.functions as func

from connector import clock, logs, messages
from connector.adapters.tables import Row
from connector.errors import ConnectorError
from connector.regions import Region
from connector.tenants import Connection, TenantScope, connections, of_hint
from connector.visits import ehr_links
from connector.visits.live import RENEW_BEFORE, follow, unfollow
from connector.visits.meeting import provision, stored
from connector.visits.presence import VISITS, read_presence

if TYPE_CHECKING:
    from connector.bootstrap import Services

AHEAD = timedelta(minutes=60)
LATE = timedelta(minutes=30)
"""A visit that began without a meeting is prepared for this long; whoever joins later makes it."""
LIVE = ("booked", "arrived", "checked-in")


def blueprint(services: Callable[[], Services], regions: Iterable[Region]) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("visits_ahead")
    @bp.timer_trigger(arg_name="timer", schedule="15 */5 * * * *")
    def visits_ahead(timer: func.TimerRequest) -> None:
        for scope in services().directory.scopes():
            for found in connections(scope):
                try:
                    hints = request(services(), scope, found.value, clock.now())
                except ConnectorError as error:
                    logs.event("visits.ahead_failed", connection=found.value.id, code=error.code)
                    continue
                if hints:
                    logs.event("visits.ahead_requested", connection=found.value.id, hints=hints)

    for region in regions:
        _add_region(bp, services, region)
    return bp


def _add_region(bp: func.Blueprint, services: Callable[[], Services], region: Region) -> None:
    @bp.function_name(f"visits_ahead_{region}")
    @bp.queue_trigger(arg_name="message", queue_name=f"meetings-{region}", connection=f"{region.upper()}_STORAGE")
    def visits_ahead_region(message: func.QueueMessage) -> None:
        hint = json.loads(message.get_body())
        named = of_hint(services().directory, region, hint)
        if named is None:
            return
        scope, found = named
        try:
            settle(services(), scope, found, hint["visit"], clock.now(), doubted=bool(hint.get("doubted")))
        except ConnectorError as error:
            logs.event("visits.ahead_failed", connection=found.id, visit=hint["visit"], code=error.code)
            raise


def hint(scope: TenantScope, connection_id: str, visit: str, *, doubted: bool = False) -> None:
    """Let a worker look at a visit soon. `doubted`: its live status may not work."""
    named = {"tenant": scope.tenant_id, "connection": connection_id, "visit": visit}
    scope.queues.send(f"meetings-{scope.region}", named | ({"doubted": True} if doubted else {}))


def request(services: Services, scope: TenantScope, found: Connection, now: datetime) -> int:
    """Hints for the visits that need something; how many. Three or four storage operations and one for each hint."""
    if not found.organizers:
        return 0
    coming = messages.upcoming(scope, found.id, (now - LATE, now + AHEAD))
    meetings = {row.key[2:]: row for row in scope.tables.query(VISITS, found.id, start="o.", end="o/")}
    followed = {row.key[2:]: row for row in scope.tables.query(VISITS, found.id, start="g.", end="g/")}
    wanted = {
        visit for visit, known in coming.items()
        if not (row := meetings.get(visit)) or not row.text("meeting") or _time(row, "start") != known.start
    }  # fmt: skip
    wanted |= {visit for visit, row in followed.items() if _needs_care(row, found, now)}
    if services.settings.graph_notification_certificates:
        wanted |= {
            visit for visit, row in meetings.items()
            if row.text("meeting") and visit not in followed and not _over(row, found, now)
            and _time(row, "start") < now + AHEAD
        }  # fmt: skip
    if found.write_back:
        written = {row.key[2:]: row for row in scope.tables.query(VISITS, found.id, start="e.", end="e/")}
        wanted |= {
            visit for visit, known in coming.items()
            if visit not in written or _time(written[visit], "start") != known.start
        }  # fmt: skip
    for visit in sorted(wanted):
        hint(scope, found.id, visit)
    return len(wanted)


def settle(
    services: Services, scope: TenantScope, found: Connection, visit: str, now: datetime, *, doubted: bool = False
) -> None:
    """Do what one visit needs now. Raises what the EHR and Graph raise: then the hint is given again."""
    row = scope.tables.get(VISITS, found.id, f"o.{visit}")
    if row is not None and row.text("end") and _over(row, found, now):
        unfollow(services, scope, found.id, visit)
        return
    known = messages.upcoming(scope, found.id, (now - LATE, now + AHEAD)).get(visit)
    appointment_id = known.appointment_id(scope, services.sealer) if known else None
    if appointment_id is not None:
        appointment = services.ehr.reader(scope, found).appointment(appointment_id)
        if appointment.status in LIVE and appointment.is_video(found.video_codes):
            provision(services, scope, found, appointment)
            ehr_links.write(services, scope, found, visit, appointment, read_presence(scope, found.id, visit))
    meeting = stored(services, scope, found, visit)
    if meeting is not None:
        follow(services, scope, found, visit, meeting.join_web_url, meeting.end, doubted=doubted)


def _needs_care(row: Row, found: Connection, now: datetime) -> bool:
    """One without a subscription was claimed by somebody who did not finish."""
    if not row.text("subscription"):
        return True
    return _over(row, found, now) or _time(row, "expires") < datetime.now(UTC) + RENEW_BEFORE


def _over(row: Row, found: Connection, now: datetime) -> bool:
    return _time(row, "end") + timedelta(minutes=found.join_closes_minutes) < now


def _time(row: Row, name: str) -> datetime:
    return datetime.fromisoformat(row.text(name)).astimezone(UTC)
