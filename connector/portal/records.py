"""Integration records: the values an administrator enters in Cerner for one connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel

from connector.launch import redirect_uri
from connector.tenants import Connection, Persona, TenantScope

if TYPE_CHECKING:
    from connector.bootstrap import Services


_SECRET = "client_secret_basic"  # noqa: S105 - the name of a method


class IntegrationRecord(BaseModel):
    """One application entry in the Oracle Health code Console."""

    environment: str
    launch_url: str
    redirect_uri: str
    client_id: str | None
    """None: register the application, then enter its client id as the connection's own credentials."""
    scopes: str
    fhir_base_url: str
    jwks_url: str | None = None
    """Where the EHR finds our public keys, for private_key_jwt."""


class SystemRecord(BaseModel):
    """The entry of the system account: it has no launch."""

    environment: str
    client_id: str | None
    scopes: str
    fhir_base_url: str
    jwks_url: str | None = None


class IntegrationRecords(BaseModel):
    provider: IntegrationRecord
    patient: IntegrationRecord | None = None
    system: SystemRecord


def integration_records(services: Services, scope: TenantScope, connection: Connection) -> IntegrationRecords:
    public_url, ehr = services.settings.public_url, services.ehr

    def jwks(persona: Persona) -> str | None:
        own = connection.credentials.get(persona)
        if own is None and ehr.is_listed(scope, connection, persona):
            return f"{public_url}/.well-known/jwks.json" if connection.client_authentication != _SECRET else None
        # where nothing is entered yet, a key is published as soon as one is made
        return None if own and own.method == _SECRET else f"{public_url}/launch/{connection.id}/jwks.json"

    def record(persona: Literal["provider", "patient"], base: str) -> IntegrationRecord:
        return IntegrationRecord(
            environment=connection.environment,
            launch_url=f"{public_url}/launch/{connection.id}/{persona}",
            redirect_uri=redirect_uri(services, scope, connection, persona),
            client_id=ehr.client_id(scope, connection, persona),
            scopes=ehr.scopes(connection, persona),
            fhir_base_url=base,
            jwks_url=jwks(persona),
        )

    patient_base = connection.patient_fhir_base_url
    return IntegrationRecords(
        provider=record("provider", connection.fhir_base_url),
        patient=record("patient", patient_base) if patient_base else None,
        system=SystemRecord(
            environment=connection.environment,
            client_id=ehr.client_id(scope, connection, "system"),
            scopes=ehr.scopes(connection, "system"),
            fhir_base_url=connection.fhir_base_url,
            jwks_url=jwks("system"),
        ),
    )
