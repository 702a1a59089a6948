"""Which credentials speak to which EHR: a connection's own, else the stamp's, and those only for FHIR bases on the
operator's list."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cached_property, partial
from typing import Any, Protocol

from connector.adapters.cerner import (
    AppointmentWriter,
    Cerner,
    EhrClient,
    FhirReader,
    Signer,
    SigningKey,
    VaultSigner,
    missing_scopes,
    scopes,
)
from connector.adapters.cerner.smart import Persona
from connector.adapters.vault import VaultKey
from connector.ehr import EhrTokens
from connector.errors import RefusedError, Text
from connector.settings import Settings, SmartClient
from connector.tenants import Connection, TenantScope, own_credential


class TokenOfUser(Protocol):
    """A visit session's access token; `refresh` is called with the refresh token when it must be renewed."""

    def __call__(self, refresh: Callable[[str], EhrTokens], *, renew: bool = False) -> str: ...


class EhrAccess:
    """Readers and clients for the connections of the stamp."""

    def __init__(self, settings: Settings, cerner: Cerner, vault: VaultKey | None = None) -> None:
        self._settings = settings
        self.cerner = cerner
        self.vault = vault
        self._own: dict[tuple[str, Persona], tuple[datetime, EhrClient]] = {}

    @cached_property
    def _held(self) -> tuple[SigningKey, ...]:
        """Private keys of the settings, newest first."""
        return tuple(SigningKey.from_pem(pem) for pem in self._settings.smart_private_keys)

    @cached_property
    def signer(self) -> Signer | None:
        """Who signs the stamp's client assertions: the key in the vault, where the stamp has one."""
        if self.vault is not None:
            return VaultSigner(self.vault, self._held)
        return self._held[0] if self._held else None

    def client(self, scope: TenantScope, connection: Connection, persona: Persona) -> EhrClient:
        """The client for a persona: the connection's own, or the stamp's.

        Raises RefusedError (403): the connection is switched off; or it has no credentials of its own, and the
        operator does not list its base.
        """
        if not connection.active:
            raise RefusedError(
                "connection.inactive",
                Text(
                    "Video visits of %(clinic)s are switched off at the moment. Patients, please call %(phone)s. "
                    "Staff: an administrator can switch the connection on again in the portal.",
                    clinic=connection.clinic_name,
                    phone=connection.contact_phone,
                ),
                status=403,
                title="Switched off",
            )
        if persona in connection.credentials:
            return self._own_client(scope, connection, persona)
        if not self.is_listed(scope, connection, persona):
            raise RefusedError(
                "connection.unlisted_base",
                "The operator of this service has not listed this FHIR base URL for your organization, and the "
                "connection has no credentials of its own. An administrator can enter them in the portal.",
                status=403,
                title="No credentials for this FHIR base URL",
            )
        registered: SmartClient = getattr(self._settings, f"smart_{persona}")
        if connection.client_authentication == "private_key_jwt" and self.signer:
            return EhrClient(registered.client_id, signing_key=self.signer)
        return EhrClient(registered.client_id, secret=registered.secret)

    def is_listed(self, scope: TenantScope, connection: Connection, persona: Persona) -> bool:
        """Whether the stamp's own credentials may be used for it."""
        base = connection.patient_fhir_base_url if persona == "patient" else connection.fhir_base_url
        listed = self._settings.listed_bases(scope.tenant_id) or ()
        return base in listed or "*" in listed

    def client_id(self, scope: TenantScope, connection: Connection, persona: Persona) -> str | None:
        """What the EHR knows us by; None when there are no credentials yet."""
        own = connection.credentials.get(persona)
        if own is not None:
            return own.client_id
        registered: SmartClient = getattr(self._settings, f"smart_{persona}")
        return registered.client_id if self.is_listed(scope, connection, persona) else None

    def _own_client(self, scope: TenantScope, connection: Connection, persona: Persona) -> EhrClient:
        """Remembered until it is changed."""
        changed_at = connection.credentials[persona].changed_at
        known = self._own.get((connection.id, persona))
        if known is None or known[0] != changed_at:
            own = own_credential(scope, connection, persona)
            key = SigningKey.from_pem(own.private_key) if own.private_key else None
            known = changed_at, EhrClient(own.client_id, secret=own.secret, signing_key=key)
            self._own[connection.id, persona] = known
        return known[1]

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
        """What `/.well-known/jwks.json` publishes. Raises what `VaultSigner` raises, when nothing was ever read."""
        if isinstance(self.signer, VaultSigner):
            return {"keys": self.signer.published()}
        return {"keys": [key.public.jwk for key in self._held]}
