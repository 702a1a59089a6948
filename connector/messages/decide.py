"""Whether a due message may go out, decided from what the EHR says at this moment. Pure.

Every outcome has a named rule that is kept with the message; none of them names a person.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from connector import ehr
from connector.messages.compare import UNTOLD, Class, Kind, Tell, Told, compare
from connector.messages.contacts import Contact, allowed_in_test, choose, of_record, others_of_record
from connector.messages.email_text import compose_email
from connector.messages.schedule import quiet_period, stale
from connector.messages.text import Words, compose
from connector.tenants import Channel, Connection, Department, MessageSettings

if TYPE_CHECKING:
    from connector.adapters.acs_email import Email

LIVE = frozenset({"booked", "arrived", "checked-in"})
"""States in which the visit is going to happen or is happening."""
CALLED_OFF = frozenset({"cancelled", "noshow", "entered-in-error"})
RETRY = timedelta(minutes=5)


@dataclass(frozen=True)
class Send:
    to: str
    text: str
    rule: str = ""
    """Which rule lets it pass."""
    tells: str = ""
    """What the patient then was told: state and start."""
    email: Email | None = None
    """By e-mail, with the text as its plain form."""
    others: tuple[str, ...] = ()
    """The record's other numbers and addresses."""

    @property
    def channel(self) -> Channel:
        return "email" if self.email else "sms"


@dataclass(frozen=True)
class Skip:
    """Never to be sent; `rule` is the recorded reason."""

    rule: str


@dataclass(frozen=True)
class Later:
    """Not decidable now."""

    rule: str
    due: datetime


Decision = Send | Skip | Later


@dataclass(frozen=True)
class Case:
    """What was planned, and what the EHR says now. None: it did not return that record."""

    appointment: ehr.Appointment | None
    patient: ehr.Patient | None
    planned_start: datetime
    planned_for: Callable[[str], bool]
    """Whether the message was planned for the patient of this id."""
    told_before: Callable[[str], bool]
    """Whether this number was told of this visit already: a patient's two charts were merged."""
    link: str
    stop: Callable[[str], str] = str
    """The address that ends e-mails to an address."""
    kind: Kind = "confirmation"
    lead: int = 0
    told: Told = UNTOLD
    """What the patient had been told when the message was planned."""
    held: str = ""
    """The brake that stops this kind."""


def class_of(appointment: ehr.Appointment, video_codes: frozenset[str]) -> Class | None:
    """None for an appointment that is neither going to happen nor called off (fulfilled, proposed)."""
    if appointment.status in CALLED_OFF:
        return "cancelled"
    if not appointment.is_video(video_codes):
        return "not_video"
    return "live" if appointment.status in LIVE else None


def enabled(kind: str, settings: MessageSettings) -> bool:
    return bool({"confirmation": settings.confirmations, "reminder": settings.reminders, "change": settings.changes,
                 "cancellation": settings.cancellations}[kind])  # fmt: skip


def decide(
    connection: Connection, answered: bool, case: Case, now: datetime, offered: Sequence[Channel] = ("sms",)
) -> Decision:
    """Send, skip for a named rule, or wait; a pure function of its arguments. `answered`: whether a reply is
    read. `offered`: what can be sent by here."""
    settings, appointment = connection.messages, case.appointment
    if case.held:
        return Later(case.held, now + RETRY)
    if not enabled(case.kind, settings) or (case.lead and case.lead not in settings.reminder_leads_minutes):
        return Skip("disabled_kind")
    if appointment is None:
        return _unread("appointment_not_returned", case.planned_start, now)
    found = _visit(connection, appointment, case, now)
    if isinstance(found, str):
        return Skip(found)
    tell, department = found
    if rule := _whose_rule(appointment, case) or _excluded(settings, appointment, department):
        return Skip(rule)
    if case.patient is None:
        return _unread("patient_not_returned", case.planned_start, now)
    if rule := _patient_rule(case.patient, settings, now.astimezone(ZoneInfo(department.time_zone)).date()):
        return Skip(rule)
    contact = choose(of_record(connection, appointment, case.patient, now), offered, case.patient.reminder_channels)
    if isinstance(contact, str):
        return Skip(contact)
    return _message(connection, answered, case, now, tell, department, contact)


def _visit(
    connection: Connection, appointment: ehr.Appointment, case: Case, now: datetime
) -> tuple[Tell, Department] | str:
    """What the message tells and the visit's department, or the rule that forbids to tell it."""
    state, start = class_of(appointment, connection.video_codes), appointment.start
    if case.kind == "cancellation":
        start = case.told.start or start
        rule = "" if state in ("cancelled", "not_video") else "superseded"
    else:
        rule = "cancelled" if state == "cancelled" else ""
    if rule or start is None or start <= now:
        return rule or "past"
    if state is None or (state != "cancelled" and appointment.status not in LIVE):
        return "not_booked"
    if state == "not_video" and case.kind != "cancellation":
        return "not_video"
    department = connection.department_of(appointment.location_ids)
    if department is None:
        return "no_department"
    tell = _reminder(case, connection.messages, start, now) if case.lead else compare(case.told, state, start)
    if isinstance(tell, str):
        return tell
    return (tell, department) if tell and tell.kind == case.kind else "superseded"


def _reminder(case: Case, settings: MessageSettings, start: datetime, now: datetime) -> Tell | str:
    if start != case.planned_start:
        return "superseded"
    if stale(case.lead, start, settings.reminder_leads_minutes, now):
        return "stale"
    return Tell("reminder", f"reminder.{case.lead}")


def _message(
    connection: Connection,
    answered: bool,
    case: Case,
    now: datetime,
    tell: Tell,
    department: Department,
    contact: Contact,
) -> Decision:
    appointment, patient, settings = case.appointment, case.patient, connection.messages
    assert appointment is not None and patient is not None  # noqa: S101 - decide() returned otherwise
    cancelled = tell.kind == "cancellation"
    start = (case.told.start if cancelled else appointment.start) or case.planned_start
    if not allowed_in_test(connection, contact):
        return Skip("not_allowed_number" if contact.channel == "sms" else "not_allowed_address")
    if tell.kind == "confirmation" and case.told_before(contact.to):
        return Skip("told_before")
    quiet = quiet_period(now, department.time_zone, settings)
    if quiet and tell.kind == "reminder":
        return Later("quiet_hours", quiet[1]) if quiet[1] < start else Skip("quiet_hours")
    if quiet and tell.kind == "confirmation" and quiet[1] < start:
        return Later("quiet_hours", quiet[1])
    words = Words(clinic=connection.clinic_name, start=start, zone=department.time_zone, link=case.link,
                  phone=connection.contact_phone, answered=answered)  # fmt: skip
    others = others_of_record(connection, appointment, patient, now, contact.to)
    tells = f"{'cancelled' if cancelled else 'live'} {start.isoformat()}"
    if contact.channel == "email":
        email = compose_email(tell.rule, words, settings, case.stop(contact.to), patient.language)
        return Send(contact.to, f"{email.subject}\n{email.text}", tell.rule, tells, email, others)
    return Send(contact.to, compose(tell.rule, words, settings, patient.language), tell.rule, tells, None, others)


def _unread(rule: str, planned_start: datetime, now: datetime) -> Decision:
    """One missing record may be a passing fault; it is asked for again until the visit would have begun."""
    return Later(rule, now + RETRY) if now < planned_start else Skip(rule)


def _whose_rule(appointment: ehr.Appointment, case: Case) -> str | None:
    if len(appointment.patient_ids) != 1:
        return "several_patients" if appointment.patient_ids else "no_patient"
    return None if case.planned_for(appointment.patient_ids[0]) else "moved_to_other_patient"


def _excluded(settings: MessageSettings, appointment: ehr.Appointment, department: Department) -> str | None:
    if department.name in settings.excluded_departments:
        return "excluded_department"
    return "excluded_type" if not set(settings.excluded_types).isdisjoint(appointment.service_types) else None


def _patient_rule(patient: ehr.Patient, settings: MessageSettings, today: date) -> str | None:
    if patient.deceased:
        return "deceased"
    if not patient.active or patient.replaced_by:
        return "inactive"
    born = patient.birth_date or patient.born_by
    if born is not None and not settings.include_minors:
        had_birthday = (today.month, today.day) >= (born.month, born.day)
        if today.year - born.year - (not had_birthday) < settings.minor_age:
            return "minor"
    return None
