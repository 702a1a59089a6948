"""Settings of a stamp, read from the environment once. Nothing else reads the environment.

docs/configuration.md describes each name; a test keeps it, the sample and this file equal.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

from connector.regions import Region

REGION_SETTINGS = (
    "STORAGE",
    "STORAGE__tableServiceUri",
    "STORAGE__queueServiceUri",
    "STORAGE__credential",
    "STORAGE__clientId",
    "COMMUNICATION_ENDPOINT",
    "COMMUNICATION_KEY",
    "EMAIL_SENDER",
    "EMAIL_RATE",
)
STAMP_SETTINGS = (
    "CONNECTOR_ENVIRONMENT",
    "CONNECTOR_PUBLIC_URL",
    "CONNECTOR_REGIONS",
    "CONNECTOR_TENANTS",
    "CONNECTOR_NUMBERS_PER_TENANT",
    "CONNECTOR_SEALING_KEYS",
    "CONNECTOR_WRAPPING_KEYS",
    "ENTRA_AUTHORITY",
    "ENTRA_CLIENT_ID",
    "ENTRA_CLIENT_SECRET",
    "ENTRA_IDENTITY_CLIENT_ID",
    "GRAPH_URL",
    "GRAPH_SUBSCRIPTIONS_VERSION",
    "GRAPH_NOTIFICATION_CERTIFICATES",
    "SMART_PROVIDER_CLIENT_ID",
    "SMART_PROVIDER_CLIENT_SECRET",
    "SMART_PATIENT_CLIENT_ID",
    "SMART_PATIENT_CLIENT_SECRET",
    "SMART_SYSTEM_CLIENT_ID",
    "SMART_SYSTEM_CLIENT_SECRET",
    "SMART_VAULT_KEY",
    "SMART_PRIVATE_KEYS",
    "SMART_SCOPES_VERSION",
)
NAMES = STAMP_SETTINGS + tuple(f"{r.upper()}_{name}" for r in Region for name in REGION_SETTINGS)

_AZURE_MARKERS = ("WEBSITE_INSTANCE_ID", "IDENTITY_ENDPOINT")
_ADDRESS = re.compile(r"[A-Za-z0-9._+-]{1,64}@([A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,63}")
_PUBLISHED_KEY_PREFIX = "sandbox"
"""Key ids of the sandbox begin so; production refuses them."""


class SettingsError(Exception):
    """The settings cannot serve; the message lists every fault by name, never a value."""


@dataclass(frozen=True)
class Key:
    """A 32-byte key and the id under which ciphertexts name it."""

    id: str
    value: bytes


@dataclass(frozen=True)
class RegionSettings:
    region: Region
    storage_connection: str | None
    """Connection string (sandbox); None when identity is used."""
    table_service_uri: str | None
    queue_service_uri: str | None
    identity_client_id: str | None
    communication_endpoint: str | None
    communication_key: str | None
    email_sender: str | None = None
    """Address of a domain linked to the Communication resource; None: no e-mail is sent."""
    email_rate: tuple[int, int] = (30, 100)
    """E-mails a minute and an hour, of all tenants together: what Microsoft allows a new custom domain."""
    storage_credential: Literal["managedidentity", "azurecli"] = "managedidentity"


@dataclass(frozen=True)
class SmartClient:
    client_id: str
    secret: str | None


@dataclass(frozen=True)
class Settings:
    """A stamp's settings, checked as a whole."""

    environment: Literal["sandbox", "production"]
    public_url: str
    """Origin of every absolute URL we give out; no trailing slash."""
    regions: tuple[RegionSettings, ...]
    tenants: Mapping[str, tuple[str, ...]]
    """Entra tenant id to the FHIR bases for which the stamp's own EHR credentials may be used."""
    numbers_per_tenant: int
    """Telephone numbers that a tenant may hold by buying them itself; 0: the operator buys them."""
    sealing_keys: tuple[Key, ...]
    wrapping_keys: tuple[Key, ...]
    entra_authority: str
    entra_client_id: str
    entra_client_secret: str | None
    entra_identity_client_id: str | None
    graph_url: str
    graph_subscriptions_version: Literal["beta", "v1.0"]
    graph_notification_certificates: tuple[str, ...]
    """PEM texts of a private key and its certificate each, newest first; without one there is no live status."""
    smart_provider: SmartClient
    smart_patient: SmartClient
    smart_system: SmartClient
    smart_vault_key: str | None
    """Address of the key in Key Vault that signs client assertions, without a version."""
    smart_private_keys: tuple[str, ...]
    """PEM texts, newest first: they can be copied. With `smart_vault_key` they only bridge the day of a change."""
    smart_scopes_version: Literal["v1", "v2"]

    @property
    def sandbox(self) -> bool:
        return self.environment == "sandbox"

    def region(self, region: Region) -> RegionSettings:
        for served in self.regions:
            if served.region is region:
                return served
        raise LookupError(region)

    def serves(self, region: Region) -> bool:
        return any(served.region is region for served in self.regions)

    def listed_bases(self, tenant_id: str) -> tuple[str, ...] | None:
        """FHIR bases of a tenant on the operator's list; None when the tenant is not on it."""
        return self.tenants.get(tenant_id)


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment. Raises SettingsError naming every fault at once."""
    return _Reader(os.environ if environment is None else environment).settings()


class _Reader:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._faults: list[str] = []

    def _fault(self, name: str, what: str) -> None:
        self._faults.append(f"{name} {what}")

    def _optional(self, name: str) -> str | None:
        value = self._environment.get(name, "").strip()
        if value.startswith("@Microsoft.KeyVault("):  # App Service leaves the reference itself where it finds no value
            self._fault(name, "points to a secret that is not in the vault, or that the app's identity may not read")
            return None
        return value or None

    def _required(self, name: str) -> str:
        value = self._optional(name)
        if value is None and not any(fault.startswith(f"{name} ") for fault in self._faults):
            self._fault(name, "is missing")
        return value or ""

    def settings(self) -> Settings:
        mode = self._required("CONNECTOR_ENVIRONMENT")
        if mode not in ("", "sandbox", "production"):
            self._fault("CONNECTOR_ENVIRONMENT", "must be sandbox or production")
        sandbox = mode == "sandbox"
        if sandbox:
            for marker in _AZURE_MARKERS:
                if marker in self._environment:
                    self._fault("CONNECTOR_ENVIRONMENT", f"is sandbox, but {marker} says that this is Azure")
        settings = Settings(
            environment="sandbox" if sandbox else "production",
            public_url=self._url("CONNECTOR_PUBLIC_URL", sandbox=sandbox).rstrip("/"),
            regions=self._regions(sandbox=sandbox),
            tenants=self._tenants(sandbox=sandbox),
            numbers_per_tenant=self._count("CONNECTOR_NUMBERS_PER_TENANT", default=1, most=100),
            sealing_keys=self._keys("CONNECTOR_SEALING_KEYS", sandbox=sandbox),
            wrapping_keys=self._keys("CONNECTOR_WRAPPING_KEYS", sandbox=sandbox),
            entra_authority=self._url("ENTRA_AUTHORITY", sandbox=sandbox).rstrip("/"),
            entra_client_id=self._required("ENTRA_CLIENT_ID"),
            entra_client_secret=self._optional("ENTRA_CLIENT_SECRET"),
            entra_identity_client_id=self._optional("ENTRA_IDENTITY_CLIENT_ID"),
            graph_url=self._url("GRAPH_URL", sandbox=sandbox).rstrip("/"),
            graph_subscriptions_version=self._subscriptions_version(),
            graph_notification_certificates=self._certificates(),
            smart_provider=self._smart("PROVIDER"),
            smart_patient=self._smart("PATIENT"),
            smart_system=self._smart("SYSTEM"),
            smart_vault_key=self._vault_key(sandbox=sandbox),
            smart_private_keys=self._private_keys(),
            smart_scopes_version=self._scopes_version(),
        )
        if not (settings.entra_client_secret or settings.entra_identity_client_id):
            self._fault("ENTRA_CLIENT_SECRET", "or ENTRA_IDENTITY_CLIENT_ID is needed")
        if self._faults:
            raise SettingsError("; ".join(self._faults))
        return settings

    def _url(self, name: str, *, sandbox: bool, value: str | None = None) -> str:
        value = value or self._required(name)
        if not value:
            return ""
        parts = urlsplit(value)
        host = parts.hostname or ""
        if sandbox and not _is_loopback(host):
            self._fault(name, "must be a loopback address in the sandbox")
        if not sandbox and (parts.scheme != "https" or not _is_public_name(host)):
            self._fault(name, "must be https to a public host")
        if parts.query or parts.fragment or parts.username:
            self._fault(name, "must be a plain address")
        return value

    def _regions(self, *, sandbox: bool) -> tuple[RegionSettings, ...]:
        names = [name.strip() for name in self._required("CONNECTOR_REGIONS").split(",") if name.strip()]
        unknown = [name for name in names if name not in tuple(Region)]
        if unknown:
            self._fault("CONNECTOR_REGIONS", "may hold americas, emea, apac")
        return tuple(self._region(Region(name), sandbox=sandbox) for name in names if name not in unknown)

    def _region(self, region: Region, *, sandbox: bool) -> RegionSettings:
        prefix = region.upper()
        connection = self._optional(f"{prefix}_STORAGE")
        tables = self._optional(f"{prefix}_STORAGE__tableServiceUri")
        queues = self._optional(f"{prefix}_STORAGE__queueServiceUri")
        if not connection and not (tables and queues):
            self._fault(f"{prefix}_STORAGE", "or its __tableServiceUri and __queueServiceUri are missing")
        for name, uri in (("tableServiceUri", tables), ("queueServiceUri", queues)):
            if uri:
                self._url(f"{prefix}_STORAGE__{name}", sandbox=sandbox, value=uri)
        endpoint = self._optional(f"{prefix}_COMMUNICATION_ENDPOINT")
        if endpoint:
            self._url(f"{prefix}_COMMUNICATION_ENDPOINT", sandbox=sandbox, value=endpoint)
        sender = self._optional(f"{prefix}_EMAIL_SENDER")
        if sender and not _ADDRESS.fullmatch(sender):
            self._fault(f"{prefix}_EMAIL_SENDER", "must be an e-mail address such as visits@hospital.example")
        if sender and not endpoint:
            self._fault(f"{prefix}_EMAIL_SENDER", f"needs {prefix}_COMMUNICATION_ENDPOINT")
        rate = re.fullmatch(r"([1-9][0-9]{0,6})/([1-9][0-9]{0,6})", self._optional(f"{prefix}_EMAIL_RATE") or "30/100")
        if rate is None:
            self._fault(f"{prefix}_EMAIL_RATE", "must be e-mails a minute and an hour, such as 30/100")
        return RegionSettings(
            region=region,
            storage_connection=connection,
            table_service_uri=tables,
            queue_service_uri=queues,
            storage_credential=self._credential(f"{prefix}_STORAGE__credential"),
            identity_client_id=self._optional(f"{prefix}_STORAGE__clientId"),
            communication_endpoint=endpoint,
            communication_key=self._optional(f"{prefix}_COMMUNICATION_KEY"),
            email_sender=sender,
            email_rate=(int(rate[1]), int(rate[2])) if rate else (30, 100),
        )

    def _credential(self, name: str) -> Literal["managedidentity", "azurecli"]:
        value = self._optional(name) or "managedidentity"
        if value not in ("managedidentity", "azurecli"):
            self._fault(name, "must be managedidentity or azurecli")
        return "azurecli" if value == "azurecli" else "managedidentity"

    def _tenants(self, *, sandbox: bool) -> Mapping[str, tuple[str, ...]]:
        text = self._required("CONNECTOR_TENANTS")
        try:
            listed = json.loads(text) if text else {}
            tenants = {str(tid).lower(): tuple(str(base) for base in bases) for tid, bases in listed.items()}
        except (ValueError, AttributeError, TypeError):
            self._fault("CONNECTOR_TENANTS", 'must be JSON such as {"<tenant id>": ["<FHIR base URL>"]}')
            return {}
        if "*" in tenants or (not sandbox and any("*" in bases for bases in tenants.values())):
            self._fault("CONNECTOR_TENANTS", "may hold * only as a FHIR base and only in the sandbox")
        return tenants

    def _keys(self, name: str, *, sandbox: bool) -> tuple[Key, ...]:
        keys = []
        for part in self._required(name).split(","):
            key_id, separator, encoded = part.strip().partition(":")
            if not part.strip():
                continue
            try:
                value = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
            except (binascii.Error, ValueError):
                value = b""
            if not separator or not key_id or len(value) != 32:
                self._fault(name, "must be id:key pairs, each key 32 bytes in base64url")
            elif not sandbox and key_id.startswith(_PUBLISHED_KEY_PREFIX):
                self._fault(name, "holds a key of the sandbox")
            keys.append(Key(key_id, value))
        if len({key.id for key in keys}) != len(keys):
            self._fault(name, "names one key id twice")
        return tuple(keys)

    def _smart(self, who: str) -> SmartClient:
        return SmartClient(self._required(f"SMART_{who}_CLIENT_ID"), self._optional(f"SMART_{who}_CLIENT_SECRET"))

    def _subscriptions_version(self) -> Literal["beta", "v1.0"]:
        value = self._optional("GRAPH_SUBSCRIPTIONS_VERSION") or "beta"
        if value not in ("beta", "v1.0"):
            self._fault("GRAPH_SUBSCRIPTIONS_VERSION", "must be beta or v1.0")
        return "v1.0" if value == "v1.0" else "beta"

    def _certificates(self) -> tuple[str, ...]:
        text = (self._optional("GRAPH_NOTIFICATION_CERTIFICATES") or "").replace("\\n", "\n")
        end = "-----END CERTIFICATE-----"
        pairs = tuple(f"{block.strip()}\n{end}\n" for block in text.split(end) if block.strip())
        if not all("-----BEGIN PRIVATE KEY-----" in pair and "-----BEGIN CERTIFICATE-----" in pair for pair in pairs):
            self._fault("GRAPH_NOTIFICATION_CERTIFICATES", "must be private keys, each followed by its certificate")
        return pairs

    def _count(self, name: str, *, default: int, most: int) -> int:
        text = self._optional(name) or str(default)
        if not (text.isascii() and text.isdigit() and int(text) <= most):
            self._fault(name, f"must be a whole number up to {most}")
            return default
        return int(text)

    def _vault_key(self, *, sandbox: bool) -> str | None:
        value = self._optional("SMART_VAULT_KEY")
        if value is None:
            return None
        self._url("SMART_VAULT_KEY", sandbox=sandbox, value=value)
        if not re.fullmatch(r"/keys/[A-Za-z0-9-]{1,127}", urlsplit(value).path):
            self._fault("SMART_VAULT_KEY", "must be a key's address without a version, https://VAULT/keys/NAME")
        return value

    def _private_keys(self) -> tuple[str, ...]:
        text = (self._optional("SMART_PRIVATE_KEYS") or "").replace("\\n", "\n")
        end = "-----END PRIVATE KEY-----"
        return tuple(f"{block.strip()}\n{end}\n" for block in text.split(end) if block.strip())

    def _scopes_version(self) -> Literal["v1", "v2"]:
        value = self._optional("SMART_SCOPES_VERSION") or "v1"
        if value not in ("v1", "v2"):
            self._fault("SMART_SCOPES_VERSION", "must be v1 or v2")
        return "v2" if value == "v2" else "v1"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_public_name(host: str) -> bool:
    """A host name with a dot that is no address literal; what it resolves to is checked at each request."""
    try:
        ip_address(host)
    except ValueError:
        return "." in host and not host.endswith((".local", ".internal", ".localhost"))
    return False
