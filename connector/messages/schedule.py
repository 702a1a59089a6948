"""When a message is due, in the department's own time. Pure.

Quiet hours: a reminder moves earlier, to half an hour before they begin; a confirmation waits until they end if the
visit is still ahead then, and goes at once if it is not; change and cancellation always go at once.
A reminder whose time has passed when it is planned is dropped, and so is one of more than an hour's lead that would
follow a telling by less than an hour. Two reminders that quiet hours push together become the later one's.
The daily cap counts reminders to one person on one local day; those of the earliest visits go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from connector.messages.compare import Kind
from connector.tenants import MessageSettings

BEFORE_QUIET = timedelta(minutes=30)
"""Room for a backlog, so that a reminder moved to the evening does not slip into the night."""
GAP = timedelta(hours=1)


def quiet_period(moment: datetime, zone: str, settings: MessageSettings) -> tuple[datetime, datetime] | None:
    """The quiet hours, in UTC, that `moment` lies in; None outside of them.

    Counted on the wall clock: they begin and end at the configured local times on the days of a clock change too.
    Of a local time that a change repeats they begin at the first and end at the second.
    """
    begins, ends = time.fromisoformat(settings.quiet_from), time.fromisoformat(settings.quiet_until)
    if begins == ends:
        return None
    local = moment.astimezone(ZoneInfo(zone)).date()
    for day in (local - timedelta(days=1), local):
        last = day + timedelta(days=1 if ends < begins else 0)
        start, end = _instants(day, begins, zone)[0], _instants(last, ends, zone)[1]
        if start <= moment < end:
            return start, end
    return None


def _instants(day: date, at: time, zone: str) -> tuple[datetime, datetime]:
    """The first and the last reading of a local time; a time that a clock change skips is read an hour later."""
    both = [datetime.combine(day, at, ZoneInfo(zone)).replace(fold=fold).astimezone(UTC) for fold in (0, 1)]
    return both[0], max(both)


def telling_due(kind: Kind, start: datetime, zone: str, settings: MessageSettings, now: datetime) -> datetime:
    """When a confirmation, change or cancellation that is planned now goes out."""
    quiet = quiet_period(now, zone, settings) if kind == "confirmation" else None
    return quiet[1] if quiet and quiet[1] < start else now


def reminder_due(lead: int, start: datetime, zone: str, settings: MessageSettings) -> datetime:
    due = start - timedelta(minutes=lead)
    quiet = quiet_period(due, zone, settings)
    return quiet[0] - BEFORE_QUIET if quiet else due


def reminders(
    start: datetime, zone: str, settings: MessageSettings, now: datetime, told_at: datetime | None = None
) -> dict[int, datetime]:
    """Lead to due time of the reminders to plan for a visit; `told_at`: when the telling before them is due."""
    if not settings.reminders:
        return {}
    chosen: dict[datetime, int] = {}
    for lead in sorted(settings.reminder_leads_minutes, reverse=True):
        due = reminder_due(lead, start, zone, settings)
        close = told_at is not None and due < told_at + (GAP if timedelta(minutes=lead) > GAP else timedelta(0))
        if due > now and not close:
            chosen[due] = lead  # a shorter lead at the same moment replaces a longer one
    return {lead: due for due, lead in chosen.items()}


def within_cap(planned: Iterable[datetime], wanted: dict[int, datetime], zone: str, cap: int) -> dict[int, datetime]:
    """Those of `wanted` that one person still gets, after what is `planned` for the same local days."""
    days = Counter(_day(due, zone) for due in planned)
    kept: dict[int, datetime] = {}
    for lead, due in sorted(wanted.items()):  # the reminder nearest to its visit is worth most
        if days[_day(due, zone)] < cap:
            days[_day(due, zone)] += 1
            kept[lead] = due
    return kept


def _day(moment: datetime, zone: str) -> date:
    return moment.astimezone(ZoneInfo(zone)).date()


def stale(lead: int, start: datetime, leads: Iterable[int], now: datetime) -> bool:
    """Whether a late reminder no longer makes sense: a shorter one is due already, or half of a long lead is gone."""
    ahead = start - now
    if any(ahead <= timedelta(minutes=other) for other in leads if other < lead):
        return True
    return timedelta(minutes=lead) > GAP and ahead < timedelta(minutes=lead) / 2
