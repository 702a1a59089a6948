"""What a tenant configures. These models are the API's schema and, as JSON, the stored form."""

from __future__ import annotations

import re
from datetime import date, datetime
from string import Formatter
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from connector.errors import Text
from connector.regions import Region
from connector.settings import NAMES

_GUID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_FHIR_ID = r"^[A-Za-z0-9.-]{1,64}$"
_LOCAL_TIME = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
_E164 = r"^\+[1-9][0-9]{6,14}$"
EMAIL_ADDRESS = r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@([A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,63}$"
"""One address that every mail server takes: no display name, no quotes, plain ASCII."""
_LANGUAGE = r"^[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?$"
_SENDER_ID = r"^[a-z0-9]{4,20}$"
PATTERNS = {
    _GUID: "must be an id such as 5b18f6c4-d92e-4a03-b7e5-06c4d3a81f29",
    _FHIR_ID: "may hold only letters, digits, dots and hyphens, at most 64",
    _LOCAL_TIME: "must be a time such as 21:00",
    _E164: "must be a number such as +18005550100",
    EMAIL_ADDRESS: "must be an e-mail address such as visits@example.org",
    _LANGUAGE: "must be a language such as en or es-MX",
    _SENDER_ID: "must be the id of a sender",
}
"""What each pattern asks for, in words that follow a field's label."""
_UNSEEN = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060\\u2066-\\u2069\\ufeff]+")
"""Control characters, line breaks, what has no width, and what turns the direction of the text that follows."""


def _one_line(value: Any) -> Any:
    """Names stand in subjects of e-mails, in texts and beside others' words."""
    return _UNSEEN.sub(" ", value) if isinstance(value, str) else value


ShortText = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80), BeforeValidator(_one_line)
]
Guid = Annotated[str, StringConstraints(pattern=_GUID, to_lower=True)]
_HOST = r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?"
_ORIGIN = re.compile(rf"{_HOST}/?")
_ADDRESS = re.compile(rf"{_HOST}(/[A-Za-z0-9._~%@:+,;=-]+)*/?")
_TELEPHONE = re.compile(r"\+?[0-9(][0-9 ()./-]{2,30}(( ?x| ?ext\.?) ?[0-9]{1,6})?")
FhirId = Annotated[str, StringConstraints(pattern=_FHIR_ID)]


def _known_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is not an IANA time zone such as America/Chicago") from None
    return value


def _plain_address(value: str) -> str:
    if not _ADDRESS.fullmatch(value):
        raise ValueError("must be an address such as https://fhir-ehr.cerner.com/r4/ and the tenant's id")
    return value.rstrip("/")


def _origin(value: str) -> str:
    """Goes into a Content-Security-Policy as it is, so nothing but scheme, host and port."""
    if not _ORIGIN.fullmatch(value):
        raise ValueError("must be an origin such as https://embedded.cerner.com")
    return value.rstrip("/")


def _telephone(value: str) -> str:
    if not _TELEPHONE.fullmatch(value) or sum(character.isdigit() for character in value) < 3:
        raise ValueError("must be a telephone number as patients dial it, such as +1 312 234 6700")
    return value


TimeZone = Annotated[str, AfterValidator(_known_zone)]
Telephone = Annotated[str, StringConstraints(strip_whitespace=True, max_length=40), AfterValidator(_telephone)]
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


class Verification(Model):
    """How far a toll-free number is in the carriers' verification, as an admin recorded it from Azure's portal."""

    state: Literal["unverified", "submitted", "verified", "rejected"]
    submitted_on: date | None = None
    decided_on: date | None = None


class Sender(SenderInput):
    id: str
    verification: Verification | None = None


class SenderPatch(Model):
    """A field left out, or null, stays as it is."""

    label: ShortText | None = None
    verification: Verification | None = None


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
            known = ", ".join(f"{{{known}}}" for known in sorted(PLACEHOLDERS))
            raise ValueError(Text("may hold only the placeholders %(known)s", known=known))
    return text


def _own_texts(texts: dict[MessageKind, str]) -> dict[MessageKind, str]:
    for kind, text in texts.items():
        needed = {"clinic", "date", "time", "zone"} | ({"link"} if kind != "cancellation" else set())
        missing = needed - {name for _, name, _, _ in Formatter().parse(text)}
        if missing:
            missing_ones = ", ".join(f"{{{name}}}" for name in sorted(missing))
            raise ValueError(Text("%(kind)s: must hold %(missing)s", kind=kind, missing=missing_ones))
    return texts


LocalTime = Annotated[str, StringConstraints(pattern=_LOCAL_TIME)]
E164 = Annotated[str, StringConstraints(strip_whitespace=True, pattern=_E164)]
EmailAddress = Annotated[str, StringConstraints(strip_whitespace=True, max_length=254, pattern=EMAIL_ADDRESS)]
OwnText = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=306), AfterValidator(_own_text)
]
"""Two segments at most, before the opt-out words."""


Channel = Literal["sms", "email"]
_CHANNELS: tuple[Channel, ...] = ("sms", "email")


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
        list[Annotated[str, StringConstraints(pattern=_LANGUAGE)]], Field(min_length=1, max_length=30)
    ] = ["en"]
    """The first is for patients whose language is not among them."""
    allowed_numbers: Annotated[list[E164], Field(max_length=50)] = []
    allowed_addresses: Annotated[list[EmailAddress], Field(max_length=50)] = []
    """A test connection sends to these numbers and addresses and to nobody else."""
    channels: Annotated[
        list[Channel], Field(min_length=1), AfterValidator(lambda wanted: [c for c in _CHANNELS if c in wanted])
    ] = ["sms"]
    """How patients may be reached. With both: by SMS, and by e-mail who has no mobile number or prefers it."""
    replies: bool = False
    """Texts from a number ask for the reply C, which confirms the visit (and, with write-back, in the EHR)."""
    texts: Annotated[dict[MessageKind, OwnText], AfterValidator(_own_texts)] = {}
    """The admin's own text of a kind, in place of ours; the opt-out words are added."""


Organizers = Annotated[list[Guid], Field(max_length=50)]
"""Entra object ids of the dedicated accounts in whose name meetings are made."""
VideoVisitTypes = Annotated[list[FhirId], Field(max_length=200)]
"""Codes of Cerner code set 14249 that mean a video visit."""
ScopesVersion = Literal["v1", "v2"]
ClientAuthentication = Literal["client_secret_basic", "private_key_jwt"]
Framers = Annotated[list[Origin], Field(max_length=20)]
"""Origins that may frame the launch and visit pages."""
JoinOpens = Annotated[int, Field(ge=0, le=240)]
JoinCloses = Annotated[int, Field(ge=0, le=480)]
"""Minutes after the planned end in which the link still joins."""
Departments = Annotated[list[Department], Field(max_length=300)]


class ConnectionInput(Model):
    """One FHIR base URL of a tenant in one environment."""

    name: ShortText
    environment: Literal["test", "production"]
    fhir_base_url: FhirBase
    patient_fhir_base_url: FhirBase | None = None
    clinic_name: ShortText
    """The neutral name that patients see."""
    contact_phone: Telephone
    organizers: Organizers = []
    video_visit_types: VideoVisitTypes = []
    scopes_version: ScopesVersion = "v1"
    client_authentication: ClientAuthentication = "client_secret_basic"
    """How the stamp's own client proves itself; own credentials say it themselves."""
    framers: Framers = []
    join_opens_minutes: JoinOpens = 30
    join_closes_minutes: JoinCloses = 60
    release_confirmed: bool = False
    """An administrator has confirmed that Cerner is of November 2018 or later: its release cannot be read."""
    write_back: bool = False
    """Write the two join links into the EHR's appointments."""
    arrived_on_join: bool = False
    """Mark the appointment as arrived when the patient joins."""
    messages: MessageSettings = MessageSettings()


Persona = Literal["provider", "patient", "system"]
"""Clinicians' launches, patients' launches, and the connector itself."""
_CLIENT_ID = r"^[A-Za-z0-9._~-]{1,200}$"
PATTERNS[_CLIENT_ID] = "may hold only letters, digits, dots, hyphens, underscores and tildes, at most 200"
SETTING_NAMES = frozenset(name.upper() for name in NAMES)
_REFERENCE = re.compile(r"@Microsoft\..*|%.*%|\$[{(].*")


def _own_secret(value: SecretStr) -> SecretStr:
    secret = value.get_secret_value()
    if not 8 <= len(secret) <= 1000 or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ValueError("must be the secret as the EHR shows it: 8 to 1000 characters without spaces")
    if _REFERENCE.fullmatch(secret) or secret.upper() in SETTING_NAMES:
        raise ValueError("must be the secret itself: names of settings and references to a vault are not looked up")
    return value


class CredentialInput(Model):
    """The tenant's own registration with its EHR for one persona. Written, never read again.

    With private_key_jwt there is nothing to type but the client id: the service makes a new key, keeps it, and
    publishes its public half.
    """

    client_id: Annotated[str, StringConstraints(strip_whitespace=True, pattern=_CLIENT_ID)]
    method: ClientAuthentication = "client_secret_basic"
    client_secret: Annotated[SecretStr, AfterValidator(_own_secret)] | None = Field(None, validate_default=True)

    @field_validator("client_secret")
    @classmethod
    def _where_it_belongs(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if (info.data.get("method") == "client_secret_basic") != (value is not None):
            raise ValueError("is needed for client_secret_basic, and must be left out for private_key_jwt")
        return value


class Credential(Model):
    """What is shown of own credentials."""

    client_id: str
    method: ClientAuthentication
    has_secret: Literal[True] = True
    changed_at: datetime
    public_jwk: dict[str, str] | None = None
    """Of private_key_jwt (RFC 7517)."""


class ConnectionPatch(Model):
    """What may change after a connection was made; a field left out stays as it is, and so does one that is null, but
    for `patient_fhir_base_url`: null removes it."""

    name: ShortText | None = None
    patient_fhir_base_url: FhirBase | None = None
    clinic_name: ShortText | None = None
    contact_phone: Telephone | None = None
    organizers: Organizers | None = None
    video_visit_types: VideoVisitTypes | None = None
    scopes_version: ScopesVersion | None = None
    client_authentication: ClientAuthentication | None = None
    framers: Framers | None = None
    join_opens_minutes: JoinOpens | None = None
    join_closes_minutes: JoinCloses | None = None
    release_confirmed: bool | None = None
    write_back: bool | None = None
    arrived_on_join: bool | None = None
    active: bool | None = None
    """Switched off: nothing of it can be launched or joined, and messages are switched off with it."""
    messages_enabled: bool | None = None
    messages: MessageSettings | None = None
    """Replaced as a whole."""

    def changes(self) -> dict[str, Any]:
        """The fields that are to change, as they will be stored."""
        given = self.model_dump(exclude_unset=True)
        return {name: v for name, v in given.items() if v is not None or name == "patient_fhir_base_url"}


class SenderLink(Model):
    sender_id: Annotated[str, StringConstraints(pattern=_SENDER_ID)] | None
    """null: none any more."""


class Connection(ConnectionInput):
    id: str
    departments: Departments = []
    sender_id: str | None = None
    active: bool = True
    messages_enabled: bool = False
    credentials: dict[Persona, Credential] = {}
    """The tenant's own, in place of the operator's."""

    @property
    def ehr_tenant(self) -> str:
        """Cerner's own tenant: the last segment of the FHIR base; not always a UUID."""
        return self.fhir_base_url.rsplit("/", 1)[-1]

    @property
    def may_send(self) -> bool:
        """Switched on, and live: test domains are often copies of production, so they need a list of whom to reach."""
        wanted = self.messages
        live = self.environment == "production" or bool(wanted.allowed_numbers or wanted.allowed_addresses)
        return self.messages_enabled and live and (self.sender_id is not None or "sms" not in wanted.channels)

    @property
    def framed_by(self) -> tuple[str, ...]:
        """Who may frame the launch and visit pages; empty: whom the EHR's own library trusts."""
        return tuple(self.framers)

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
