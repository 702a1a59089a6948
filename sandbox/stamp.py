"""The app's settings in the sandbox: addresses of this run, and secrets that belong to the work folder.

Keys are random per work folder and kept there, so that a restarted app reads what it stored before; their ids
begin with `sandbox`, which production refuses.
"""

from __future__ import annotations

import base64
import json
import secrets
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sandbox import acs, acs_email, certificates, entra, entra_tokens
from sandbox.azurite import HOST_ACCOUNT, Azurite
from sandbox.cast import EVERYBODY
from sandbox.cerner import clients
from sandbox.world import REGIONS, Ports

CERTIFICATES = "certificates"
"""Folder of the work folder into which sandbox.certificates writes."""
TEST_DOMAIN = "e61c94a7-5f0b-4d28-b7c3-9a8d02f4e516"
"""EHR tenant of Harbor's test domain: a connection of environment `test`, which can be mistaken."""


def environment(ports: Ports, work_dir: Path, azurite: Azurite) -> dict[str, str]:
    """Environment variables of the app, complete but for what every process inherits."""
    settings = {
        "CONNECTOR_ENVIRONMENT": "sandbox",
        "CONNECTOR_PUBLIC_URL": ports.url("app"),
        "CONNECTOR_REGIONS": ",".join(REGIONS),
        "CONNECTOR_TENANTS": json.dumps(listed_bases(ports)),
        "AzureWebJobsStorage": azurite.connection_string(HOST_ACCOUNT),
        "ENTRA_AUTHORITY": ports.url("entra"),
        "ENTRA_CLIENT_ID": entra_tokens.ENTRA_CLIENT_ID,
        "ENTRA_CLIENT_SECRET": entra.ENTRA_CLIENT_SECRET,
        "GRAPH_URL": ports.url("graph"),
        "SMART_PROVIDER_CLIENT_ID": clients.SMART_PROVIDER_CLIENT_ID,
        "SMART_PROVIDER_CLIENT_SECRET": clients.SMART_PROVIDER_SECRET,
        "SMART_PATIENT_CLIENT_ID": clients.SMART_PATIENT_CLIENT_ID,
        "SMART_PATIENT_CLIENT_SECRET": clients.SMART_PATIENT_SECRET,
        "SMART_SYSTEM_CLIENT_ID": clients.SMART_SYSTEM_CLIENT_ID,
        "SMART_SYSTEM_CLIENT_SECRET": clients.SMART_SYSTEM_SECRET,
        "SMART_SCOPES_VERSION": "v1",
        "REQUESTS_CA_BUNDLE": str(work_dir / CERTIFICATES / "bundle.pem"),
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "SANDBOX_CLOCK_FILE": str(work_dir / "clock"),
        "SANDBOX_HOST_DIR": str(work_dir / "host"),
        **_kept_secrets(work_dir / "secrets.json"),
    }
    for region in REGIONS:
        settings[f"{region.upper()}_STORAGE"] = azurite.connection_string(region)
        settings[f"{region.upper()}_COMMUNICATION_ENDPOINT"] = ports.url(f"acs_{region}")
        settings[f"{region.upper()}_COMMUNICATION_KEY"] = acs.ACS_KEYS[region]
        settings[f"{region.upper()}_EMAIL_SENDER"] = acs_email.sender(region)
    return settings


def listed_bases(ports: Ports) -> dict[str, list[str]]:
    """The operator's list: FHIR bases by Microsoft tenant."""
    return {
        hospital.tid: [
            base(ehr_tenant)
            for ehr_tenant in fhir_domains(hospital.key)
            for base in (ports.fhir_base, ports.patient_fhir_base)
        ]
        for hospital in EVERYBODY
    }


def fhir_domains(hospital: str) -> list[str]:
    """EHR tenants of one hospital, production first."""
    production = next(h.ehr_tenant for h in EVERYBODY if h.key == hospital)
    return [production, TEST_DOMAIN] if hospital == "harbor" else [production]


def fresh_key(key_id: str) -> str:
    """One `id:key` pair as CONNECTOR_SEALING_KEYS and CONNECTOR_WRAPPING_KEYS list them."""
    return f"{key_id}:{base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip('=')}"


def _kept_secrets(path: Path) -> dict[str, str]:
    if not path.exists():
        # SMART App Launch 2.2, asymmetric client authentication: RS384 or ES384.
        private = ec.generate_private_key(ec.SECP384R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.touch(mode=0o600)
        path.write_text(
            json.dumps(
                {
                    "CONNECTOR_SEALING_KEYS": fresh_key("sandbox-s1"),
                    "CONNECTOR_WRAPPING_KEYS": fresh_key("sandbox-w1"),
                    "SMART_PRIVATE_KEYS": private.decode(),
                    "GRAPH_NOTIFICATION_CERTIFICATES": certificates.notification_certificate(),
                }
            ),
            encoding="ascii",
        )
    kept: dict[str, str] = json.loads(path.read_text(encoding="ascii"))
    return kept
