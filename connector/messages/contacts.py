"""Where a message goes: a mobile number or an e-mail address, from the record or typed once, and how it is shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from connector import ehr
from connector.messages.phone import country_of_number, mobile_number, mobile_numbers, usable
from connector.tenants import EMAIL_ADDRESS, Channel, Connection
from connector.zones import country_of

_ADDRESS = re.compile(EMAIL_ADDRESS)
_OTHERS = 3
_LONGEST = 254
"""RFC 5321 section 4.5.3.1.3, less the angle brackets."""


@dataclass(frozen=True)
class Contact:
    """Never stored and never logged; `to` is E.164 or an address."""

    channel: Channel
    to: str

    @property
    def masked(self) -> str:
        """What a page shows, so that it can be recognized and not read: `+1•••••••48`, `m•••@p•••.example`."""
        if self.channel == "sms":
            return f"{self.to[:2]}{'•' * (len(self.to) - 4)}{self.to[-2:]}"
        name, _, domain = self.to.partition("@")
        return f"{name[:1]}•••@{domain[:1]}•••.{domain.rpartition('.')[2]}"


def email_addresses(contacts: Iterable[ehr.ContactPoint], now: datetime) -> Iterator[str]:
    """Addresses, the one to write to first: lowest rank, in its period, not one at work and not an old one."""
    for contact in usable(contacts, "email", now):
        address = normal_address(contact.value)
        if address is not None:
            yield address


def normal_address(text: str) -> str | None:
    """The address in lower case, as every mail server reads it; None for what is not plainly one address."""
    stripped = text.strip()
    if len(stripped) > _LONGEST or not _ADDRESS.fullmatch(stripped):
        return None
    return stripped.lower()


def of_record(
    connection: Connection, appointment: ehr.Appointment, patient: ehr.Patient, now: datetime
) -> dict[Channel, Contact]:
    """What the patient's record offers, by channel."""
    number = mobile_number(patient.contacts, country_for(connection, appointment), now)
    address = next(email_addresses(patient.contacts, now), None)
    found: dict[Channel, Contact] = {}
    if number:
        found["sms"] = Contact("sms", number)
    if address:
        found["email"] = Contact("email", address)
    return found


def others_of_record(
    connection: Connection, appointment: ehr.Appointment, patient: ehr.Patient, now: datetime, told: str
) -> tuple[str, ...]:
    """The first few numbers and addresses of the record beside the one that is told: a lost link is found by them."""
    numbers = mobile_numbers(patient.contacts, country_for(connection, appointment), now)
    every = dict.fromkeys([*numbers, *email_addresses(patient.contacts, now)])
    return tuple(to for to in every if to != told)[:_OTHERS]


def choose(
    found: Mapping[Channel, Contact], offered: Iterable[Channel], preferred: frozenset[Channel] | None
) -> Contact | str:
    """Where a planned message goes, or the rule by which it goes nowhere: SMS before e-mail, and only what is offered
    and, where the record has a preference, preferred."""
    allowed = [channel for channel in offered if preferred is None or channel in preferred]
    if not allowed:
        return "prefers_other_channel"
    for channel in allowed:
        if channel in found:
            return found[channel]
    return "no_contact" if len(allowed) > 1 else "no_mobile" if allowed == ["sms"] else "no_address"


def allowed_in_test(connection: Connection, contact: Contact) -> bool:
    """A test connection sends to those on its list and to nobody else."""
    settings = connection.messages
    if connection.environment != "test":
        return True
    if contact.channel == "sms":
        return contact.to in settings.allowed_numbers
    return contact.to in (address.lower() for address in settings.allowed_addresses)


def country_for(connection: Connection, appointment: ehr.Appointment) -> str | None:
    """Where a number without a country code belongs: the department's country, else that of the clinic's telephone."""
    department = connection.department_of(appointment.location_ids)
    return (country_of(department.time_zone) if department else None) or country_of_number(connection.contact_phone)
