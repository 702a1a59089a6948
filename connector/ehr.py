"""What the connector knows of an EHR: the few facts of each record that it uses, in no vendor's words.

Values live for one request. None of them is ever stored or logged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Generic, Literal, TypeVar

AppointmentStatus = Literal[
    "proposed",
    "pending",
    "booked",
    "arrived",
    "fulfilled",
    "cancelled",
    "noshow",
    "entered-in-error",
    "checked-in",
    "waitlist",
]


@dataclass(frozen=True)
class RoomLink:
    """A link that the EHR keeps in one of a video visit's rooms; ours or another vendor's."""

    room: Literal["patient", "provider"]
    url: str = field(repr=False)
    start: datetime | None
    end: datetime | None


@dataclass(frozen=True)
class Appointment:
    """One appointment; times are aware UTC."""

    id: str
    version: str
    status: AppointmentStatus
    start: datetime | None
    end: datetime | None
    patient_ids: tuple[str, ...]
    practitioner_ids: tuple[str, ...]
    """Primary performers first."""
    location_ids: tuple[str, ...]
    service_types: tuple[str, ...]
    """Codes of the EHR's own appointment types (Cerner code set 14249)."""
    has_virtual_room: bool
    """The EHR itself says it is a video visit (Cerner: a contained virtual meeting room)."""
    room_links: tuple[RoomLink, ...] = ()
    service_names: tuple[tuple[str, str], ...] = ()
    """What the EHR calls those codes."""
    updated: datetime | None = None
    """When the EHR last changed the record."""

    def is_video(self, video_visit_types: frozenset[str]) -> bool:
        return self.has_virtual_room or not video_visit_types.isdisjoint(self.service_types)


@dataclass(frozen=True)
class ContactPoint:
    system: Literal["phone", "email"]
    value: str
    use: str | None
    rank: int | None
    valid_from: datetime | None
    valid_until: datetime | None


@dataclass(frozen=True)
class Patient:
    id: str
    active: bool
    deceased: bool
    replaced_by: str | None
    display_name: str | None
    birth_date: date | None
    gender: str | None
    medical_record_number: str | None
    language: str | None
    """BCP 47 tag of the preferred language."""
    contacts: tuple[ContactPoint, ...] = ()
    reminder_channels: frozenset[Literal["sms", "email"]] | None = None
    """Channels of the recorded preference for appointment reminders; None when there is no such preference."""
    born_by: date | None = None
    """The last day on which they can be born: the birth date, or the end of the year or month that is recorded."""


@dataclass(frozen=True)
class Encounter:
    id: str
    patient_id: str | None
    appointment_ids: tuple[str, ...]


@dataclass(frozen=True)
class Practitioner:
    id: str
    display_name: str | None


@dataclass(frozen=True)
class Location:
    id: str
    name: str | None


T = TypeVar("T")


@dataclass(frozen=True)
class Found(Generic[T]):
    """The outcome of a search: what could be read, and how many entries could not.

    `complete` is False when pages or entries are missing, so absence proves nothing.
    """

    items: tuple[T, ...]
    unreadable: int = 0
    complete: bool = True
    dropped_fields: tuple[str, ...] = field(default=())
    """Names (never values) of fields that were present but could not be read."""


@dataclass(frozen=True)
class EhrUser:
    """Who signed in to the EHR: the validated id_token of a SMART launch."""

    issuer: str
    fhir_user: str
    """Resource type and id, such as `Practitioner/12990411`."""
    name: str = field(default="", compare=False)
    """For show, to this user alone."""


@dataclass(frozen=True)
class EhrTokens:
    """A token response of the authorization server (RFC 6749 5.1, SMART App Launch 2.x)."""

    access_token: str = field(repr=False)
    expires_in: int
    scopes: frozenset[str]
    id_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    patient_id: str | None = None
    encounter_id: str | None = None
    need_patient_banner: bool = True
