"""Simulated Cerner on free loopback ports, and the few steps of SMART App Launch that tests repeat."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import flask
import jwt
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from werkzeug.serving import make_server

from sandbox.cast import HOSPITALS
from sandbox.cerner import appointments, authorization, fhir, powerchart
from sandbox.cerner.clients import CLIENTS
from sandbox.ports import free_ports
from sandbox.world import Ports, Registration, World

REDIRECT = "http://127.0.0.1:1/launch/callback"
VERIFIER = "v" * 50
SCOPES = {
    "v1": "launch online_access openid fhirUser user/Appointment.read user/Appointment.write "
    "user/Patient.read user/Encounter.read user/Practitioner.read",
    "v2": "launch online_access openid fhirUser user/Appointment.rs user/Appointment.crus user/Patient.rs "
    "user/Encounter.rs user/Practitioner.rs",
}
SYSTEM = {
    "v1": "system/Appointment.read system/Appointment.write system/Patient.read system/Location.read",
    "v2": "system/Appointment.crus system/Patient.rs system/Location.rs",
}
CLIENT_IDS = {persona: client_id for client_id, (persona, _) in CLIENTS.items()}


class Cerner:
    """Talks to the simulated servers as the app does."""

    def __init__(self, world: World, key: ec.EllipticCurvePrivateKey) -> None:
        self.world = world
        self._key = key

    def base(self, hospital: str, persona: str = "provider") -> str:
        ports, tenant = self.world.ports, self.world.hospitals[hospital].ehr_tenant
        return ports.patient_fhir_base(tenant) if persona == "patient" else ports.fhir_base(tenant)

    def discovered(self, hospital: str, persona: str = "provider") -> dict[str, Any]:
        url = f"{self.base(hospital, persona)}/.well-known/smart-configuration"
        found: dict[str, Any] = requests.get(url, timeout=30).json()
        return found

    def authorize(
        self, hospital: str, persona: str = "provider", patient: str | None = None, **changes: str | None
    ) -> requests.Response:
        """The answer to the authorize request of a launch; `changes` replace or (None) remove parameters."""
        opened = powerchart.launch_url(
            self.world, hospital, "patient" if persona == "patient" else "provider", None, patient
        )
        query = parse_qs(urlsplit(opened).query)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
        asked: dict[str, str | None] = {
            "response_type": "code",
            "client_id": CLIENT_IDS[persona],
            "redirect_uri": REDIRECT,
            "scope": SCOPES[self.world.hospitals[hospital].scopes_version],
            "state": "s1",
            "aud": query["iss"][0],
            "launch": query["launch"][0],
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "nonce": "n1",
        } | changes
        return requests.get(
            self.discovered(hospital, persona)["authorization_endpoint"],
            params=asked,
            allow_redirects=False,
            timeout=30,
        )

    def token(self, hospital: str, persona: str = "provider", **form: str) -> requests.Response:
        """A token request, authenticated in the way the hospital registered."""
        endpoint = self.discovered(hospital, "provider" if persona == "system" else persona)["token_endpoint"]
        client_id = CLIENT_IDS[persona]
        if self.world.hospitals[hospital].client_authentication == "client_secret_basic":
            return requests.post(endpoint, data=form, auth=(client_id, CLIENTS[client_id][1]), timeout=30)
        form["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        form.setdefault("client_assertion", self.assertion(client_id, endpoint))
        return requests.post(endpoint, data=form, timeout=30)

    def assertion(self, client_id: str, audience: str) -> str:
        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": audience,
            "exp": int(time.time()) + 60,
            "jti": str(uuid.uuid4()),
        }
        return jwt.encode(claims, self._key, algorithm="ES384", headers={"kid": "app-key"})

    def launch(
        self, hospital: str, persona: str = "provider", patient: str | None = None, **changes: str | None
    ) -> dict[str, Any]:
        """The token response of a whole launch."""
        answer = self.authorize(hospital, persona, patient, **changes)
        code = parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]
        response = self.token(
            hospital,
            persona,
            grant_type="authorization_code",
            code=code,
            redirect_uri=REDIRECT,
            code_verifier=VERIFIER,
        )
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    def system_token(self, hospital: str, scope: str | None = None) -> str:
        scope = scope or SYSTEM[self.world.hospitals[hospital].scopes_version]
        response = self.token(hospital, "system", grant_type="client_credentials", scope=scope)
        return str(response.json()["access_token"])

    def get(
        self, hospital: str, path: str, token: str, persona: str = "provider", params: Any = None
    ) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/fhir+json"}
        return requests.get(
            f"{self.base(hospital, persona)}/{path}", params=params, headers=headers, timeout=30
        )


@contextmanager
def serve(folder: Path) -> Iterator[Cerner]:
    ports = Ports(*free_ports(len(dataclasses.fields(Ports))))
    world = World(HOSPITALS, ports, folder / "clock")
    appointments.populate(world)
    for key in world.hospitals:
        world.registrations[key] = Registration(
            key,
            f"http://127.0.0.1:1/launch/{key}/provider",
            f"http://127.0.0.1:1/launch/{key}/patient",
            REDIRECT,
        )
    private = ec.generate_private_key(ec.SECP384R1())
    apps = {
        "cerner": fhir.create_app(world, "provider"),
        "myrecord": fhir.create_app(world, "patient"),
        "authorization": authorization.create_app(world),
        "app": _app_with_jwks(private),
    }
    servers = [
        make_server("127.0.0.1", getattr(ports, name), app, threaded=True) for name, app in apps.items()
    ]
    for server in servers:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield Cerner(world, private)
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def _app_with_jwks(private: ec.EllipticCurvePrivateKey) -> flask.Flask:
    app = flask.Flask(__name__)
    public = jwt.algorithms.ECAlgorithm.to_jwk(private.public_key(), as_dict=True) | {"kid": "app-key"}

    @app.get("/.well-known/jwks.json")
    def jwks() -> dict[str, Any]:
        return {"keys": [public]}

    return app
