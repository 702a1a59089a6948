"""Which credentials speak to which EHR: the stamp's own, and only for FHIR bases on the operator's list."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, Protocol

from connector.adapters.cerner import (
    AppointmentWriter,
    Cerner,
    EhrClient,
    FhirReader,
    SigningKey,
    missing_scopes,
    scopes,
)
from connector.adapters.cerner.smart import Persona
from connector.ehr import EhrTokens
from connector.errors import RefusedError
from connector.settings import Settings, SmartClient
from connector.tenants import Connection, TenantScope


class TokenOfUser(Protocol):
    """A visit session's access token; `refresh` is called with the refresh token when it must be renewed."""

    def __call__(self, refresh: Callable[[str], EhrTokens], *, renew: bool = False) -> str: ...


class EhrAccess:
    """Readers and clients for the connections of the stamp."""

    def __init__(self, settings: Settings, cerner: Cerner) -> None:
        self._settings = settings
        self.cerner = cerner

    @cached_property
    def signing_keys(self) -> tuple[SigningKey, ...]:
        """Newest first; public halves at /.well-known/jwks.json."""
        return tuple(SigningKey.from_pem(pem) for pem in self._settings.smart_private_keys)

    def client(self, scope: TenantScope, connection: Connection, persona: Persona) -> EhrClient:
        """The stamp's client for a persona. Raises RefusedError (403) when the base left the operator's list."""
        base = connection.patient_fhir_base_url if persona == "patient" else connection.fhir_base_url
        listed = self._settings.listed_bases(scope.tenant_id) or ()
        if base not in listed and "*" not in listed:
            raise RefusedError(
                "connection.unlisted_base",
                "The operator of this service has not listed this FHIR base URL for your organization.",
                status=403,
                title="FHIR base URL not listed",
            )
        registered: SmartClient = getattr(self._settings, f"smart_{persona}")
        if connection.client_authentication == "private_key_jwt" and self.signing_keys:
            return EhrClient(registered.client_id, signing_key=self.signing_keys[0])
        return EhrClient(registered.client_id, secret=registered.secret)

    def scopes(self, connection: Connection, persona: Persona) -> str:
        """Only the system account writes, and only where the hospital chose that something is written."""
        write = persona == "system" and (connection.write_back or connection.arrived_on_join)
        return scopes(persona, connection.scopes_version, write=write)

    def missing_scopes(self, granted: frozenset[str], connection: Connection, persona: Persona) -> tuple[str, ...]:
        return missing_scopes(granted, self.scopes(connection, persona))

    def reader(self, scope: TenantScope, connection: Connection) -> FhirReader:
        """Reads as the system account."""
        client = self.client(scope, connection, "system")
        wanted = self.scopes(connection, "system")
        base = connection.fhir_base_url
        return self.cerner.reader(base, partial(self.cerner.system_token, base, client, wanted))

    def writer(self, scope: TenantScope, connection: Connection) -> AppointmentWriter:
        """Writes as the system account."""
        client = self.client(scope, connection, "system")
        wanted = self.scopes(connection, "system")
        base = connection.fhir_base_url
        return self.cerner.writer(base, partial(self.cerner.system_token, base, client, wanted))

    def user_reader(
        self, scope: TenantScope, connection: Connection, persona: Persona, token: TokenOfUser
    ) -> FhirReader:
        """Reads as the EHR user of a visit session."""
        client = self.client(scope, connection, persona)
        base = connection.patient_fhir_base_url if persona == "patient" else connection.fhir_base_url
        assert base is not None  # noqa: S101 - client() refused otherwise
        return self.cerner.reader(base, partial(token, partial(self.cerner.refresh, base, client)))

    def public_jwks(self) -> dict[str, Any]:
        return {"keys": [key.public_jwk for key in self.signing_keys]}
