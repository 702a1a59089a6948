"""Integration records: the values an administrator enters in Cerner for one connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

from connector.launch import redirect_uri
from connector.tenants import Connection, TenantScope

if TYPE_CHECKING:
    from connector.bootstrap import Services


class IntegrationRecord(BaseModel):
    """One application entry in the Oracle Health code Console."""

    environment: str
    launch_url: str
    redirect_uri: str
    client_id: str
    scopes: str
    fhir_base_url: str
    jwks_url: str | None = None


class IntegrationRecords(BaseModel):
    provider: IntegrationRecord
    patient: IntegrationRecord | None = None


def integration_records(services: Services, scope: TenantScope, connection: Connection) -> IntegrationRecords:
    public_url = services.settings.public_url
    jwks = f"{public_url}/.well-known/jwks.json" if connection.client_authentication == "private_key_jwt" else None

    def record(persona: str, base: str) -> IntegrationRecord:
        kind = "patient" if persona == "patient" else "provider"
        client = services.settings.smart_patient if kind == "patient" else services.settings.smart_provider
        return IntegrationRecord(
            environment=connection.environment,
            launch_url=f"{public_url}/launch/{connection.id}/{kind}",
            redirect_uri=redirect_uri(services),
            client_id=client.client_id,
            scopes=services.ehr.scopes(connection, "patient" if kind == "patient" else "provider"),
            fhir_base_url=base,
            jwks_url=jwks,
        )

    patient_base = connection.patient_fhir_base_url
    return IntegrationRecords(
        provider=record("provider", connection.fhir_base_url),
        patient=record("patient", patient_base) if patient_base else None,
    )
