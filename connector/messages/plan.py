"""What a scan changes: visits are remembered, and what their patients must be told next is planned.

A cancellation waits for a second look, minutes later, unless the visit begins within two hours: when a visit of the
same patient, department and type appears meanwhile, the two become one change message for the new one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property

from connector import ehr, keys
from connector.adapters.tables import Row
from connector.messages import register, schedule
from connector.messages.compare import Asked, Kind, Tell, Told, next_telling, settled
from connector.messages.decide import class_of, enabled
from connector.messages.ledger import Message, Outcome
from connector.messages.register import Change, Visit
from connector.messages.revoke import generations
from connector.tenants import Connection, TenantScope

SOON = timedelta(hours=2)
"""A cancellation so near to the start does not wait."""


@dataclass
class Planner:
    """One run over a connection, under its lease."""

    scope: TenantScope
    connection: Connection
    sealer: keys.Sealer
    now: datetime
    silent: Callable[[datetime, str, datetime | None], bool]
    """Whether a new visit of this start and department, last changed then, is only remembered: it was there before we
    began."""
    baseline: Callable[[str], datetime | None]
    """Since when a department's visits are told of. What was remembered before, as after a restore of the storage, is
    taken as told once more: nobody knows what was sent since."""
    waits: dict[str, str]
    """The visits that wait for a second look since an earlier run, and the likeness of each."""
    admit: Callable[[Counter[str], int], object]
    """Called with what is about to be planned by kind, and how many visits there are."""
    begun: dict[str, str] = field(default_factory=dict)
    """As `waits`, begun in this run."""

    def plan(
        self, appointments: Iterable[ehr.Appointment], known: Mapping[str, Visit], vanished: Iterable[Visit] = ()
    ) -> Counter[str]:
        """Write what follows from `appointments`; `vanished` are known visits that the EHR does not return any more.

        Counts of what was done, in constant words.
        """
        batch = _Batch(self, known)
        for appointment in appointments:
            batch.observe(appointment)
        for visit in vanished:
            batch.vanish(visit)
        batch.rebook()
        changes = batch.changes()
        told = Counter(m.kind for c in changes for m, o in c.planned if o.state == "planned" and not m.lead)
        self.admit(told, sum(v.state == "live" for v in (*known.values(), *batch.new)))
        lost = {change.visit.key for change in register.apply(self.scope, self.connection.id, changes)}
        batch.counts["conflict"] += len(lost)
        for change in changes:
            if change.visit.key not in lost:
                self._note(change)
        return batch.counts + told  # without the zeros

    def _note(self, change: Change) -> None:
        if change.wait == "begin":
            self.begun[change.visit.key] = change.visit.likeness
        elif change.wait == "end":
            self.waits.pop(change.visit.key, None)
            self.begun.pop(change.visit.key, None)

    def zone(self, department: str) -> str:
        return next((d.time_zone for d in self.connection.departments if d.name == department), "UTC")

    def key(self, appointment_id: str) -> str:
        return self.scope.index("visit", self.connection.id, appointment_id)

    def see(self, appointment: ehr.Appointment, known: Visit | None) -> Visit | None:
        """The visit as it is now, with what was told of it; None for what is, and was, no video visit of ours."""
        state, start = class_of(appointment, self.connection.video_codes), appointment.start
        department = self.connection.department_of(appointment.location_ids)
        start = start or (known.start if known and state == "cancelled" else None)
        if state is None or department is None or start is None or not (known or state == "live"):
            return None
        key, patient = self.key(appointment.id), "".join(appointment.patient_ids[:1])
        person = person_key(self.scope, self.connection.id, patient) if len(appointment.patient_ids) == 1 else ""
        types = " ".join(sorted(appointment.service_types))
        seen = Visit(
            key=key, ref=_ref(self.scope, self.sealer, key, appointment.id), start=start, end=appointment.end or start,
            department=department.name, state=state, person=person,
            likeness=self.scope.index("likeness", self.connection.id, patient, department.name, types),
        )  # fmt: skip
        if known is None:
            return seen
        kept = replace(
            known, ref=seen.ref, start=start, end=seen.end, department=seen.department, state=state,
            person=person or known.person, likeness=seen.likeness,
        )  # fmt: skip
        if person and known.person and person != known.person:  # given to another patient, who was told nothing
            kept = replace(kept, told=Told(), asked=Asked(known.asked.n))
        return kept if kept.state != "cancelled" or person else replace(kept, likeness=known.likeness)


@dataclass
class _Step:
    """What to do about one visit."""

    visit: Visit
    tell: Tell | None = None
    """To be planned; with `silent` it is recorded by that rule as told, and not sent."""
    silent: str = ""
    more_leads: frozenset[int] = frozenset()
    drop: str = ""
    """Planned messages go, by this rule."""
    wait: str = ""


class _Batch:
    """The steps of one window, written together at the end."""

    def __init__(self, planner: Planner, known: Mapping[str, Visit]) -> None:
        self.planner, self.known = planner, known
        self.counts: Counter[str] = Counter()
        self.new: list[Visit] = []
        self._steps: dict[str, _Step] = {}
        self._fresh: list[_Step] = []
        self._of_person: dict[str, dict[str, Visit]] = defaultdict(dict)

    def observe(self, appointment: ehr.Appointment) -> None:
        key = self.planner.key(appointment.id)
        known = self.known.get(key)
        seen = self.planner.see(appointment, known)
        if seen is None or key in self._steps:
            self.counts["ignored"] += 1
            return
        step = self._step(seen, known, len(appointment.patient_ids) == 1, appointment.updated)
        if step is None:
            self.counts["unchanged"] += 1
            return
        self._steps[key] = step
        if known is None:
            self.new.append(seen)
            if step.tell and not step.silent:
                self._fresh.append(step)

    def _step(
        self, seen: Visit, known: Visit | None, one_patient: bool, updated: datetime | None
    ) -> _Step | None:
        now, settings, key = self.planner.now, self.planner.connection.messages, seen.key
        waits = key in self.planner.waits or key in self.planner.begun
        tell = next_telling(seen.told, seen.asked, seen.state, seen.start)
        since = self.planner.baseline(seen.department)
        if known and known.changed_at and since and known.changed_at < since:
            return self._as_told(seen, one_patient, waits)
        if tell and tell.kind == "cancellation":
            if seen.told.start is None or seen.told.start <= now:
                return _Step(seen, wait="end" if waits else "") if seen != known or waits else None
            if key not in self.planner.waits and seen.told.start - now > SOON:
                return None if key in self.planner.begun else _Step(seen, wait="begin")
            return _Step(seen, tell, silent="" if enabled(tell.kind, settings) else "disabled_kind", drop="superseded",
                         wait="end" if waits else "")  # fmt: skip
        wait = "end" if waits else ""
        bookable = seen.state == "live" and seen.start > now and one_patient
        if tell and bookable:
            baseline = known is None and self.planner.silent(seen.start, seen.department, updated)
            silent = "baseline" if baseline else "" if enabled(tell.kind, settings) else "disabled_kind"
            return _Step(seen, tell, silent=silent, drop="superseded", wait=wait)
        was_lost = known is not None and known.state == "lost"
        if bookable and (settled(seen.told, seen.asked, seen.state, seen.start) or (was_lost and not tell)):
            return _Step(seen, Tell("change", "change.undone"), silent="undone", drop="superseded", wait=wait)
        leads = frozenset(settings.reminder_leads_minutes) - {int(lead) for lead in seen.leads.split()}
        if bookable and leads and settings.reminders and seen.asked.n and seen.asked.start == seen.start:
            return _Step(seen, more_leads=leads, wait=wait)
        return _Step(seen, wait=wait) if seen != known or wait else None

    def _as_told(self, seen: Visit, one_patient: bool, waits: bool) -> _Step:
        """Whatever was planned goes; only reminders that are still ahead are planned again."""
        wait = "end" if waits else ""
        if seen.state == "live" and seen.start > self.planner.now and one_patient:
            kind: Kind = "change" if seen.told.state else "confirmation"
            return _Step(seen, Tell(kind, f"{kind}.known"), silent="baseline", drop="baseline", wait=wait)
        if seen.told.state == "live" and seen.state != "live":
            known = Tell("cancellation", "cancellation.known")
            return _Step(seen, known, silent="baseline", drop="baseline", wait=wait)
        return _Step(seen, drop="baseline", wait=wait)

    def vanish(self, visit: Visit) -> None:
        """Not returned by a complete scan, nor by its id: a second time in a row it is lost."""
        if visit.key in self._steps:
            return
        if visit.key in self.planner.waits:
            self.counts["lost"] += 1
            self._steps[visit.key] = _Step(replace(visit, state="lost"), drop="lost", wait="end")
        elif visit.key not in self.planner.begun:
            self.counts["missing"] += 1
            self._steps[visit.key] = _Step(visit, wait="begin")

    def rebook(self) -> None:
        """Give what was told of a visit that is gone to the new one in its place: the id changed, not the visit."""
        if not self._fresh:
            return
        gone: dict[str, str] = {key: step.visit.likeness for key, step in self._steps.items() if _gone(step)}
        candidates = {**self.planner.waits, **self.planner.begun, **gone}
        by_likeness: dict[str, list[str]] = defaultdict(list)
        for key, likeness in candidates.items():
            by_likeness[likeness].append(key)
        wanted = {step.visit.likeness for step in self._fresh} & by_likeness.keys()
        keys_ = [key for likeness in wanted for key in by_likeness[likeness] if key not in self._steps]
        stored = register.visits_of(self.planner.scope, self.planner.connection.id, keys_)
        for step in sorted(self._fresh, key=lambda fresh: fresh.visit.start):
            for key in by_likeness.get(step.visit.likeness, []):
                present = self._steps.get(key)
                old = present.visit if present else stored.get(key)
                if old is None or old.told.state != "live" or (present and not _gone(present)):
                    continue
                by_likeness[step.visit.likeness].remove(key)
                self._take_over(step, old, key)
                break

    def _take_over(self, step: _Step, old: Visit, key: str) -> None:
        self.counts["rebooked"] += 1
        waits = key in self.planner.waits or key in self.planner.begun
        self._steps[key] = _Step(
            old, Tell("cancellation", "cancellation.rebooked"), silent="rebooked", drop="superseded",
            wait="end" if waits else "",
        )  # fmt: skip
        told = Told(old.told.start, "live", 0)
        step.visit = replace(step.visit, told=told, contact="")
        step.tell = next_telling(told, step.visit.asked, "live", step.visit.start)
        settings = self.planner.connection.messages
        step.silent = "disabled_kind" if step.tell and not enabled(step.tell.kind, settings) else ""

    def changes(self) -> list[Change]:
        asked = [k for k, s in self._steps.items() if s.drop and s.visit.asked.n]
        messages = register.messages_of(self.planner.scope, self.planner.connection.id, asked)
        self._meet_people()
        found: list[Change] = []
        for key, step in self._steps.items():
            rows = messages.get(key, [])
            if any(row.text("state") == "claimed" for row in rows):
                self.counts["busy"] += 1  # a worker has it: the next scan sees what became of it
                continue
            dropped = [(row, step.drop) for row in rows if step.drop and row.text("state") == "planned"]
            found.append(self._change(step, dropped))
            self.counts["remembered"] += 1
        return found

    def _meet_people(self) -> None:
        """Read what else they who are to be reminded have ahead, for the daily cap: in this window and in others."""
        if not self.planner.connection.messages.reminders:
            return
        reminded = [s.visit for s in self._steps.values()
                    if s.more_leads or (s.tell and s.tell.kind != "cancellation")]  # fmt: skip
        people = {visit.person for visit in reminded if visit.person}
        for visit in register.visits_of_people(self.planner.scope, self.planner.connection.id, people):
            present = self._steps.get(visit.key)
            if present is None or present.visit.state == "live":
                self._of_person[visit.person][visit.key] = present.visit if present else visit

    def _change(self, step: _Step, dropped: list[tuple[Row, str]]) -> Change:
        visit, planned = step.visit, list[tuple[Message, Outcome]]()
        if step.more_leads or step.tell:
            visit = replace(visit, generation=self._generations.get(visit.key, 0))
        wait = "begin" if step.wait == "begin" else "end" if step.wait else ""
        if step.more_leads:
            planned = self._reminders(visit, visit.asked.n, step.more_leads, None)
            visit = replace(visit, leads=self._leads(visit))
        elif step.tell:
            visit, planned = self._telling(visit, step.tell, step.silent)
        return Change(visit, dropped, planned, wait)  # type: ignore[arg-type]

    @cached_property
    def _generations(self) -> dict[str, int]:
        """Staff may have revoked the link of a visit that no scan had found."""
        return generations(self.planner.scope, self.planner.connection.id)

    def _telling(self, visit: Visit, tell: Tell, silent: str) -> tuple[Visit, list[tuple[Message, Outcome]]]:
        planner, n = self.planner, visit.asked.n + 1
        zone, settings = planner.zone(visit.department), planner.connection.messages
        start = visit.told.start if tell.kind == "cancellation" and visit.told.start else visit.start
        due = schedule.telling_due(tell.kind, start, zone, settings, planner.now)
        message = self._message(visit, f"{tell.kind}.{n}", start)
        outcome = Outcome("skipped", silent) if silent else Outcome("planned", tell.rule, due=due)
        planned = [(message, outcome)]
        if tell.kind != "cancellation":
            every = frozenset(settings.reminder_leads_minutes)
            planned += self._reminders(visit, n, every, None if silent else due)
        told = Told(start, "cancelled" if tell.kind == "cancellation" else "live", n) if silent else visit.told
        visit = replace(visit, told=told, asked=Asked(n, tell.kind, visit.start), leads=self._leads(visit))
        return visit, planned

    def _leads(self, visit: Visit) -> str:
        configured = self.planner.connection.messages.reminder_leads_minutes
        present = {int(lead) for lead in visit.leads.split()} | {*configured}
        return " ".join(map(str, sorted(present)))

    def _reminders(
        self, visit: Visit, n: int, leads: frozenset[int], told_at: datetime | None
    ) -> list[tuple[Message, Outcome]]:
        planner = self.planner
        zone, settings, now = planner.zone(visit.department), planner.connection.messages, planner.now
        wanted = {
            lead: due
            for lead, due in schedule.reminders(visit.start, zone, settings, now, told_at).items()
            if lead in leads
        }
        others = [o for o in self._of_person[visit.person].values() if o.key != visit.key] if visit.person else []
        day = now - timedelta(days=1)  # also what was due today already
        taken = [due for o in others for due in schedule.reminders(o.start, zone, settings, day).values()]
        kept = schedule.within_cap(taken, wanted, zone, settings.daily_cap)
        self._of_person[visit.person][visit.key] = visit
        return [
            (self._message(visit, f"reminder.{n}-{lead}", visit.start), Outcome("planned", f"reminder.{lead}", due=due))
            if lead in kept
            else (self._message(visit, f"reminder.{n}-{lead}", visit.start), Outcome("skipped", "daily_cap"))
            for lead, due in wanted.items()
        ]

    def _message(self, visit: Visit, name: str, start: datetime) -> Message:
        recipient = self.planner.scope.index("recipient", visit.key, "patient")
        return Message(f"m.{visit.key}.{recipient}.{name}", visit.ref, visit.generation, start, visit.person,
                       visit.contact, visit.told)  # fmt: skip


def _gone(step: _Step) -> bool:
    """Whether the step is about a visit that seems not to take place, of which nothing was told yet."""
    cancelling = step.tell is not None and step.tell.kind == "cancellation" and not step.silent
    return step.wait == "begin" or cancelling or step.drop == "lost"


def person_key(scope: TenantScope, connection_id: str, patient_id: str) -> str:
    """A patient's keyed name within a connection."""
    return scope.index("person", connection_id, patient_id)


def contact_key(scope: TenantScope, visit: str, number: str) -> str:
    """A telephone number's keyed name within one visit."""
    return scope.index("contact", visit, number)


def _ref(scope: TenantScope, sealer: keys.Sealer, visit: str, appointment_id: str) -> str:
    """Always under the newest key: a scan renews the references that an older key sealed."""
    sealed = sealer.seal(appointment_id.encode(), region=scope.region, purpose="ref", context=visit)
    return keys.encode(sealed)
