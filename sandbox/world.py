"""The state shared by all simulated vendors: clock, faults, counts, people, meetings, messages.

Vendors run in one process, one thread a request; every read-modify-write holds `World.lock`.
"""

from __future__ import annotations

import itertools
import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

Json = dict[str, Any]
FaultKind = Literal["429", "500", "timeout", "timeout_after_accept"]
FAULT_KINDS: tuple[FaultKind, ...] = ("429", "500", "timeout", "timeout_after_accept")
_BOOKINGS_BEGAN = 1_760_000_000
REGIONS = ("americas", "emea", "apac")


@dataclass(frozen=True)
class Ports:
    """Loopback ports of one running sandbox."""

    home: int
    cerner: int
    myrecord: int
    authorization: int
    entra: int
    graph: int
    teams: int
    acs_americas: int
    acs_emea: int
    acs_apac: int
    app: int

    def url(self, name: str) -> str:
        scheme = "https" if name == "entra" else "http"
        return f"{scheme}://127.0.0.1:{getattr(self, name)}"

    def fhir_base(self, ehr_tenant: str) -> str:
        return f"{self.url('cerner')}/r4/{ehr_tenant}"

    def patient_fhir_base(self, ehr_tenant: str) -> str:
        return f"{self.url('myrecord')}/r4/{ehr_tenant}"


@dataclass(frozen=True)
class Clinician:
    """A member of staff: Millennium user and, in the same person, Entra user."""

    key: str
    practitioner_id: str
    username: str
    family: str
    given: str
    entra_oid: str
    upn: str

    @property
    def entra_name(self) -> str:
        return f"{self.given} {self.family}"


@dataclass(frozen=True)
class EntraUser:
    """An Entra account that is not a clinician: administrators, ordinary users, organizers."""

    key: str
    oid: str
    upn: str
    name: str
    wids: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Person:
    """A patient of the cast; every value here is what the privacy tests search for."""

    key: str
    patient_id: str
    mrn: str
    family: str
    given: str
    birth_date: str
    mobile: str
    home_phone: str
    expired_phone: str
    email: str
    language: str
    gender: str = "unknown"


@dataclass(frozen=True)
class Department:
    name: str
    location_ids: tuple[str, ...]
    time_zone: str
    configured: bool = True


@dataclass(frozen=True)
class Hospital:
    """One customer: an Entra tenant (`tid`) with one Cerner domain (`ehr_tenant`)."""

    key: str
    name: str
    region: str
    time_zone: str
    contact_phone: str
    tid: str
    ehr_tenant: str
    scopes_version: Literal["v1", "v2"]
    client_authentication: Literal["client_secret_basic", "private_key_jwt"]
    sender_kind: Literal["phone_number", "alphanumeric"]
    sender_value: str
    video_visit_types: tuple[str, ...]
    departments: tuple[Department, ...]
    clinicians: tuple[Clinician, ...]
    users: tuple[EntraUser, ...]
    organizers: tuple[EntraUser, ...]
    patients: tuple[Person, ...]
    connected: bool = True
    """Configured when the sandbox starts; else it is left for somebody to do in the portal."""

    @property
    def directory(self) -> tuple[EntraUser, ...]:
        """Everybody with an account in the hospital's Entra tenant."""
        staff = tuple(EntraUser(c.key, c.entra_oid, c.upn, c.entra_name) for c in self.clinicians)
        return staff + self.users + self.organizers


@dataclass
class SentMessage:
    """One SMS that simulated ACS accepted; lives in memory only (the patient's phone)."""

    id: str
    region: str
    sender: str
    to: str
    text: str
    accepted_at: datetime
    tag: str = ""


@dataclass
class SentEmail:
    """One e-mail that simulated ACS accepted and delivered; lives in memory only (the patient's inbox)."""

    id: str
    region: str
    sender: str
    to: str
    subject: str
    text: str
    html: str
    headers: dict[str, str]
    accepted_at: datetime


@dataclass
class Participant:
    """Somebody in a simulated Teams meeting: in the lobby, connected, or gone."""

    id: str
    name: str
    kind: Literal["user", "guest"]
    state: Literal["lobby", "connected", "left"]
    oid: str | None = None


@dataclass
class Meeting:
    id: str
    tid: str
    organizer_oid: str
    external_id: str
    body: Json
    participants: list[Participant] = field(default_factory=list)
    call_began: datetime | None = None
    """Since when somebody is in it."""


@dataclass
class Registration:
    """What the integration records said, as entered in Cerner for one hospital."""

    connection: str
    provider_launch_url: str
    patient_launch_url: str
    redirect_uri: str


@dataclass
class Grant:
    """What simulated Cerner has given out: a launch code, an authorization code, an access or a refresh token."""

    kind: Literal["launch", "code", "access", "refresh"]
    hospital: str
    persona: Literal["provider", "patient", "system"]
    expires: float
    """Real time, seconds since the epoch: OAuth lifetimes do not follow the moved clock."""
    user: str | None = None
    """Key of the clinician (provider) or of the patient (patient)."""
    patient_id: str | None = None
    encounter_id: str | None = None
    client_id: str = ""
    scopes: tuple[str, ...] = ()
    redirect_uri: str = ""
    challenge: str = ""
    nonce: str = ""


@dataclass
class Fault:
    vendor: str
    kind: FaultKind
    left: int


@dataclass(frozen=True)
class Suffered:
    """A fault that a request met."""

    at: datetime
    """Real time."""
    vendor: str
    kind: FaultKind
    body: str
    """Of the request, an e-mail's operation id before it: which message it was about."""


class World:
    """The simulated world of one sandbox; `reset` returns it to its first state."""

    def __init__(self, hospitals: tuple[Hospital, ...], ports: Ports, clock_file: Path) -> None:
        self.hospitals = {hospital.key: hospital for hospital in hospitals}
        self.ports = ports
        self.lock = threading.RLock()
        self.offset = timedelta()
        self.registrations: dict[str, Registration] = {}
        self.grants: dict[str, Grant] = {}
        """By the secret value; they outlive `reset` as the app's cached tokens do."""
        self.storage: dict[str, str] = {}
        """Connection string of each region's storage account, for the page that shows what is stored."""
        # an id used before a reset or a restart never names another visit
        self.bookings = itertools.count(int(time.time()) - _BOOKINGS_BEGAN)
        self.notices: queue.SimpleQueue[Callable[[], int]] = queue.SimpleQueue()
        """Change notifications on their way, carried in order by `postman`."""
        self.postman: threading.Thread | None = None
        self.brings_events = True
        """False keeps Event Grid silent, where the cost of messages is measured without that of their receipts."""
        self._clock_file = clock_file
        self.reset()

    def reset(self) -> None:
        """Forget messages, meetings, faults, counts, the moved clock; registrations stay: the app keeps its side."""
        with self.lock:
            self.resources: dict[str, dict[tuple[str, str], Json]] = {}
            """FHIR resources by ehr tenant, then by (type, id); filled by sandbox.cerner."""
            self.meetings: dict[str, Meeting] = {}
            self.subscriptions: dict[str, Any] = {}
            """Change notification subscriptions by id; sandbox.graph_subscriptions fills it."""
            self.subscription_quota = 10_000
            self.outbox: list[SentMessage] = []
            self.replies: list[tuple[str, str, datetime]] = []
            """What patients texted back: from which number, what, when."""
            self.mail: list[SentEmail] = []
            self.email_operations: dict[str, Json] = {}
            self.email_limits = (30, 100)
            """Messages a minute and an hour, of a custom domain."""
            self.email_read_limits = (60, 200)
            self.events: list[Json] = []
            """What Event Grid has still to bring to the app (the Americas)."""
            self.opt_outs: set[tuple[str, str]] = set()
            """Our number and theirs: ACS and the carrier block what is sent."""
            self.carrier_stops: set[tuple[str, str]] = set()
            """Those of them that only a START of the person ends."""
            self.undeliverable: dict[str, str] = {}
            """Numbers and addresses that nothing reaches, and why."""
            self.faults: list[Fault] = []
            self.fault_rates: dict[str, float] = {}
            """Share of a vendor's requests that meet a fault of any kind, by the throw of `dice`."""
            self.dice = random.Random(0)  # noqa: S311 - repeatable, no secret
            self.suffered: list[Suffered] = []
            self.patience_s = 35.0
            """How long a request without an answer is left open, unless the caller gives up before."""
            self.latency_s: dict[str, float] = {}
            """How long a vendor thinks about each request."""
            self.consented = {hospital.tid for hospital in self.hospitals.values() if hospital.connected}
            """Entra tenants whose administrator has consented to the app."""
            self.access_policy = {user.oid for h in self.hospitals.values() for user in h.organizers}
            """Organizers under a Teams application access policy that names the app."""
            self.withheld_roles: set[str] = set()
            """Graph permissions that an administrator's consent did not include."""
            self.without_teams: set[str] = set()
            """Entra tenants and accounts without a Teams licence."""
            self.disabled_accounts: set[str] = set()
            self.delivery_reports: dict[str, Json] = {}
            self.unverified_senders: set[str] = set()
            self.owned_numbers: dict[str, dict[str, Json]] = {}
            """Numbers that were bought, by region and digits."""
            self.reservations: dict[str, Json] = {}
            self.purchases: list[str] = []
            """Every number that was ever paid for."""
            self.provisioning_s = 20.0
            """How long a purchase of a number takes, in the sandbox's time."""
            self.sms_per_minute = {"phone_number": 200, "alphanumeric": 600}
            self.repeatability_off = False
            """True makes ACS forget repeatability ids, to prove that tests would notice a duplicate."""
            self.requests: Counter[tuple[str, str]] = Counter()
            self.mischief: set[str] = set()
            """Names of bad behaviour to simulate, until removed; sandbox.cerner documents them."""
            self.trimmed_scopes: dict[str, set[str]] = {}
            """Scopes that the authorization server drops silently, by hospital key."""
            self.offset = timedelta()
            self._write_clock()

    # clock

    def now(self) -> datetime:
        """Business time, aware UTC."""
        return datetime.now(UTC) + self.offset

    def advance(self, by: timedelta) -> None:
        with self.lock:
            self.offset += by
            self._write_clock()

    def _write_clock(self) -> None:
        fresh = self._clock_file.with_suffix(".new")
        fresh.write_text(str(self.offset.total_seconds()), encoding="ascii")
        fresh.replace(self._clock_file)

    # counts and faults

    def count(self, vendor: str, operation: str) -> None:
        with self.lock:
            self.requests[(vendor, operation)] += 1

    def add_fault(self, vendor: str, kind: FaultKind, requests: int) -> None:
        with self.lock:
            self.faults.append(Fault(vendor, kind, requests))

    def take_fault(self, vendor: str) -> FaultKind | None:
        """The fault that the next request of `vendor` (cerner, authorization, entra, graph, acs) suffers, if any."""
        with self.lock:
            for fault in self.faults:
                if fault.vendor == vendor and fault.left > 0:
                    fault.left -= 1
                    return fault.kind
            rate = self.fault_rates.get(vendor, 0.0)
            return self.dice.choice(FAULT_KINDS) if rate and self.dice.random() < rate else None

    # look-ups

    def hospital_of_tid(self, tid: str) -> Hospital | None:
        return next((h for h in self.hospitals.values() if h.tid == tid), None)

    def hospital_of_ehr_tenant(self, ehr_tenant: str) -> Hospital | None:
        return next((h for h in self.hospitals.values() if h.ehr_tenant == ehr_tenant), None)

    def entra_user(self, oid: str) -> tuple[Hospital, EntraUser] | None:
        return next(((h, u) for h in self.hospitals.values() for u in h.directory if u.oid == oid), None)

    @contextmanager
    def changing(self) -> Iterator[World]:
        with self.lock:
            yield self
