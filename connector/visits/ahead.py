"""Meetings ahead of the day's visits, and what their live status needs until the visit is over.

Every five minutes a timer looks which visits need something and puts a hint for each on the region's queue; the worker
looks again and does what is needed, so a hint that comes twice, or never, changes nothing. Scans for messages know the
visits of a connection; where its messages are off, a hint without a visit makes a worker read the next hour itself: one
search for 50 locations, twelve times an hour.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import azure.functions as func

from connector import clock, logs, messages
from connector.adapters.queues import Hint
from connector.adapters.tables import Row
from connector.errors import ConnectorError, PermanentError
from connector.regions import Region
from connector.tenants import Connection, TenantScope, connections, of_hint
from connector.visits import ehr_links
from connector.visits.live import RENEW_BEFORE, follow, unfollow
from connector.visits.meeting import expect, provision, stored, visit_key
from connector.visits.presence import VISITS, read_presence

if TYPE_CHECKING:
    from connector.bootstrap import Services
    from connector.ehr import Appointment

AHEAD = timedelta(minutes=60)
LATE = timedelta(minutes=30)
"""A visit that began without a meeting is prepared for this long; whoever joins later makes it."""
AGAIN_S = 120
"""What a busy EHR did not take is written again after this."""
LIVE = ("booked", "arrived", "checked-in")


def blueprint(services: Callable[[], Services], regions: Iterable[Region]) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("visits_ahead")
    @bp.timer_trigger(arg_name="timer", schedule="15 */5 * * * *")
    def visits_ahead(timer: func.TimerRequest) -> None:
        for scope in services().directory.scopes():
            with logs.contained("visits.ahead_failed", tenant=scope.tenant_id):
                for found in connections(scope):
                    with logs.contained("visits.ahead_failed", connection=found.value.id):
                        if hints := request(services(), scope, found.value, clock.now()):
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
        visit = hint.get("visit")
        try:
            if visit is None:
                look(services(), scope, found, clock.now())
            else:
                settle(services(), scope, found, visit, clock.now(), doubted=bool(hint.get("doubted")))
        except ConnectorError as error:
            logs.event("visits.ahead_failed", connection=found.id, visit=visit, code=error.code)
            if visit is not None:  # the next hour is read again in five minutes anyway
                raise


def hint(
    scope: TenantScope, connection_id: str, visit: str | None, *, doubted: bool = False, delay_s: int = 0
) -> None:
    """Let a worker look at a visit soon, or at the next hour. `doubted`: its live status may not work."""
    named: Hint = {"tenant": scope.tenant_id, "connection": connection_id}
    if visit is not None:
        named |= {"visit": visit, "doubted": int(doubted)}
    scope.queues.send(f"meetings-{scope.region}", named, delay_s=delay_s)


def request(services: Services, scope: TenantScope, found: Connection, now: datetime) -> int:
    """Hints for the visits that need something; how many. Three or four storage operations and one for each hint."""
    if not (found.active and found.organizers):
        return 0
    coming = messages.upcoming(scope, found.id, (now - LATE, now + AHEAD))
    starts = {visit: known.start for visit, known in coming.items()}
    wanted = _hinted(services, scope, found, starts, _rows(scope, found, "o"), now)
    if found.location_ids and not found.may_send:
        hint(scope, found.id, None)
    return wanted


def look(services: Services, scope: TenantScope, found: Connection, now: datetime) -> int:
    """The visits of the next hour that no scan knows of: remembered, with a hint for each that needs something; how
    many hints. Raises what the EHR and storage raise."""
    window = now - LATE, now + AHEAD
    reader = services.ehr.reader(scope, found)
    seen = reader.search_appointments(location_ids=found.location_ids, start=window[0], end=window[1])
    meetings, starts = _rows(scope, found, "o"), {}
    for one in seen.items:
        if not (one.start and window[0] <= one.start <= window[1] and _is_coming(one, found)):
            continue
        if found.department_of(one.location_ids) is not None:
            visit = visit_key(scope, found.id, one.id)
            starts[visit] = one.start
            if visit not in meetings:
                expect(services, scope, found, visit, one)
    return _hinted(services, scope, found, starts, meetings, now)


def _hinted(
    services: Services,
    scope: TenantScope,
    found: Connection,
    coming: Mapping[str, datetime],
    meetings: Mapping[str, Row],
    now: datetime,
) -> int:
    """Hints for what is needed by the visits that come, and by the meetings that are there."""
    followed = _rows(scope, found, "g")
    wanted = {
        visit for visit, start in coming.items()
        if not (row := meetings.get(visit)) or not row.text("meeting") or _time(row, "start") != start
    }  # fmt: skip
    wanted |= {visit for visit, row in followed.items() if _needs_care(row, found, now)}
    if services.settings.graph_notification_certificates:
        wanted |= {
            visit for visit, row in meetings.items()
            if row.text("meeting") and visit not in followed and not _over(row, found, now)
            and _time(row, "start") < now + AHEAD
        }  # fmt: skip
    if found.write_back:
        written = _rows(scope, found, "e")
        wanted |= {
            visit for visit, start in coming.items()
            if visit not in written or _time(written[visit], "start") != start
        }  # fmt: skip
    for visit in sorted(wanted):
        hint(scope, found.id, visit)
    return len(wanted)


def settle(
    services: Services, scope: TenantScope, found: Connection, visit: str, now: datetime, *, doubted: bool = False
) -> None:
    """Do what one visit needs now. Raises what the EHR and Graph raise: then the hint is given again."""
    row = scope.tables.get(VISITS, found.id, f"o.{visit}")
    known = messages.upcoming(scope, found.id, (now - LATE, now + AHEAD)).get(visit) or (expected(row) if row else None)
    if row is not None and row.text("end") and _over(row, found, now):
        if known is None or known.start == _time(row, "start"):  # else it was moved
            unfollow(services, scope, found.id, visit)
            return
    appointment_id = known.appointment_id(scope, services.sealer) if known else None
    try:
        if appointment_id is not None:
            _prepare(services, scope, found, visit, appointment_id)
    finally:  # also while the EHR does not answer
        meeting = stored(services, scope, found, visit)
        if meeting is not None:
            follow(services, scope, found, visit, meeting.join_web_url, meeting.end, doubted=doubted)


def _prepare(services: Services, scope: TenantScope, found: Connection, visit: str, appointment_id: str) -> None:
    try:
        appointment = services.ehr.reader(scope, found).appointment(appointment_id)
    except PermanentError as error:
        if error.code == "cerner.not_found":
            return
        raise
    if not _is_coming(appointment, found):
        return
    provision(services, scope, found, appointment)
    if ehr_links.write(services, scope, found, visit, appointment, read_presence(scope, found.id, visit)):
        hint(scope, found.id, visit, delay_s=AGAIN_S)


def expected(row: Row) -> messages.Upcoming | None:
    """The visit of an `o` row, as it was last read; None where it was made before visits were remembered there."""
    if not row.text("ref"):
        return None
    visit = row.key.removeprefix("o.")
    return messages.Upcoming(visit, _time(row, "start"), _time(row, "end"), row.text("ref"), row.text("department"))


def _rows(scope: TenantScope, found: Connection, kind: str) -> dict[str, Row]:
    rows = scope.tables.query(VISITS, found.id, start=f"{kind}.", end=f"{kind}/")
    return {row.key[2:]: row for row in rows}


def _is_coming(appointment: Appointment, found: Connection) -> bool:
    return appointment.status in LIVE and appointment.is_video(found.video_codes)


def _needs_care(row: Row, found: Connection, now: datetime) -> bool:
    """One without a subscription was claimed by somebody who did not finish."""
    if not row.text("subscription"):
        return True
    return _over(row, found, now) or _time(row, "expires") < datetime.now(UTC) + RENEW_BEFORE


def _over(row: Row, found: Connection, now: datetime) -> bool:
    return _time(row, "end") + timedelta(minutes=found.join_closes_minutes) < now


def _time(row: Row, name: str) -> datetime:
    return datetime.fromisoformat(row.text(name)).astimezone(UTC)
