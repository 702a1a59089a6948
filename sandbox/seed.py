"""Configures both hospitals through the app's public API, as a customer's own automation would.

It signs in to Entra as the automation app (app role Connector.Configure), reads what is there, adds what is
missing, then enters the integration records in simulated Cerner. Running it again changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from sandbox import entra, entra_tokens
from sandbox.stamp import fhir_domains
from sandbox.world import Hospital, Json, Registration, World

_TIMEOUT_S = 60


class SeedError(RuntimeError):
    """The app refused a step of the configuration; the text says which, and what it answered."""


def configure(world: World, ca_bundle: Path, go_on: Callable[[], None] = lambda: None) -> None:
    """Both hospitals configured and registered. `go_on` is called before each request and may raise."""
    for hospital in world.hospitals.values():
        if hospital.connected:
            _Api(world, hospital, ca_bundle, go_on).configure()


class _Api:
    """The app's /api/v1 as one hospital's automation sees it."""

    def __init__(self, world: World, hospital: Hospital, ca_bundle: Path, go_on: Callable[[], None]) -> None:
        self._world, self._hospital, self._go_on = world, hospital, go_on
        self._session = requests.Session()
        # Neither a proxy nor a REQUESTS_CA_BUNDLE of this shell may come between us and loopback.
        self._session.trust_env = False
        self._session.verify = str(ca_bundle)
        self._api = f"{world.ports.url('app')}/api/v1"

    def configure(self) -> None:
        """The tenant, its sender, its live production connection, and a test connection where it has one."""
        hospital = self._hospital
        self._sign_in()
        self._call("PUT", "/tenant", {"region": hospital.region})
        kept = {item["fhir_base_url"]: item for item in self._listed("/connections")}
        production, *tests = fhir_domains(hospital.key)
        connection = self._connection(kept, production, "production")
        if not connection.get("messages_enabled"):
            self._make_live(connection["id"])
        for ehr_tenant in tests:
            self._connection(kept, ehr_tenant, "test")
        records, _ = self._call("GET", f"/connections/{connection['id']}/integration-records")
        self._world.registrations[hospital.key] = Registration(
            connection=connection["id"],
            provider_launch_url=records["provider"]["launch_url"],
            patient_launch_url=records["patient"]["launch_url"],
            redirect_uri=records["provider"]["redirect_uri"],
        )

    def _sign_in(self) -> None:
        """Microsoft identity platform, "OAuth 2.0 client credentials flow"."""
        self._go_on()
        answer = self._session.post(
            f"{self._world.ports.url('entra')}/{self._hospital.tid}/oauth2/v2.0/token",
            timeout=_TIMEOUT_S,
            data={
                "grant_type": "client_credentials",
                "client_id": entra.AUTOMATION_CLIENT_ID,
                "client_secret": entra.AUTOMATION_CLIENT_SECRET,
                "scope": f"{entra_tokens.ENTRA_CLIENT_ID}/.default",
            },
        )
        if not answer.ok:
            raise SeedError(f"Entra answered {answer.status_code}: {answer.text[:500]}")
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def _connection(self, kept: dict[str, Json], ehr_tenant: str, environment: str) -> Json:
        hospital, ports = self._hospital, self._world.ports
        base = ports.fhir_base(ehr_tenant)
        if base in kept:
            return kept[base]
        made, _ = self._call(
            "POST",
            "/connections",
            {
                "name": hospital.name if environment == "production" else f"{hospital.name}, {environment}",
                "environment": environment,
                "fhir_base_url": base,
                "patient_fhir_base_url": ports.patient_fhir_base(ehr_tenant),
                "clinic_name": hospital.name,
                "contact_phone": hospital.contact_phone,
                "organizers": [organizer.oid for organizer in hospital.organizers],
                "video_visit_types": list(hospital.video_visit_types),
                "scopes_version": hospital.scopes_version,
                "client_authentication": hospital.client_authentication,
                "release_confirmed": True,
            "framers": [f"http://{name}:{ports.home}" for name in ("localhost", "127.0.0.1")],
            },
        )
        return dict(made)

    def _make_live(self, connection: str) -> None:
        hospital, path = self._hospital, f"/connections/{connection}"
        self._write(
            "PUT",
            path,
            "/departments",
            [
                {
                    "name": department.name,
                    "location_ids": list(department.location_ids),
                    "time_zone": department.time_zone,
                }
                for department in hospital.departments
                if department.configured
            ],
        )
        sender = self._sender()
        self._record_verification(sender)
        self._write("PUT", path, "/sender", {"sender_id": sender})
        # the story is played at any time of day
        missing = self._call("GET", "/consents")[0]["missing"]
        self._call("PUT", "/consents", {consent["kind"]: consent["version"] for consent in missing})
        awake = {"quiet_from": "00:00", "quiet_until": "00:00", "channels": ["sms", "email"]}
        self._write("PATCH", path, "", {"messages_enabled": True, "messages": awake})
        self._await_baseline(path)

    def _await_baseline(self, connection: str) -> None:
        """Until the app has looked at the whole schedule: whoever is booked from then on is texted."""
        last = time.monotonic() + _TIMEOUT_S
        while self._call("GET", f"{connection}/messages/status")[0]["baseline_pending"]:
            if time.monotonic() > last:
                raise SeedError(f"the app did not read the schedule of {self._hospital.key} within {_TIMEOUT_S} s")
            time.sleep(0.1)

    def _sender(self) -> str:
        wanted = {"kind": self._hospital.sender_kind, "value": self._hospital.sender_value}
        for sender in self._listed("/senders"):
            if wanted.items() <= sender.items():
                return str(sender["id"])
        made, _ = self._call("POST", "/senders", {**wanted, "label": "Main"})
        return str(made["id"])

    def _record_verification(self, sender: str) -> None:
        """Carriers have verified this hospital's toll-free number long ago."""
        found, etag = self._call("GET", f"/senders/{sender}")
        if found["verification"] is not None and found["verification"]["state"] != "verified":
            verified = {"state": "verified", "submitted_on": "2026-01-12", "decided_on": "2026-02-20"}
            self._call("PATCH", f"/senders/{sender}", {"verification": verified}, {"If-Match": etag})

    def _listed(self, path: str) -> list[Json]:
        found, _ = self._call("GET", path)
        return list(found["items"])

    def _write(self, method: str, connection: str, part: str, body: Any) -> None:
        """Change the connection on the condition that it is as we last read it."""
        _, etag = self._call("GET", connection)
        self._call(method, connection + part, body, {"If-Match": etag})

    def _call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[Any, str]:
        self._go_on()
        answer = self._session.request(
            method, self._api + path, json=body, headers=headers, timeout=_TIMEOUT_S
        )
        if not answer.ok:
            raise SeedError(
                f"{method} {path} for {self._hospital.key}: {answer.status_code} {answer.text[:500]}"
            )
        return (answer.json() if answer.content else {}), answer.headers.get("ETag", "")
