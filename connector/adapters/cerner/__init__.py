"""Cerner (Oracle Health Millennium): SMART App Launch, tokens and FHIR R4 reading.

Works by discovery alone, so any SMART and FHIR R4 server will do whose base URL is given.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from connector.adapters.cerner import identity, smart
from connector.adapters.cerner.capabilities import Capability, capability
from connector.adapters.cerner.clean import Unreadable
from connector.adapters.cerner.fhir import FhirReader, TokenSource
from connector.adapters.cerner.refusals import explained
from connector.adapters.cerner.signing import Signer, SigningKey, VaultSigner, new_signing_key
from connector.adapters.cerner.smart import (
    SmartConfiguration,
    authorization_url,
    error_instance,
    error_link,
    error_urn,
    missing_scopes,
    scopes,
)
from connector.adapters.cerner.tokens import EhrClient, TokenCache, request_tokens
from connector.adapters.cerner.write import AppointmentWriter
from connector.adapters.http import OutgoingHttp, Response
from connector.ehr import EhrTokens, EhrUser
from connector.errors import PermanentError

__all__ = [
    "AppointmentWriter",
    "Capability",
    "Cerner",
    "EhrClient",
    "FhirReader",
    "Signer",
    "SigningKey",
    "SmartConfiguration",
    "TokenSource",
    "VaultSigner",
    "authorization_url",
    "error_instance",
    "error_link",
    "error_urn",
    "explained",
    "missing_scopes",
    "new_signing_key",
    "scopes",
]

CONFIGURATION_KEPT_S = 600


class Cerner:
    """Every conversation with an EHR; one instance serves all threads and tenants of a process."""

    def __init__(self, http: OutgoingHttp) -> None:
        self._http = http
        self._lock = threading.Lock()
        self._configurations: dict[str, tuple[float, SmartConfiguration]] = {}
        self._system_tokens = TokenCache()
        self._keys = identity.KeyRing(http)

    def check_address(self, url: str) -> None:
        """PermanentError `outgoing.refused_url` unless requests may go to such an address; asks nobody."""
        self._http.policy.check_url(url)

    def discover(self, fhir_base: str, *, again: bool = False) -> SmartConfiguration:
        """The authorization server of a FHIR base, remembered for ten minutes unless `again`.

        `.well-known/smart-configuration` first; where there is none (404), the CapabilityStatement's
        oauth-uris, which name no keys.
        """
        base = fhir_base.rstrip("/")
        with self._lock:
            kept = self._configurations.get(base)
        if kept is not None and not again and time.monotonic() - kept[0] < CONFIGURATION_KEPT_S:
            return kept[1]
        response = self._public(f"{base}/.well-known/smart-configuration", "application/json")
        if response.status == 404:
            configuration = self._from_capability(base)
        elif response.status == 200:
            configuration = smart.smart_configuration(response.json())
        else:
            raise _discovery_refused(response)
        for url in (
            configuration.authorization_endpoint,
            configuration.token_endpoint,
            configuration.jwks_uri,
        ):
            if url is not None:
                self._http.policy.check_url(url)
        with self._lock:
            self._configurations[base] = (time.monotonic(), configuration)
        return configuration

    def capability(self, fhir_base: str) -> Capability:
        """What the server at a FHIR base offers, asked without a token and never remembered."""
        response = self._public(f"{fhir_base.rstrip('/')}/metadata", "application/fhir+json")
        if response.status != 200:
            raise _discovery_refused(response)
        try:
            return capability(response.json())[0]
        except Unreadable:
            pass
        raise PermanentError("cerner.discovery_unreadable", vendor_reference=response.reference)

    def exchange_code(
        self,
        base: str,
        client: EhrClient,
        *,
        code: str,
        redirect_uri: str,
        code_verifier: str,
        scope: str = "",
    ) -> EhrTokens:
        """The tokens for an authorization code, which is good for one try: no answer means AmbiguousError.

        `scope` is what was asked for; it stands in when the answer names no granted scopes.
        """
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": code_verifier,
            "client_id": client.client_id,
        }
        return request_tokens(self._http, self.discover(base), client, form, scope=scope)

    def refresh(self, base: str, client: EhrClient, refresh_token: str, *, scope: str = "") -> EhrTokens:
        """New tokens; Cerner returns no new refresh token, so the old one is carried over."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        tokens = request_tokens(self._http, self.discover(base), client, form, scope=scope)
        return tokens if tokens.refresh_token else replace(tokens, refresh_token=refresh_token)

    def system_tokens(self, base: str, client: EhrClient, scope: str, *, renew: bool = False) -> EhrTokens:
        """The system account's token with the scopes it was granted; shared, see TokenCache."""
        base = base.rstrip("/")
        form = {"grant_type": "client_credentials", "scope": scope}

        def fetch() -> EhrTokens:
            return request_tokens(self._http, self.discover(base), client, form, scope=scope, repeatable=True)

        return self._system_tokens.get((base, client, scope), fetch, renew=renew)

    def system_token(self, base: str, client: EhrClient, scope: str, *, renew: bool = False) -> str:
        return self.system_tokens(base, client, scope, renew=renew).access_token

    def verify_id_token(
        self, base: str, id_token: str, *, client_id: str, ehr_tenant: str, nonce: str | None
    ) -> EhrUser:
        """Who signed in; see `identity.verify_id_token` for what is checked and why."""
        return identity.verify_id_token(
            id_token,
            keys=self._keys,
            configuration=self.discover(base),
            fhir_base=base,
            client_id=client_id,
            ehr_tenant=ehr_tenant,
            nonce=nonce,
        )

    def reader(self, fhir_base: str, token: TokenSource) -> FhirReader:
        """Reads with the token of `token`; the system account's: a partial of `system_token`."""
        return FhirReader(self._http, fhir_base, token)

    def writer(self, fhir_base: str, token: TokenSource) -> AppointmentWriter:
        """Changes appointments with the token of `token`."""
        return AppointmentWriter(self._http, fhir_base, token)

    def _public(self, url: str, accept: str) -> Response:
        return self._http.request("GET", url, headers={"Accept": accept}, retry=True, vendor="cerner", redirects=3)

    def _from_capability(self, base: str) -> SmartConfiguration:
        found = self.capability(base)
        if found.authorization_endpoint is None or found.token_endpoint is None:
            raise PermanentError("cerner.no_authorization_server")
        return SmartConfiguration(
            issuer=None,
            authorization_endpoint=found.authorization_endpoint,
            token_endpoint=found.token_endpoint,
            jwks_uri=None,
            token_endpoint_auth_methods_supported=(),
            pkce=False,
        )


def _discovery_refused(response: Response) -> PermanentError:
    return PermanentError(
        "cerner.discovery_refused", vendor_status=response.status, vendor_reference=response.reference
    )
