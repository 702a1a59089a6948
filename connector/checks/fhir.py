"""Is this FHIR base URL a Cerner domain that the connector can work with?

Asked over the guarded adapter, also before a connection exists: metadata, SMART configuration, a system token, and for
departments their locations and an hour of the schedule. Six calls upstream at most, one after the other.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from connector import clock
from connector.checks.models import Check, found
from connector.errors import ConnectorError, PermanentError, RefusedError, TransientError
from connector.tenants import Connection, TenantScope, connections

if TYPE_CHECKING:
    from connector.adapters.cerner import Capability, Cerner, SmartConfiguration
    from connector.bootstrap import Services

_NETWORK = {
    "outgoing.refused_address": "not_public",
    "outgoing.refused_url": "bad_redirect",
    "outgoing.unreachable": "unreachable",
    "outgoing.untrusted_certificate": "certificate",
    "outgoing.timed_out": "slow",
    "outgoing.interrupted": "slow",
    "outgoing.too_large": "too_large",
    "cerner.unavailable": "busy",
    "cerner.throttled": "busy",
}
_OF_ADDRESS = frozenset({"not_public", "bad_redirect", "unreachable", "certificate"})
_VERSIONS = (("1.0", "dstu2"), ("3.0", "stu3"), ("5.0", "r5"))
_VERSION = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){1,3}")
_TEST_HOSTS = re.compile(r"(fhir-ehr-code|fhir-open)\.cerner\.com|(.+\.)?(sandboxcerner|devcerner)\.com")
_PRODUCTION_HOSTS = frozenset({"fhir-ehr.cerner.com", "fhir-ehr.ehr.gov"})
_PATIENT_HOSTS = re.compile(r"fhir-myrecord[a-z0-9-]*\.(sandboxcerner|cerner)\.com")
"""Hosts: facts of the vendor's documentation, "Service Root" of FHIR R4."""
_LOOK_AHEAD = timedelta(hours=1)
_SHOWN = 20
"""Of a list in a finding."""


def check_base(
    services: Services,
    scope: TenantScope,
    connection: Connection,
    *,
    others: frozenset[str] | None = None,
) -> list[Check]:
    """Every check of a FHIR base, in a fixed order. `connection` need not be stored; its id is "" then.

    `others`: the FHIR bases of other tenants, when the caller knows them already.
    """
    cerner = services.ehr.cerner
    base = connection.fhir_base_url
    made = _capability(cerner, base)
    configuration = None
    if _asks_on(made):
        configuration, smart = _smart(cerner, connection)
        made += smart
    else:
        made += _not_asked("smart.configuration", "smart.authentication", "smart.pkce")
    proven = False
    if configuration is not None:
        token = token_checks(services, scope, connection)
        proven = token[0].finding == "granted"
        made += token
        if proven:
            made += schedule_checks(services, scope, connection)
        else:
            made += _not_asked("fhir.locations", "fhir.schedule")
    else:
        made += _not_asked("system.token", "system.scopes", "fhir.locations", "fhir.schedule")
    made.append(_patient_base(cerner, connection))
    made.append(_duplicate(services, scope, connection, proven=proven, others=others))
    made.append(environment(base, connection.environment))
    made.append(found("release", "confirmed" if connection.release_confirmed else "unconfirmed"))
    return made


def malformed(services: Services, typed: str) -> Check | None:
    """What is wrong with the text of an address; None when requests may go to such an address."""
    try:
        services.ehr.cerner.check_address(typed)
    except PermanentError:
        plain = typed.strip().lower().startswith("http://")
        return found("fhir.address", "not_https" if plain else "malformed")
    return None


def environment(base: str, chosen: str) -> Check:
    """A suspicion by the host's name; pure."""
    host = urlsplit(base).hostname or ""
    if _PATIENT_HOSTS.fullmatch(host):
        return found("environment", "patient_host", host=host)
    if chosen == "production" and _TEST_HOSTS.fullmatch(host):
        return found("environment", "looks_like_test", host=host)
    if chosen == "test" and host in _PRODUCTION_HOSTS:
        return found("environment", "looks_like_production", host=host)
    return found("environment", "plausible")


def bases_of_others(services: Services, scope: TenantScope) -> frozenset[str]:
    """FHIR bases of the other tenants of the same region."""
    return frozenset(
        stored.value.fhir_base_url
        for other in services.directory.scopes()
        if other.tenant_id != scope.tenant_id and other.region is scope.region
        for stored in connections(other)
    )


def _capability(cerner: Cerner, base: str) -> list[Check]:
    rest = ("fhir.appointment", "fhir.patient")
    reached = found("fhir.address", "reached", host=_host(base))
    try:
        offered = cerner.capability(base)
    except ConnectorError as error:
        finding = _NETWORK.get(error.code)
        if finding in _OF_ADDRESS:
            return [found("fhir.address", finding), *_not_asked("fhir.metadata", *rest)]
        if error.code == "cerner.discovery_refused":
            finding = "refused"
        return [reached, _answered("fhir.metadata", finding or "not_fhir", error), *_not_asked(*rest)]
    version = offered.fhir_version
    if version == "4.0.1":
        return [reached, found("fhir.metadata", "r4", version=version), *_resources(offered)]
    older = next((name for start, name in _VERSIONS if version.startswith(start)), "other_version")
    if not _VERSION.fullmatch(version):
        return [reached, found("fhir.metadata", "other_version"), *_not_asked(*rest)]
    return [reached, found("fhir.metadata", older, version=version), *_not_asked(*rest)]


def _asks_on(made: list[Check]) -> bool:
    """Not when nobody answers, or something that is no FHIR server at all."""
    return made[0].state == "pass" and made[1].finding == "r4"


def _resources(offered: Capability) -> list[Check]:
    def lacks(kind: str, interactions: set[str], parameters: set[str]) -> list[str]:
        missing = sorted(interactions - offered.interactions.get(kind, frozenset()))
        return missing + sorted(parameters - offered.search_parameters.get(kind, frozenset()))

    appointment = lacks("Appointment", {"read", "search-type"}, {"_id", "date", "location", "patient"})
    patient = lacks("Patient", {"read", "search-type"}, {"_id"})
    writes = "patch" in offered.interactions.get("Appointment", frozenset()) and offered.json_patch
    return [
        found("fhir.appointment", "missing", missing=_list(appointment))
        if appointment
        else found("fhir.appointment", "offered" if writes else "read_only"),
        found("fhir.patient", "missing", missing=_list(patient)) if patient else found("fhir.patient", "offered"),
    ]


def _smart(cerner: Cerner, connection: Connection) -> tuple[SmartConfiguration | None, list[Check]]:
    rest = ("smart.authentication", "smart.pkce")
    try:
        configuration = cerner.discover(connection.fhir_base_url, again=True)
    except ConnectorError as error:
        return None, [_discovery("smart.configuration", error), *_not_asked(*rest)]
    own = connection.credentials.get("system")
    method = own.method if own else connection.client_authentication
    offered = configuration.token_endpoint_auth_methods_supported
    if not offered:
        authentication = found("smart.authentication", "not_stated", method=method)
    elif method in offered:
        authentication = found("smart.authentication", "supported", method=method)
    else:
        plain = [name for name in offered if re.fullmatch(r"[a-z_]{1,40}", name)]
        authentication = found("smart.authentication", "unsupported", method=method, offered=_list(plain))
    return configuration, [
        _published(configuration),
        authentication,
        found("smart.pkce", "advertised" if configuration.pkce else "not_advertised"),
    ]


def _published(configuration: SmartConfiguration) -> Check:
    if configuration.jwks_uri is not None:
        return found("smart.configuration", "published", host=_host(configuration.token_endpoint))
    return found("smart.configuration", "no_keys" if configuration.issuer else "oauth_uris")


def _discovery(check: str, error: ConnectorError) -> Check:
    known = {"cerner.no_authorization_server": "missing", "cerner.discovery_refused": "refused"}
    finding = known.get(error.code) or _NETWORK.get(error.code) or "unreadable"
    return _answered(check, finding, error)


def token_checks(services: Services, scope: TenantScope, connection: Connection) -> list[Check]:
    """A token of the system account, and what it was granted."""
    base = connection.fhir_base_url
    try:
        client = services.ehr.client(scope, connection, "system")
        wanted = services.ehr.scopes(connection, "system")
        tokens = services.ehr.cerner.system_tokens(base, client, wanted, renew=True)
    except ConnectorError as error:
        return [_refused_token(connection, error), *_not_asked("system.scopes")]
    missing = services.ehr.missing_scopes(tokens.scopes, connection, "system")
    granted = found("system.token", "granted")
    if missing:
        return [granted, found("system.scopes", "trimmed", missing=_list(missing))]
    return [granted, found("system.scopes", "granted")]


def _refused_token(connection: Connection, error: ConnectorError) -> Check:
    if isinstance(error, RefusedError):
        return found("system.token", "unlisted" if connection.active else "switched_off")
    if error.code in _NETWORK:
        return _answered("system.token", _NETWORK[error.code], error)
    if error.code.startswith("vault."):
        return found("system.token", "key_away" if isinstance(error, TransientError) else "key_refused")
    if error.code == "cerner.invalid_client":
        return found("system.token", "own_refused" if "system" in connection.credentials else "client_refused")
    if error.code in ("cerner.invalid_scope", "cerner.unauthorized_client"):
        return found("system.token", "not_enabled", version=connection.scopes_version)
    return found("system.token", "refused")


def schedule_checks(services: Services, scope: TenantScope, connection: Connection) -> list[Check]:
    wanted = connection.location_ids
    if not wanted:
        return [found("fhir.locations", "none"), *_not_asked("fhir.schedule")]
    reader = services.ehr.reader(scope, connection)
    try:
        known = {location.id for location in reader.locations_by_id(wanted).items}
        unknown = sorted(set(wanted) - known)
        locations = (
            found("fhir.locations", "unknown", missing=_list(unknown))
            if unknown
            else found("fhir.locations", "known", count=len(set(wanted)))
        )
    except ConnectorError as error:
        locations = _answered("fhir.locations", _NETWORK.get(error.code, "refused"), error)
    now = clock.now()
    try:
        seen = reader.search_appointments(start=now, end=now + _LOOK_AHEAD, location_ids=wanted)
    except ConnectorError as error:
        return [locations, _answered("fhir.schedule", _NETWORK.get(error.code, "refused"), error)]
    return [locations, found("fhir.schedule", "read" if seen.complete else "incomplete", count=len(seen.items))]


def _patient_base(cerner: Cerner, connection: Connection) -> Check:
    base = connection.patient_fhir_base_url
    if base is None:
        return found("patient.base", "none")
    if base == connection.fhir_base_url:
        return found("patient.base", "same")
    if base.rsplit("/", 1)[-1] != connection.ehr_tenant:
        return found("patient.base", "other_tenant")
    try:
        cerner.check_address(base)
    except PermanentError:
        return found("patient.base", "malformed")
    try:
        cerner.discover(base, again=True)
    except ConnectorError as error:
        return _answered("patient.base", _NETWORK.get(error.code, "missing"), error)
    return found("patient.base", "published", host=_host(base))


def _duplicate(
    services: Services, scope: TenantScope, connection: Connection, *, proven: bool, others: frozenset[str] | None
) -> Check:
    """Within a tenant a base is used once. Between tenants it may be shared, and a claim reserves nothing: who typed it
    first has no right to it. Whoever has no token for a base is not told about others either."""
    base = connection.fhir_base_url
    for present in connections(scope):
        if present.value.fhir_base_url == base and present.value.id != connection.id:
            return found("base.duplicate", "here", name=present.value.name)
    if proven and base in (bases_of_others(services, scope) if others is None else others):
        return found("base.duplicate", "elsewhere")
    return found("base.duplicate", "only")


def _answered(check: str, finding: str, error: ConnectorError) -> Check:
    if finding in ("busy", "refused"):
        return found(check, finding, status=error.vendor_status or "?")
    return found(check, finding)


def _not_asked(*checks: str) -> list[Check]:
    return [found(check, "not_asked") for check in checks]


def _host(url: str) -> str:
    return urlsplit(url).hostname or "?"


def _list(names: list[str] | tuple[str, ...]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" (+{more})" if more > 0 else "")
