"""The simulated Cerner on loopback, and a server that is whatever a test makes of it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

import flask
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from connector.adapters.cerner import (
    EhrClient,
    SigningKey,
)
from sandbox.cast import HOSPITALS
from sandbox.cerner import appointments, authorization, clients, fhir
from sandbox.world import Hospital, Ports, Registration, World
from tests.adapters.serving import listening

REDIRECT = "https://connector.example/launch/callback"
SYSTEM = EhrClient(clients.SMART_SYSTEM_CLIENT_ID, clients.SMART_SYSTEM_SECRET)
PROVIDER = EhrClient(clients.SMART_PROVIDER_CLIENT_ID, clients.SMART_PROVIDER_SECRET)
VERIFIER = "v" * 64
RSA_PEM = rsa.generate_private_key(65537, 2048).private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)


SMART = "r4/T/.well-known/smart-configuration"


class Simulated:
    """The simulated Cerner on loopback, and the app's published keys."""

    def __init__(self, folder: Path, running: ExitStack) -> None:
        self.key = SigningKey.from_pem(RSA_PEM)
        self.published: list[dict[str, str]] = []
        ports = dict.fromkeys((field.name for field in fields(Ports)), 9)
        self.world = World(HOSPITALS, Ports(**ports), folder / "clock")
        app = flask.Flask(__name__)
        app.add_url_rule("/.well-known/jwks.json", "jwks", lambda: {"keys": self.published})
        # Each app reads the ports when asked, so they may be filled in one after the other.
        ports["app"] = running.enter_context(listening(app))
        self.world.ports = Ports(**ports)
        for name, served in (
            ("cerner", fhir.create_app(self.world, "provider")),
            ("myrecord", fhir.create_app(self.world, "patient")),
            ("authorization", authorization.create_app(self.world)),
        ):
            ports[name] = running.enter_context(listening(served))
            self.world.ports = Ports(**ports)
        self.reset()

    def reset(self) -> None:
        self.world.reset()
        self.published[:] = [self.key.public.jwk]
        appointments.populate(self.world)
        for hospital in HOSPITALS:
            self.world.registrations[hospital.key] = Registration(
                "c", "https://connector.example/launch/c/provider", "https://connector.example/p", REDIRECT
            )

    def base(self, hospital: Hospital) -> str:
        return self.world.ports.fhir_base(hospital.ehr_tenant)


class OtherServer:
    """A FHIR and authorization server in one, made of whatever a test puts into it."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        self.app = flask.Flask(__name__)
        self.app.add_url_rule("/<path:path>", "any", self._answer, methods=["GET", "POST"])
        self.url = ""

    def _answer(self, path: str) -> Any:
        self.asked.append(flask.request.full_path)
        answer = self.answers.get(path, ("", 404))
        return answer() if callable(answer) else answer

    @property
    def base(self) -> str:
        return f"{self.url}/r4/T"

    def configuration(self, **more: Any) -> dict[str, Any]:
        endpoints = {name: f"{self.url}/{name}" for name in ("authorization_endpoint", "token_endpoint")}
        return endpoints | {"issuer": f"{self.url}/tenants/T", "jwks_uri": f"{self.url}/jwk"} | more
