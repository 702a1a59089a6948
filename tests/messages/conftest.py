"""A hospital, its EHR and its SMS resource on loopback, and the feature's own functions run as the host runs them."""

import base64
import json
import secrets
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import azure.functions as func
import flask
import pytest
from azure.core.exceptions import ResourceExistsError
from azure.storage.queue import QueueClient
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from werkzeug.serving import make_server

from connector import bootstrap, clock, messages, settings, tenants
from connector.adapters.tables import Row, Tables, Write
from connector.messages import brakes, dispatch, lease, ledger
from connector.messages.send import Desk
from connector.messages.triggers import desk
from connector.regions import Region
from connector.tenants import (
    Actor,
    Connection,
    ConnectionInput,
    ConnectionPatch,
    Department,
    MessageSettings,
    SenderInput,
    TenantScope,
)
from sandbox import acs as stand_in
from sandbox import acs_email
from sandbox.azurite import Azurite
from sandbox.cast import HOSPITALS
from sandbox.cerner import appointments, authorization, clients, fhir
from sandbox.ports import free_ports
from sandbox.world import REGIONS, Hospital, Ports, SentMessage, World
from tests.messages.lives import Clinic, NewClinic
from tests.tenants.stamp import agree, verified

ACTOR = Actor("0d4f7a91-6b2c-4e38-9f15-a7c3d8e20b61")
MORNING = datetime(2026, 11, 23, 15, 10, 5, tzinfo=UTC)
"""When each test begins: a Monday in winter, whatever the day, the hour and the second are outside."""


@pytest.fixture(scope="session")
def published() -> list[dict[str, Any]]:
    """Public keys that simulated Cerner finds at the app's address; the last one counts."""
    return []


@pytest.fixture(scope="session")
def vendors(published: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Simulated Cerner and Communication Services, listening for the whole run."""
    ports = Ports(*free_ports(len(fields(Ports))))
    world = World(HOSPITALS, ports, tmp_path_factory.mktemp("world") / "clock")
    apps = {
        "cerner": fhir.create_app(world, "provider"),
        "authorization": authorization.create_app(world),
        **{f"acs_{region}": stand_in.create_app(world, region) for region in REGIONS},
    }
    apps["app"] = flask.Flask("app")
    apps["app"].add_url_rule("/.well-known/jwks.json", "jwks", lambda: published[-1])
    servers = [make_server("127.0.0.1", getattr(ports, name), app, threaded=True) for name, app in apps.items()]
    for server in servers:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield world
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def new_clinic(azurite: Azurite) -> NewClinic:
    """Of the session, so that each example of hypothesis can make one: every clinic is a tenant of its own."""
    connection = azurite.connection_string("americas")
    served = settings.RegionSettings(Region("americas"), connection, None, None, None, None, None)
    return partial(Clinic, Tables(served))


@dataclass
class Stage:
    """One hospital as a fresh tenant of ours, with an empty schedule."""

    world: World
    hospital: Hospital
    services: bootstrap.Services
    scope: tenants.TenantScope
    connection_id: str
    functions: dict[str, Callable[..., None]]
    storage: str

    @property
    def connection(self) -> Connection:
        return tenants.connection(self.scope, self.connection_id).value

    @property
    def outbox(self) -> list[SentMessage]:
        return self.world.outbox

    def book(self, patient: int = 0, *, in_minutes: int = 60, **more: object) -> str:
        start = self.world.now().replace(second=0, microsecond=0) + timedelta(minutes=in_minutes)
        key = self.hospital.patients[patient].key
        return appointments.book(self.world, self.hospital.key, key, start=start, **more)  # type: ignore[arg-type]

    def desk(self) -> Desk:
        opened = desk(self.services, self.scope, self.connection)
        assert opened is not None
        return opened

    def queue(self, name: str) -> QueueClient:
        return QueueClient.from_connection_string(self.storage, f"{name}-{self.hospital.region}")

    def hints(self, name: str) -> list[str]:
        """Take what is visible on a queue."""
        with self.queue(name) as queue:
            taken = list(queue.receive_messages(messages_per_page=32))
            for message in taken:
                queue.delete_message(message)
        return [message.content for message in taken]

    def run(self, function: str, hint: str) -> None:
        self.functions[f"messages_{function}_{self.hospital.region}"](func.QueueMessage(id="1", body=hint.encode()))

    def discover(self) -> None:
        self.functions["messages_discover"](None)
        while hints := self.hints("discover"):
            for hint in hints:
                self.run("discover", hint)

    def start_of(self, appointment: str) -> datetime:
        record = self.world.resources[self.hospital.ehr_tenant]["Appointment", appointment]
        return datetime.fromisoformat(record["start"])

    def forward(self, minutes: float) -> None:
        self.world.advance(timedelta(minutes=minutes))

    def change(self, **fields: Any) -> None:
        present = tenants.connection(self.scope, self.connection_id)
        patch = ConnectionPatch(**fields)
        tenants.change_connection(self.scope, self.connection_id, present.etag, patch, ACTOR)

    def forget_scans(self) -> None:
        """Every window is due again."""
        self.scope.tables.transact(ledger.TABLE, [Write("delete", Row(self.connection_id, lease.KEY))])

    def dispatch(self) -> list[str]:
        self.functions["messages_dispatch"](None)
        return self.hints("send")

    def deliver(self) -> None:
        """Dispatch, and let the workers do what is on the queue."""
        for hint in self.dispatch():
            self.run("send", hint)

    def status(self) -> dict[str, int]:
        return messages.status(self.scope, self.connection_id)

    def rows(self, prefix: str) -> list[dict[str, Any]]:
        found = self.scope.tables.query(ledger.TABLE, self.connection_id, start=f"{prefix}.", end=f"{prefix}/")
        return [dict(row.values) | {"key": row.key} for row in found]

    def rules(self) -> set[object]:
        return {row["rule"] for row in self.rows("m")}


@pytest.fixture
def staged(
    vendors: World, published: list[dict[str, Any]], azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Stage]]:
    monkeypatch.setattr(dispatch, "PATIENCE", timedelta(0))  # what was released and not sent is released again
    vendors.reset()
    vendors.advance(MORNING - vendors.now())
    vendors.patience_s = 0.2  # who gets no answer is not kept waiting for it
    vendors.sms_per_minute = dict.fromkeys(vendors.sms_per_minute, 10_000)  # the tests share one sender
    vendors.email_limits = vendors.email_read_limits = (10_000, 10_000)
    appointments.populate(vendors)
    clock.install(vendors.now)

    def make(hospital_key: str = "harbor", *, empty: bool = True, **wanted: Any) -> Stage:
        hospital, tid = vendors.hospitals[hospital_key], str(uuid.uuid4())
        resources = vendors.resources[hospital.ehr_tenant]
        booked = {key: resources.pop(key) for key in list(resources) if key[0] == "Appointment"}
        services = bootstrap.build(stamp_settings(vendors, azurite, tid))
        region = Region(hospital.region)
        for served in services.storage.tables.values():
            for table in ("Directory", "Configuration", ledger.TABLE):
                served.create(table)
        made = func.FunctionApp()
        made.register_functions(messages.blueprint(lambda: services, [region]))
        functions = {str(f.get_function_name()): f.get_user_function() for f in made.get_functions()}
        scope = services.directory.pin(tid, region)
        identity = _connection(services, scope, vendors, hospital, wanted)
        storage = azurite.connection_string(hospital.region)
        stage = Stage(vendors, hospital, services, scope, identity, functions, storage)
        for name in ("discover", "send"):
            with stage.queue(name) as queue:
                with suppress(ResourceExistsError):
                    queue.create_queue()
                queue.clear_messages()
        published.append(services.ehr.public_jwks())
        stage.discover()  # the silent baseline, of an empty schedule
        stage.forget_scans()
        for record in booked.values():  # at this moment, after the baseline began
            record["meta"]["lastUpdated"] = f"{vendors.now():%Y-%m-%dT%H:%M:%SZ}"
        resources.update({} if empty else booked)
        return stage

    yield make
    clock.install(None)


@pytest.fixture
def stage(staged: Callable[..., Stage]) -> Stage:
    return staged()


def _connection(
    services: bootstrap.Services,
    scope: tenants.TenantScope,
    world: World,
    hospital: Hospital,
    wanted_messages: dict[str, Any],
) -> str:
    """By default every message is due at any time of day, and nobody is reminded: a test asks for what it is about."""
    environment, linked = wanted_messages.pop("environment", "production"), wanted_messages.pop("linked", True)
    always = {"quiet_from": "00:00", "quiet_until": "00:00", "reminders": False, "include_minors": True}
    message_settings = MessageSettings(**(always | wanted_messages))
    sender = tenants.add_sender(
        scope, SenderInput(kind=hospital.sender_kind, value=hospital.sender_value, label="Main"), ACTOR
    )
    if sender.verification is not None:
        verified(scope, sender.id)
    wanted = ConnectionInput(
        name="Live",
        environment=environment,
        fhir_base_url=world.ports.fhir_base(hospital.ehr_tenant),
        clinic_name=hospital.name,
        contact_phone=hospital.contact_phone,
        video_visit_types=list(hospital.video_visit_types),
        scopes_version=hospital.scopes_version,
        client_authentication=hospital.client_authentication,
    )
    made = tenants.add_connection(services.directory, scope, wanted, ACTOR)
    departments = [
        Department(name=d.name, location_ids=list(d.location_ids), time_zone=d.time_zone)
        for d in hospital.departments
        if d.configured
    ]
    identity = made.value.id
    agree(scope)
    made = tenants.set_departments(scope, identity, made.etag, departments, ACTOR)
    if linked:
        made = tenants.link_sender(scope, identity, made.etag, sender.id, ACTOR)
    patch = ConnectionPatch(messages_enabled=True, messages=message_settings)
    tenants.change_connection(scope, identity, made.etag, patch, ACTOR)
    return identity


def stamp_settings(world: World, azurite: Azurite, tid: str, **changes: str) -> settings.Settings:
    environment = {
        "CONNECTOR_ENVIRONMENT": "sandbox",
        "CONNECTOR_PUBLIC_URL": "http://127.0.0.1:31999",
        "CONNECTOR_REGIONS": ",".join(REGIONS),
        "CONNECTOR_TENANTS": json.dumps({tid: ["*"]}),
        "CONNECTOR_SEALING_KEYS": _key("s1"),
        "CONNECTOR_WRAPPING_KEYS": _key("w1"),
        "ENTRA_AUTHORITY": "https://127.0.0.1:1",
        "ENTRA_CLIENT_ID": str(uuid.uuid4()),
        "ENTRA_CLIENT_SECRET": "none",
        "GRAPH_URL": "http://127.0.0.1:1",
        "SMART_PROVIDER_CLIENT_ID": "none",
        "SMART_PATIENT_CLIENT_ID": "none",
        "SMART_SYSTEM_CLIENT_ID": clients.SMART_SYSTEM_CLIENT_ID,
        "SMART_SYSTEM_CLIENT_SECRET": clients.SMART_SYSTEM_SECRET,
        "SMART_PRIVATE_KEYS": _private_key(),
    }
    for region in REGIONS:
        environment[f"{region.upper()}_STORAGE"] = azurite.connection_string(region)
        environment[f"{region.upper()}_COMMUNICATION_ENDPOINT"] = world.ports.url(f"acs_{region}")
        environment[f"{region.upper()}_COMMUNICATION_KEY"] = stand_in.ACS_KEYS[region]
        environment[f"{region.upper()}_EMAIL_SENDER"] = acs_email.sender(region)
        environment[f"{region.upper()}_EMAIL_RATE"] = "9999/9999"  # the tests share one domain
    return settings.load(environment | changes)


def _key(key_id: str) -> str:
    return f"{key_id}:{base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip('=')}"


def _private_key() -> str:
    private = ec.generate_private_key(ec.SECP384R1())
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return private.private_bytes(encoding, form, serialization.NoEncryption()).decode()


def hold(scope: TenantScope, connection: Connection, kind: str, rule: brakes.Rule, now: datetime) -> None:
    """As the brakes do by themselves: a kind, or `all`, waits for an admin's release."""
    brakes.change(scope, connection, now, lambda state: replace(state, held={**state.held, kind: rule}))
