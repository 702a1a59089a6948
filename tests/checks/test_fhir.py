"""Is this FHIR base URL one that the connector can work with? Every finding, by the real adapter over loopback."""

from __future__ import annotations

import itertools
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from connector import tenants
from connector.adapters.http import OutgoingPolicy
from connector.adapters.vault import VaultKey
from connector.checks import Check, fhir, validate_base
from connector.checks.texts import CHECKS
from connector.ehr_access import EhrAccess
from connector.errors import ConnectorError, PermanentError, TransientError
from connector.tenants import Connection, Department
from sandbox.cast import HARBOR, NORDLYS
from sandbox.ports import free_ports
from tests.adapters.cerner_world import SMART, OtherServer, Simulated
from tests.adapters.serving import raw
from tests.adapters.test_http_guard import entry
from tests.checks.conftest import Tenant
from tests.tenants import stamp

CLINIC = Department(name="Family Medicine", location_ids=["21570461", "21570462"], time_zone="America/Chicago")
BASE = "https://fhir.example/r4/T"
EVERYTHING = [check for check in CHECKS if check.split(".")[0] in
              ("fhir", "smart", "system", "patient", "base", "environment", "release")]


def ask(tenant: Tenant, base: str, **more: Any) -> dict[str, Check]:
    found = validate_base(tenant.services, tenant.scope, base, **({"environment": "production"} | more))
    for check in found:  # every finding has all the values that its words need
        assert "%(" not in json.dumps(check.formatted().model_dump())
    return {check.id: check for check in found}


def state(checks: dict[str, Check]) -> dict[str, str]:
    return {name: check.finding for name, check in checks.items()}


def metadata(version: str = "4.0.1", **changes: Any) -> dict[str, Any]:
    def resource(kind: str, interactions: list[str], parameters: list[str]) -> dict[str, Any]:
        return {"type": kind, "interaction": [{"code": code} for code in interactions],
                "searchParam": [{"name": name, "type": "token"} for name in parameters]}

    search = ["_id", "date", "location", "patient"]
    resources = [resource("Appointment", ["read", "search-type", "patch"], search),
                 resource("Patient", ["read", "search-type"], ["_id"])]
    return {"resourceType": "CapabilityStatement", "fhirVersion": version, "kind": "instance", "status": "active",
            "date": "2031-01-01", "format": ["json"], "patchFormat": ["application/json-patch+json"],
            "rest": [{"mode": "server", "resource": resources}]} | changes


# a whole domain


def test_a_cerner_domain_passes(tenant: Tenant, simulated: Simulated) -> None:
    checks = ask(tenant, f" {simulated.base(HARBOR)}/ ", departments=(CLINIC,), release_confirmed=True,
                 patient_base=simulated.world.ports.patient_fhir_base(HARBOR.ehr_tenant))
    assert list(checks) == EVERYTHING
    assert {check.state for check in checks.values()} == {"pass"}, state(checks)
    assert checks["fhir.locations"].formatted().seen == "Cerner knows all 2 locations of the departments."


def test_what_it_costs_is_six_calls(tenant: Tenant, simulated: Simulated) -> None:
    ask(tenant, simulated.base(HARBOR), departments=(CLINIC,))
    assert simulated.world.requests.total() == 5  # and one more with a base for patients


def test_without_departments_and_ticks_it_warns(tenant: Tenant, simulated: Simulated) -> None:
    checks = ask(tenant, simulated.base(HARBOR))
    assert state(checks)["fhir.locations"] == "none" and state(checks)["patient.base"] == "none"
    assert (checks["release"].state, checks["release"].who) == ("warn", "you")
    assert not [name for name, check in checks.items() if check.state == "fail"]


# the address


@pytest.mark.parametrize(("typed", "finding"), [
    ("http://fhir.example/r4/T", "not_https"), ("ftp://fhir.example/r4", "malformed"), ("fhir.example", "malformed"),
    ("https://user:pw@fhir.example/r4", "malformed"), ("https://", "malformed"), ("", "malformed"),
    ("https://fhir.example:0/r4", "malformed"), ("https://fhir.example/r4?_format=json", "malformed"),
    ("https://fhir.example/r4/%s" % ("x" * 400), "malformed"),
])  # fmt: skip
def test_an_address_that_is_none_asks_nobody(tenant: Tenant, typed: str, finding: str) -> None:
    def resolve(*_: Any) -> list[Any]:
        raise AssertionError("never resolved")

    checks = ask(tenant.asking(OutgoingPolicy(), resolve=resolve), typed)
    assert state(checks) == {"fhir.address": finding}
    assert checks["fhir.address"].who == "you"


@pytest.mark.parametrize("address", [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "168.63.129.16", "::1",
    "fe80::1", "fc00::1", "::ffff:8.8.8.8", "64:ff9b::a00:1", "2002:808:808::1", "2a00:1450::5efe:808:808",
])  # fmt: skip
def test_an_address_that_is_not_public_is_refused(tenant: Tenant, address: str) -> None:
    checks = ask(tenant.asking(OutgoingPolicy(), resolve=lambda *_: [entry("8.8.8.8"), entry(address)]), BASE)
    assert state(checks)["fhir.address"] == "not_public"
    assert {check.finding for check in checks.values() if check.id.startswith(("smart", "system"))} == {"not_asked"}


def test_a_literal_address_is_refused_in_every_spelling(tenant: Tenant) -> None:
    for host in ("127.1", "2130706433", "0x7f.0.0.1", "localhost", "169.254.169.254"):
        checks = ask(tenant.asking(OutgoingPolicy()), f"https://{host}/r4/T")
        assert state(checks)["fhir.address"] == "not_public", host


@pytest.mark.parametrize(("location", "finding"), [
    ("http://10.0.0.1/r4/T/metadata", "not_public"), ("file:///etc/passwd", "bad_redirect"),
    ("http://a:b@127.0.0.1/", "bad_redirect"),
])  # fmt: skip
def test_a_redirect_is_held_to_the_same_rules(
    tenant: Tenant, other: OtherServer, location: str, finding: str
) -> None:
    other.answers["r4/T/metadata"] = ("", 302, {"Location": location})
    assert state(ask(tenant, other.base))["fhir.address"] == finding


def test_dns_that_changes_between_two_questions_is_refused_at_the_second(tenant: Tenant, other: OtherServer) -> None:
    other.answers["r4/T/metadata"] = lambda: (metadata(), 200, {"Connection": "close"})
    port = int(other.url.rpartition(":")[2])
    answers = itertools.chain([[entry("127.0.0.1", port)]], itertools.repeat([entry("10.0.0.5", port)]))
    checks = ask(tenant.asking(resolve=lambda *_: next(answers)), f"http://fhir.invalid:{port}/r4/T")
    assert (state(checks)["fhir.metadata"], state(checks)["smart.configuration"]) == ("r4", "not_public")


def test_nobody_there_and_no_such_name(tenant: Tenant) -> None:
    (port,) = free_ports(1)
    assert state(ask(tenant, f"http://127.0.0.1:{port}/r4/T"))["fhir.address"] == "unreachable"

    def resolve(*_: Any) -> list[Any]:
        raise socket.gaierror(-2, "Name or service not known")

    assert state(ask(tenant.asking(OutgoingPolicy(), resolve=resolve), BASE))["fhir.address"] == "unreachable"


def test_a_certificate_that_proves_nothing(tenant: Tenant, other: OtherServer, tmp_path: Any) -> None:
    import ssl

    from sandbox import certificates
    from tests.adapters.serving import listening

    made = certificates.make(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(made.cert, made.key)
    with listening(other.app, tls) as port:
        assert state(ask(tenant, f"https://127.0.0.1:{port}/r4/T"))["fhir.address"] == "certificate"


# what answers there


@pytest.mark.parametrize(("answer", "finding"), [
    (metadata("5.0.0"), "r5"), (metadata("3.0.2"), "stu3"), (metadata("4.3.0"), "other_version"),
    (metadata("Vendorwords <b>"), "other_version"),
    ({"resourceType": "Conformance", "fhirVersion": "1.0.2", "rest": []}, "dstu2"),
    ({"resourceType": "Patient"}, "not_fhir"), ([], "not_fhir"), ("<html>Vendorwords</html>", "not_fhir"),
    (("", 404), "refused"), (("Vendorwords", 403), "refused"), (("", 502), "busy"), (("", 429), "busy"),
    (lambda: bytes(9_000_000), "too_large"),
])  # fmt: skip
def test_what_is_no_r4_server_is_told_apart(tenant: Tenant, other: OtherServer, answer: Any, finding: str) -> None:
    other.answers["r4/T/metadata"] = answer
    checks = ask(tenant, other.base)
    assert state(checks)["fhir.metadata"] == finding
    assert checks["fhir.metadata"].state == "fail" and checks["fhir.metadata"].fix
    assert state(checks)["fhir.address"] == "reached"
    assert {state(checks)[name] for name in ("fhir.appointment", "smart.pkce", "system.token")} == {"not_asked"}
    assert "Vendorwords" not in json.dumps([check.model_dump() for check in checks.values()])


def test_a_server_that_drips_is_called_slow(tenant: Tenant) -> None:
    def drip(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not over.wait(0.05):
            connection.sendall(b"a")

    with raw(drip) as port:
        checks = ask(tenant.asking(total_s=0.5), f"http://127.0.0.1:{port}/r4/T")
    assert state(checks)["fhir.metadata"] == "slow"


def test_resources_that_visits_need(tenant: Tenant, other: OtherServer) -> None:
    poor = metadata(patchFormat=[])
    other.answers["r4/T/metadata"] = poor
    assert state(ask(tenant, other.base))["fhir.appointment"] == "read_only"
    poor["rest"][0]["resource"][0]["searchParam"].pop(2)
    poor["rest"][0]["resource"].pop(1)
    checks = ask(tenant, other.base)
    assert checks["fhir.appointment"].values == {"missing": "location"}
    assert checks["fhir.patient"].values == {"missing": "read, search-type, _id"}


# SMART


@pytest.fixture
def smart(other: OtherServer) -> Callable[..., None]:
    other.answers["r4/T/metadata"] = metadata()

    def answer(**more: Any) -> None:
        document = other.configuration(code_challenge_methods_supported=["S256"],
                                       token_endpoint_auth_methods_supported=["client_secret_basic"])
        document |= more
        other.answers[SMART] = {name: value for name, value in document.items() if value is not None}

    answer()
    return answer


@pytest.mark.parametrize(("document", "configuration", "authentication", "pkce"), [
    ({}, "published", "supported", "advertised"),
    ({"code_challenge_methods_supported": None}, "published", "supported", "not_advertised"),
    ({"token_endpoint_auth_methods_supported": None}, "published", "not_stated", "advertised"),
    ({"token_endpoint_auth_methods_supported": ["private_key_jwt", "<script>"]}, "published", "unsupported",
     "advertised"),
    ({"jwks_uri": None}, "no_keys", "supported", "advertised"),
    ({"token_endpoint": None}, "unreadable", "not_asked", "not_asked"),
])  # fmt: skip
def test_the_smart_configuration(
    tenant: Tenant, other: OtherServer, smart: Callable[..., None], document: Any, configuration: str,
    authentication: str, pkce: str,
) -> None:  # fmt: skip
    smart(**document)
    checks = ask(tenant, other.base)
    assert [state(checks)[f"smart.{name}"] for name in ("configuration", "authentication", "pkce")] == [
        configuration, authentication, pkce]  # fmt: skip
    assert "script" not in json.dumps(checks["smart.authentication"].values)


def test_without_a_smart_configuration_the_old_way_counts(
    tenant: Tenant, other: OtherServer, smart: Callable[..., None]
) -> None:
    del other.answers[SMART]
    assert state(ask(tenant, other.base))["smart.configuration"] == "missing"
    uris = [{"url": what, "valueUri": f"{other.url}/{what}"} for what in ("authorize", "token")]
    old = metadata()
    old["rest"][0]["security"] = {"extension": [{"url": "http://x/oauth-uris", "extension": uris}]}
    other.answers["r4/T/metadata"] = old
    assert state(ask(tenant, other.base))["smart.configuration"] == "oauth_uris"


def test_a_smart_configuration_behind_a_refusal_is_asked_again_each_time(
    tenant: Tenant, other: OtherServer, smart: Callable[..., None]
) -> None:
    assert state(ask(tenant, other.base))["smart.configuration"] == "published"
    other.answers[SMART] = ("", 403)
    checks = ask(tenant, other.base)
    assert checks["smart.configuration"].formatted().seen.endswith("(HTTP status 403).")
    smart(token_endpoint="http://10.0.0.9/token")
    assert state(ask(tenant, other.base))["system.token"] == "not_public"


# the system account


@pytest.mark.parametrize(("answer", "finding", "who"), [
    (({"error": "invalid_client"}, 401), "client_refused", "operator"),
    (({"error": "invalid_scope"}, 400), "not_enabled", "oracle"),
    (({"error": "unauthorized_client"}, 400), "not_enabled", "oracle"),
    (({"error": "server said something"}, 400), "refused", "oracle"),
    (("", 503), "busy", "oracle"),
])  # fmt: skip
def test_a_refused_token_says_whose_turn_it_is(
    tenant: Tenant, other: OtherServer, smart: Callable[..., None], answer: Any, finding: str, who: str
) -> None:
    other.answers["token_endpoint"] = answer
    checks = ask(tenant, other.base)
    assert (checks["system.token"].finding, checks["system.token"].who) == (finding, who)
    assert state(checks)["system.scopes"] == state(checks)["fhir.schedule"] == "not_asked"


@pytest.mark.parametrize(("failure", "finding"), [
    (TransientError("vault.unavailable"), "key_away"), (PermanentError("vault.not_allowed"), "key_refused"),
])  # fmt: skip
def test_a_signing_key_that_does_not_serve_is_the_operators_and_cerner_is_not_asked(
    tenant: Tenant, other: OtherServer, smart: Callable[..., None], failure: ConnectorError, finding: str
) -> None:
    smart(token_endpoint_auth_methods_supported=["private_key_jwt"])

    def no_token() -> str:
        raise failure

    ehr = EhrAccess(tenant.services.settings, tenant.services.ehr.cerner, VaultKey(f"{other.url}/keys/k", no_token))
    tenant = replace(tenant, services=replace(tenant.services, ehr=ehr))
    checks = ask(tenant, other.base, client_authentication="private_key_jwt")
    assert (checks["system.token"].finding, checks["system.token"].who) == (finding, "operator")
    assert not [asked for asked in other.asked if "token_endpoint" in asked or "keys/" in asked]


def test_the_stamps_credentials_are_never_shown_to_an_unlisted_base(
    new_tenant: Callable[..., Tenant], other: OtherServer, smart: Callable[..., None]
) -> None:
    tenant = new_tenant()
    settings = replace(tenant.services.settings, tenants={tenant.scope.tenant_id: ("https://another.example/r4",)})
    tenant = replace(tenant, services=replace(tenant.services, settings=settings)).asking()
    checks = ask(tenant, other.base)
    assert (checks["system.token"].finding, checks["system.token"].who) == ("unlisted", "operator")
    assert not any("token_endpoint" in asked for asked in other.asked)


def test_own_credentials_and_a_connection_that_is_switched_off(
    tenant: Tenant, other: OtherServer, smart: Callable[..., None]
) -> None:
    stored = stamp.connected(tenant.services, tenant.scope, fhir_base_url=other.base)
    own = tenants.CredentialInput(client_id="ours", method="client_secret_basic", client_secret="secret-of-ours")
    mine = tenants.set_credential(tenant.scope, stored.value.id, stored.etag, "system", own, stamp.ACTOR)
    other.answers["token_endpoint"] = ({"error": "invalid_client"}, 401)
    checks = {check.id: check for check in fhir.check_base(tenant.services, tenant.scope, mine.value)}
    assert (checks["system.token"].finding, checks["system.token"].who) == ("own_refused", "you")
    off = mine.value.model_copy(update={"active": False})
    checks = {check.id: check for check in fhir.check_base(tenant.services, tenant.scope, off)}
    assert (checks["system.token"].finding, checks["system.token"].state) == ("switched_off", "warn")


def test_trimmed_scopes_are_named(tenant: Tenant, simulated: Simulated) -> None:
    simulated.world.trimmed_scopes["harbor"] = {"system/Location.read"}
    checks = ask(tenant, simulated.base(HARBOR), departments=(CLINIC,))
    assert checks["system.scopes"].values == {"missing": "system/Location.read"}
    assert (checks["system.scopes"].state, checks["system.scopes"].who) == ("fail", "oracle")
    assert state(checks)["fhir.locations"] == "refused" and state(checks)["fhir.schedule"] == "read"


def test_the_wrong_form_of_scopes_is_named(tenant: Tenant, simulated: Simulated) -> None:
    checks = ask(tenant, simulated.base(HARBOR), scopes_version="v2")
    assert checks["system.token"].finding == "not_enabled" and checks["system.token"].values == {"version": "v2"}


# departments


def test_unknown_locations_are_named(tenant: Tenant, simulated: Simulated) -> None:
    wrong = Department(name="Elsewhere", location_ids=["21570461", "99999999"], time_zone="America/Chicago")
    checks = ask(tenant, simulated.base(HARBOR), departments=(wrong,))
    assert checks["fhir.locations"].values == {"missing": "99999999"}


@pytest.mark.parametrize(("answer", "finding"), [
    (({"code": 403, "message": "insufficient_scope"}, 403), "refused"), (("", 500), "busy"),
    ({"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "OperationOutcome", "issue": [
        {"severity": "error"}]}}]}, "incomplete"),
    ({"resourceType": "Bundle"}, "read"),
])  # fmt: skip
def test_the_schedule_is_searched_once(
    tenant: Tenant, other: OtherServer, smart: Callable[..., None], answer: Any, finding: str
) -> None:
    scope = "system/Appointment.read system/Patient.read system/Location.read"
    other.answers["token_endpoint"] = {"access_token": "t", "token_type": "Bearer", "scope": scope}
    other.answers["r4/T/Location"] = {"resourceType": "Bundle"}
    other.answers["r4/T/Appointment"] = answer
    checks = ask(tenant, other.base, departments=(CLINIC,))
    assert state(checks)["fhir.schedule"] == finding
    assert state(checks)["fhir.locations"] == "unknown"


# the base for patients


@pytest.mark.parametrize(("typed", "finding"), [
    ("{url}/r4/T", "same"), ("{url}/patient/U", "other_tenant"), ("{url}/patient/T", "missing"),
    ("nonsense", "malformed"), ("http://10.0.0.1/r4/T", "not_public"),
])  # fmt: skip
def test_the_base_for_patients(
    tenant: Tenant, other: OtherServer, smart: Callable[..., None], typed: str, finding: str
) -> None:
    checks = ask(tenant, other.base, patient_base=typed.format(url=other.url))
    assert state(checks)["patient.base"] == finding


# used once, test and production


def test_a_base_is_used_once_in_a_tenant(tenant: Tenant) -> None:
    stored = stamp.connected(tenant.services, tenant.scope, name="Live").value
    assert ask(tenant, stamp.BASE)["base.duplicate"].formatted().seen.startswith("Your connection “Live” has")
    again = fhir.check_base(tenant.services, tenant.scope, stored)
    assert {check.id: check.finding for check in again}["base.duplicate"] == "only", "it is no duplicate of itself"


def test_another_tenant_that_typed_it_first_reserves_nothing(
    new_tenant: Callable[..., Tenant], simulated: Simulated
) -> None:
    first, second = new_tenant(), new_tenant()
    base = simulated.base(NORDLYS)
    both = {first.scope.tenant_id: ("*",), second.scope.tenant_id: ("*",)}
    services = replace(second.services, settings=replace(second.services.settings, tenants=both))
    services = replace(services, directory=type(services.directory)(services.settings, services.storage))
    second = replace(second, services=services).asking()
    claim = stamp.wanted(fhir_base_url=simulated.base(HARBOR))
    stamp.tenants.add_connection(first.services.directory, first.scope, claim, stamp.ACTOR)
    proven = ask(second, simulated.base(HARBOR))["base.duplicate"]
    assert (proven.finding, proven.state) == ("elsewhere", "warn")
    claim = stamp.wanted(fhir_base_url=base)
    stamp.tenants.add_connection(first.services.directory, first.scope, claim, stamp.ACTOR)
    unproven = ask(second, base)  # Nordlys has no secret: no token
    assert unproven["system.token"].state == "fail"
    assert unproven["base.duplicate"].finding == "only", "whoever cannot prove a base is not told about others"


@pytest.mark.parametrize(("base", "chosen", "finding"), [
    ("https://fhir-ehr.cerner.com/r4/T", "production", "plausible"),
    ("https://fhir-ehr.cerner.com/r4/T", "test", "looks_like_production"),
    ("https://fhir-ehr-code.cerner.com/r4/T", "production", "looks_like_test"),
    ("https://fhir-ehr-code.cerner.com/r4/T", "test", "plausible"),
    ("https://fhir-open.cerner.com/r4/T", "production", "looks_like_test"),
    ("https://fhir-ehr.sandboxcerner.com/r4/T", "production", "looks_like_test"),
    ("https://fhir-myrecord.cerner.com/r4/T", "production", "patient_host"),
    ("https://fhir.hospital.example/r4/T", "production", "plausible"),
])  # fmt: skip
def test_a_host_of_the_other_environment_is_suspected(base: str, chosen: str, finding: str) -> None:
    assert fhir.environment(base, chosen).finding == finding


def test_findings_are_whole() -> None:
    for name, check in CHECKS.items():
        for finding, text in check.findings.items():
            assert check.title and text.seen, name
            assert (text.state == "pass") == (not text.fix), f"{name} {finding}: what is wrong says what to do"
            assert text.state != "fail" or text.who or finding == "unanswered", f"{name} {finding}: who can fix it?"


def test_a_connection_of_the_api_can_be_asked_about(tenant: Tenant, simulated: Simulated) -> None:
    wanted = stamp.wanted(fhir_base_url=simulated.base(HARBOR), client_authentication="private_key_jwt")
    checks = fhir.check_base(tenant.services, tenant.scope, Connection(id="", **wanted.model_dump()))
    assert {check.id: check.finding for check in checks}["smart.authentication"] == "supported"
