"""What is wrong with a stamp, and who can fix it. Findings hold names, ids and dates, never a value of a setting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

from connector.adapters.cerner import VaultSigner
from connector.adapters.http import OutgoingHttp, OutgoingPolicy
from connector.adapters.vault import KeyVersion
from connector.bootstrap import Services
from connector.errors import ConnectorError
from connector.operations.keys import wrapped
from connector.tenants import DIRECTORY, connections

SOON = timedelta(days=30)


@dataclass(frozen=True)
class Finding:
    well: bool
    what: str
    fix: str = ""
    """Who can fix it, and how."""

    def line(self) -> str:
        return f"ok    {self.what}" if self.well else f"WRONG {self.what}\n      {self.fix}"


def examine(services: Services, *, ca_bundle: str | None = None) -> Iterator[Finding]:
    """One finding after the other. Nothing is changed; one request for each address."""
    loaded = services.settings
    http = OutgoingHttp(OutgoingPolicy(loopback_http=loaded.sandbox), ca_bundle=ca_bundle)
    yield Finding(True, "settings are complete")
    for served in loaded.regions:
        yield from _region(services, served.region.value)
    yield from _signing_key(services)
    yield from _app(services, http)
    discovery = f"{loaded.entra_authority}/organizations/v2.0/.well-known/openid-configuration"
    yield _answers(http, "ENTRA_AUTHORITY", discovery, status=200)
    yield _answers(http, "GRAPH_URL", loaded.graph_url)
    for served in loaded.regions:
        name = f"{served.region.upper()}_COMMUNICATION_ENDPOINT"
        if served.communication_endpoint:
            yield _answers(http, name, served.communication_endpoint)
            if not served.email_sender:
                yield Finding(True, f"no e-mail is sent in {served.region.value}: EMAIL_DOMAIN is not verified yet")
        else:
            yield Finding(False, f"{name} is not set", "Operator: without it nobody is texted; azd provision sets it.")
    for base in sorted({base for bases in loaded.tenants.values() for base in bases if base != "*"}):
        yield _answers(http, f"FHIR base {base}", f"{base}/.well-known/smart-configuration", status=200)
    yield from _certificates(loaded.graph_notification_certificates)


def _region(services: Services, region: str) -> Iterator[Finding]:
    served = next(one for one in services.settings.regions if one.region.value == region)
    tables = services.storage.tables[served.region]
    try:
        tables.get(DIRECTORY, "health", "health")
        values = wrapped(tables, services.settings.wrapping_keys)
        unlisted = [scope for scope in services.directory.every_scope()
                    if scope.region is served.region and services.settings.listed_bases(scope.tenant_id) is None]
        sending = [one.value for scope in services.directory.scopes() if scope.region is served.region
                   for one in connections(scope) if one.value.may_send]
    except ConnectorError as error:
        yield Finding(
            False, f"storage of {region} does not answer you ({error.code} {error.vendor_status or ''})".rstrip(),
            "Operator: do you have the roles on its tables (infra/roles.bicep), and are you in its network?",
        )
        return
    yield Finding(True, f"storage of {region} answers, {len(sending)} connections send")
    lost, older = values["lost"], values["older"]
    yield Finding(
        not lost, f"{lost or 'no'} values in {region} that no wrapping key opens",
        "Operator: a key was dropped from CONNECTOR_WRAPPING_KEYS. Put it back from your backup, at once.",
    )
    if older:
        yield Finding(True, f"{older} values in {region} under an older wrapping key: re-key before you drop it")
    if unlisted:
        names = ", ".join(sorted(scope.tenant_id for scope in unlisted))
        yield Finding(True, f"tenants with data in {region} that are not in CONNECTOR_TENANTS: {names}")


def _app(services: Services, http: OutgoingHttp) -> Iterator[Finding]:
    """The deployed app, at its public address."""
    url = services.settings.public_url
    yield _answers(http, "CONNECTOR_PUBLIC_URL, /health", f"{url}/health", status=200)
    refresh = "Operator: it has not read the present values. Run azd hooks run postprovision, look again in a minute."
    try:
        published = http.request("GET", f"{url}/.well-known/jwks.json").json()
    except ConnectorError as error:
        if error.vendor_status == HTTPStatus.BAD_GATEWAY:
            refresh = "Operator: the app's identity has no role on the key, or the vault refuses its network: " \
                "infra/roles.bicep, infra/network.bicep; the log says request.failed code=vault..."
        elif error.vendor_status == HTTPStatus.SERVICE_UNAVAILABLE:
            refresh = "Operator: the vault does not answer the app. Look again in a minute, then at Azure's status."
        published = None
    try:
        ours = services.ehr.public_jwks()
    except ConnectorError:
        return  # _signing_key says why
    yield Finding(published == ours, "the app publishes the keys that are in the vault", refresh)


def _signing_key(services: Services) -> Iterator[Finding]:
    """The key of the stamp's EHR applications, asked as you."""
    if held := len(services.settings.smart_private_keys):
        yield Finding(True, f"SMART_PRIVATE_KEYS: {held} private keys THAT CAN BE COPIED; SMART_VAULT_KEY needs none")
    signer = services.ehr.signer
    if signer is None:
        personas = ("provider", "patient", "system")
        bare = [who for who in personas if not getattr(services.settings, f"smart_{who}").secret]
        yield Finding(
            not bare, f"EHR applications without secret and without key: {', '.join(bare) or 'none'}",
            "Operator: EHR_AUTHENTICATION says which the stamp has; docs/operations.md, steps 3 and 8.",
        )
    if not isinstance(signer, VaultSigner):
        return
    try:
        signing, versions = signer.chosen()
        signer.jws({})
    except ConnectorError as error:
        why = " ".join(str(part) for part in (error.code, error.vendor_code) if part)
        yield Finding(
            False, f"SMART_VAULT_KEY does not sign for you ({why})",
            "Operator: if it did not answer, again in a minute. Else: is it the right key, EC P-384 with the operation "
            "sign, have you the role Key Vault Crypto Officer on it (infra/roles.bicep), and are you in its network?",
        )
        return
    if isinstance(signing, KeyVersion):
        made = f"version of {datetime.fromtimestamp(signing.created, UTC):%Y-%m-%d} signs"
    else:
        made = "a key of SMART_PRIVATE_KEYS signs until it is a day old"
    yield Finding(True, f"SMART_VAULT_KEY: {made}, {len(versions)} published")
    yield Finding(
        not any(one.exportable for one in versions), "the key cannot leave the vault",
        "Operator: it was made exportable. Rotate it with az keyvault key create --exportable false, and switch the "
        "former version off a day later: docs/operations.md, “Rotating keys and secrets”.",
    )


def _answers(http: OutgoingHttp, name: str, address: str, *, status: int | None = None) -> Finding:
    """Any answer proves that the address is right and reachable, unless a `status` is asked for."""
    try:
        seen = http.request("GET", address, redirects=0).status
    except ConnectorError as error:
        return Finding(False, f"{name} does not answer ({error.code})", "Operator: the address, or your network.")
    if seen != (status or seen):
        return Finding(False, f"{name} answers {seen}", "Operator: is the address right? Else docs/operations.md.")
    return Finding(True, f"{name} answers")


def _certificates(pairs: tuple[str, ...]) -> Iterator[Finding]:
    from cryptography.x509 import load_pem_x509_certificate

    if not pairs:
        yield Finding(False, "GRAPH_NOTIFICATION_CERTIFICATES is not set", "Operator: without it no lobby is seen.")
        return
    newest = pairs[0][pairs[0].index("-----BEGIN CERTIFICATE-----") :]
    ends = load_pem_x509_certificate(newest.encode()).not_valid_after_utc
    yield Finding(
        ends - datetime.now(UTC) > SOON, f"the newest notification certificate ends {ends.date()}",
        "Operator: docs/operations.md, “Rotating keys and secrets”.",
    )
