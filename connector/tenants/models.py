"""What a tenant configures. These models are the API's schema and, as JSON, the stored form."""

from __future__ import annotations

import re
from string import Formatter
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from connector.regions import Region

ShortText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]
Guid = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", to_lower=True)]
_HOST = r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?"
_ORIGIN = re.compile(rf"{_HOST}/?")
_ADDRESS = re.compile(rf"{_HOST}(/[A-Za-z0-9._~%@:+,;=-]+)*/?")
FhirId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]{1,64}$")]


def _known_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is not an IANA time zone such as America/Chicago") from None
    return value


def _plain_address(value: str) -> str:
    if not _ADDRESS.fullmatch(value):
        raise ValueError("must be an address such as https://fhir-ehr.cerner.com/r4/<tenant>")
    return value.rstrip("/")


def _origin(value: str) -> str:
    """Goes into a Content-Security-Policy as it is, so nothing but scheme, host and port."""
    if not _ORIGIN.fullmatch(value):
        raise ValueError("must be an origin such as https://embedded.cerner.com")
    return value.rstrip("/")


TimeZone = Annotated[str, AfterValidator(_known_zone)]
FhirBase = Annotated[str, StringConstraints(strip_whitespace=True, max_length=300), AfterValidator(_plain_address)]
Origin = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200), AfterValidator(_origin)]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tenant(Model):
    """A customer: one Microsoft 365 tenant, pinned to one region for ever."""

    tenant_id: Guid
    region: Region


class TenantInput(Model):
    region: Region


class SenderInput(Model):
    """A number or name that patients see as the sender of an SMS."""

    kind: Literal["phone_number", "alphanumeric"]
    value: Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=16)]
    label: ShortText


class Sender(SenderInput):
    id: str


class Department(Model):
    """A named group of Cerner Location ids with its time zone (Cerner keeps no time zone anywhere)."""

    name: ShortText
    location_ids: Annotated[list[FhirId], Field(min_length=1, max_length=50)]
    time_zone: TimeZone


PLACEHOLDERS = frozenset({"clinic", "date", "time", "zone", "link", "phone"})
"""What an admin's own text may hold, as `{clinic}`."""
MessageKind = Literal["confirmation", "reminder", "change", "cancellation"]


def _own_text(text: str) -> str:
    try:
        parts = list(Formatter().parse(text))
    except ValueError:
        raise ValueError("has a brace that belongs to no placeholder") from None
    for _, name, form, conversion in parts:
        if name is not None and (name not in PLACEHOLDERS or form or conversion):
            raise ValueError(f"may hold only {', '.join(f'{{{known}}}' for known in sorted(PLACEHOLDERS))}")
    return text


def _own_texts(texts: dict[MessageKind, str]) -> dict[MessageKind, str]:
    for kind, text in texts.items():
        needed = {"clinic", "date", "time", "zone"} | ({"link"} if kind != "cancellation" else set())
        missing = needed - {name for _, name, _, _ in Formatter().parse(text)}
        if missing:
            raise ValueError(f"{kind}: must hold {', '.join(f'{{{name}}}' for name in sorted(missing))}")
    return texts


LocalTime = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
E164 = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^\+[1-9][0-9]{6,14}$")]
OwnText = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=306), AfterValidator(_own_text)
]
"""Two segments at most, before the opt-out words."""


class MessageSettings(Model):
    """What a connection's patients are told, when, and who is left out."""

    confirmations: bool = True
    reminders: bool = True
    changes: bool = True
    cancellations: bool = True
    reminder_leads_minutes: Annotated[
        list[Annotated[int, Field(ge=5, le=10080)]], Field(max_length=4), AfterValidator(lambda v: sorted({*v})[::-1])
    ] = [1440, 15]
    """Minutes before the start."""
    quiet_from: LocalTime = "21:00"
    quiet_until: LocalTime = "08:00"
    """In the department's local time; equal to `quiet_from`: no quiet hours."""
    daily_cap: Annotated[int, Field(ge=1, le=20)] = 4
    """Reminders to one person on one local day."""
    excluded_departments: Annotated[list[ShortText], Field(max_length=200)] = []
    excluded_types: Annotated[list[FhirId], Field(max_length=200)] = []
    """Appointment types (codes of set 14249) whose patients get nothing, such as those of sensitive clinics."""
    include_minors: bool = False
    minor_age: Annotated[int, Field(ge=1, le=30)] = 18
    languages: Annotated[
        list[Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Z]{2})?$")]], Field(min_length=1, max_length=30)
    ] = ["en"]
    """The first is for patients whose language is not among them."""
    allowed_numbers: Annotated[list[E164], Field(max_length=50)] = []
    """A test connection sends to these and to nobody else."""
    texts: Annotated[dict[MessageKind, OwnText], AfterValidator(_own_texts)] = {}
    """The admin's own text of a kind, in place of ours; the opt-out words are added."""


class ConnectionInput(Model):
    """One FHIR base URL of a tenant in one environment."""

    name: ShortText
    environment: Literal["test", "production"]
    fhir_base_url: FhirBase
    patient_fhir_base_url: FhirBase | None = None
    clinic_name: ShortText
    """The neutral name that patients see."""
    contact_phone: ShortText
    organizers: Annotated[list[Guid], Field(max_length=50)] = []
    """Entra object ids of the dedicated accounts in whose name meetings are made."""
    video_visit_types: Annotated[list[FhirId], Field(max_length=200)] = []
    """Codes of Cerner code set 14249 that mean a video visit."""
    scopes_version: Literal["v1", "v2"] = "v1"
    client_authentication: Literal["client_secret_basic", "private_key_jwt"] = "client_secret_basic"
    framers: Annotated[list[Origin], Field(max_length=20)] = []
    """Origins that may frame the launch and visit pages."""
    join_opens_minutes: Annotated[int, Field(ge=0, le=240)] = 30
    join_closes_minutes: Annotated[int, Field(ge=0, le=480)] = 60
    """Minutes after the planned end in which the link still joins."""
    messages: MessageSettings = MessageSettings()


class ConnectionPatch(Model):
    """What may change after a connection was made; a field left out stays as it is."""

    name: ShortText | None = None
    clinic_name: ShortText | None = None
    contact_phone: ShortText | None = None
    organizers: Annotated[list[Guid], Field(max_length=50)] | None = None
    video_visit_types: Annotated[list[FhirId], Field(max_length=200)] | None = None
    framers: Annotated[list[Origin], Field(max_length=20)] | None = None
    join_opens_minutes: Annotated[int, Field(ge=0, le=240)] | None = None
    join_closes_minutes: Annotated[int, Field(ge=0, le=480)] | None = None
    messages_enabled: bool | None = None
    messages: MessageSettings | None = None
    """Replaced as a whole."""


class SenderLink(Model):
    sender_id: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]{4,20}$")]


class Connection(ConnectionInput):
    id: str
    departments: list[Department] = []
    sender_id: str | None = None
    messages_enabled: bool = False

    @property
    def ehr_tenant(self) -> str:
        """Cerner's own tenant: the last segment of the FHIR base; not always a UUID."""
        return self.fhir_base_url.rsplit("/", 1)[-1]

    @property
    def may_send(self) -> bool:
        """Switched on, and live: test domains are often copies of production, so they need a list of numbers."""
        live = self.environment == "production" or bool(self.messages.allowed_numbers)
        return self.messages_enabled and live and self.sender_id is not None

    @property
    def location_ids(self) -> tuple[str, ...]:
        return tuple(location for department in self.departments for location in department.location_ids)

    @property
    def video_codes(self) -> frozenset[str]:
        return frozenset(self.video_visit_types)

    def department_of(self, location_ids: tuple[str, ...]) -> Department | None:
        """The configured department that one of the locations belongs to."""
        for department in self.departments:
            if not set(department.location_ids).isdisjoint(location_ids):
                return department
        return None

    def is_listed(self, base: str) -> bool:
        return base in (self.fhir_base_url, self.patient_fhir_base_url)
