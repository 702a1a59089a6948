"""Invented lives of visits: one connection in real storage, its timers and workers, and a clock that jumps.

The EHR and the SMS resource here are doubles, the one exception to the rule that tests meet the stand-ins on loopback:
hypothesis makes thousands of lives of them. Every other test of messages uses the stand-ins (conftest.py).
"""

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings

from connector import clock, keys
from connector.adapters.tables import TRANSACTION_LIMIT, Row, Tables, Write
from connector.ehr import Appointment, ContactPoint, Found, Patient
from connector.errors import TransientError
from connector.messages import discover, lease, ledger, limits, optouts, register
from connector.messages.send import Desk, send_range
from connector.regions import Region
from connector.settings import Key
from connector.tenants import Connection, Department, MessageSettings, Sender, TenantScope
from connector.tenants.scope import CONFIGURATION

KEY = Key("s1", b"0" * 32)
LOCATION, VIDEO = "21570461", "2581740933"


Rows = dict[tuple[str, str, str], Row]
"""By table, partition and key."""


def lives(few: int, deep: int) -> Callable[[Callable[..., None]], Any]:
    """How many examples a test of invented lives tries in every run, and under the hypothesis profile `deep`."""
    thorough = settings.get_current_profile_name() == "deep"
    count = settings(max_examples=deep if thorough else few, deadline=None)
    return lambda test: pytest.mark.timeout(3600)(count(test)) if thorough else count(test)


@dataclass
class Ehr:
    """A FhirReader of what `appointments` and `patients` hold; `broken` moments make every search over them fail."""

    appointments: dict[str, Appointment] = field(default_factory=dict)
    patients: dict[str, Patient] = field(default_factory=dict)
    broken: list[tuple[str, datetime]] = field(default_factory=list)
    searches: list[tuple[datetime, datetime, int]] = field(default_factory=list)

    def search_appointments(
        self, *, start: datetime, end: datetime, location_ids: Sequence[str] = (), patient_id: str | None = None
    ) -> Found[Appointment]:
        self.searches.append((start, end, len(location_ids)))
        if any(start <= at < end and place in location_ids for place, at in self.broken):
            raise TransientError("cerner.unavailable", vendor_status=500)
        return Found(
            tuple(
                a
                for a in self.appointments.values()
                if a.start
                and start <= a.start < end
                and (patient_id in a.patient_ids if patient_id else set(a.location_ids) & set(location_ids))
            )
        )

    def appointments_by_id(self, ids: Sequence[str]) -> Found[Appointment]:
        return Found(tuple(self.appointments[one] for one in ids if one in self.appointments))

    def patients_by_id(self, ids: Sequence[str]) -> Found[Patient]:
        return Found(tuple(self.patients[one] for one in ids if one in self.patients))


@dataclass
class Sent:
    at: datetime
    to: str
    text: str


class Sms:
    def __init__(self) -> None:
        self.sent: list[Sent] = []

    def send(self, *, to: str, text: str, **_: Any) -> str:
        self.sent.append(Sent(clock.now(), to, text))
        return f"sms{len(self.sent)}"


class Clinic:
    """One connection of a tenant of its own, with its silent baseline over, and an empty schedule at `now`."""

    def __init__(
        self, tables: Tables, now: datetime, locations: Sequence[str] = (LOCATION,), zone: str = "America/Chicago",
        **wanted: Any,
    ) -> None:  # fmt: skip
        self.now, self.zone = now, zone
        self._days = {now.date()}
        clock.install(lambda: self.now)
        self.tables, self.ehr, self.sms, self.sealer = tables, Ehr(), Sms(), keys.Sealer((KEY,))
        self.connection = Connection(
            id=keys.new_connection_id(Region("americas")),
            name="Live",
            environment="production",
            fhir_base_url="https://fhir.example/r4/t",
            clinic_name="Harbor",
            contact_phone="+13122346700",
            video_visit_types=[VIDEO],
            messages_enabled=True,
            sender_id="ab12",
            messages=MessageSettings(**wanted),
            departments=[Department(name="Family Medicine", location_ids=list(locations), time_zone=zone)],
        )
        self.scope = TenantScope(str(uuid.uuid4()), Region("americas"), tables, None, keys.Wrapper((KEY,)))  # type: ignore
        sender = Sender(id="ab12", kind="phone_number", value="+18005550100", label="Main")
        self.desk = Desk(self.scope, self.connection, sender, self.ehr, self.sms, self.sealer, "https://v.example")  # type: ignore
        self.scan()

    def book(
        self, appointment: str, start: datetime, patient: str = "13207741", location: str = LOCATION
    ) -> None:
        """At this moment, as the EHR knows."""
        self.ehr.appointments[appointment] = Appointment(
            appointment,
            "0",
            "booked",
            start,
            start + timedelta(minutes=30),
            (patient,),
            (),
            (location,),
            (VIDEO,),
            False,
            updated=self.now,
        )
        number = ContactPoint("phone", f"+1312555{patient[-4:]}", "mobile", 1, None, None)
        self.ehr.patients.setdefault(
            patient, Patient(patient, True, False, None, None, date(1980, 1, 1), None, None, "en", (number,))
        )

    def change(self, appointment: str, **fields: Any) -> None:
        changed = {"updated": self.now, **fields}
        self.ehr.appointments[appointment] = replace(self.ehr.appointments[appointment], **changed)

    def scan(self) -> dict[str, int]:
        return dict(discover.run(self.scope, self.connection, self.ehr, self.sealer, self.now))  # type: ignore

    def work(self) -> list[Sent]:
        """Send all that is due; what is new."""
        before = len(self.sms.sent)
        self._days.add(self.now.date())
        due = ledger.due(self.scope, self.connection.id, self.now, 1000)
        for first in range(0, len(due), ledger.CHUNK):
            chunk = due[first : first + ledger.CHUNK]
            send_range(self.desk, chunk[0], chunk[-1])
        return self.sms.sent[before:]

    def run(self, until: datetime, every: timedelta = timedelta(minutes=5)) -> list[Sent]:
        """Timers and workers until then. Between two hours, timers that nothing is due for are left out."""
        before = len(self.sms.sent)
        idle = timedelta()
        while self.now < until:
            self.now = min(self.now + max(every, idle), until)
            self.scan()
            self.work()
            idle = self._idle(every)
        return self.sms.sent[before:]

    def _idle(self, every: timedelta) -> timedelta:
        """Until the timer that finds something due, at most an hour; no time while a visit waits for a second look."""
        if register.waiting(self.scope, self.connection.id):
            return timedelta()
        first = ledger.due(self.scope, self.connection.id, self.now + timedelta(hours=1), 1)
        if not first:
            return timedelta(hours=1)
        due = datetime.strptime(first[0].split(".")[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return -((self.now - due) // every) * every

    @property
    def rows(self) -> Rows:
        """All that is stored of this clinic now."""
        tenant = self.scope.tenant_id
        places = [(ledger.TABLE, self.connection.id), (CONFIGURATION, tenant), (optouts.TABLE, f"{tenant}.ab12")]
        places += [(limits.TABLE, f"{tenant}.{day:%Y%m%d}") for day in self._days]
        return {(table, part, row.key): row for table, part in places for row in self.tables.query(table, part)}

    def restore(self, backup: Rows) -> None:
        """The storage as it was, but for the opt-outs, which no restore touches."""
        writes: dict[tuple[str, str], list[Write]] = {}
        for name, row in {**self.rows, **backup}.items():
            if name[0] != optouts.TABLE:
                write = Write("upsert" if name in backup else "delete", replace(row, etag=None))
                writes.setdefault(name[:2], []).append(write)
        for (table, _), some in writes.items():
            for first in range(0, len(some), TRANSACTION_LIMIT):
                self.tables.transact(table, some[first : first + TRANSACTION_LIMIT])

    def forget_scans(self) -> None:
        """Every window is due again."""
        if self.tables.get(ledger.TABLE, self.connection.id, lease.KEY):
            self.tables.transact(ledger.TABLE, [Write("delete", Row(self.connection.id, lease.KEY))])

    def all_due(self) -> None:
        """The same, and they are known as windows that were read before."""
        row = self.tables.get(ledger.TABLE, self.connection.id, lease.KEY)
        before = self.now - timedelta(hours=7)
        known = {name: replace(scan, completed=before, tried=before) for name, scan in lease.scans(row).items()}
        lease.Lease(self.scope, self.connection.id, "", known, row and row.etag).release()

    def messages(self) -> list[Row]:
        return list(self.tables.query(ledger.TABLE, self.connection.id, start="m.", end="m/"))

    def rules(self) -> set[str]:
        return {row.text("rule") for row in self.messages()}

    def stored(self) -> str:
        return json.dumps([[*name, dict(row.values)] for name, row in self.rows.items()])


NewClinic = Callable[..., Clinic]
"""Takes what Clinic takes after its tables."""


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
