"""Whoever types another hospital's FHIR base launches nothing there and takes nothing away; a connection that is
switched off opens for nobody."""

from collections.abc import Iterator
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests

from connector import tenants
from connector.regions import Region
from connector.tenants import ConnectionInput, ConnectionPatch, CredentialInput, Versioned
from sandbox.cast import NORDLYS
from tests.running import GUEST, Browser, Live
from tests.tenants.stamp import ACTOR


@pytest.fixture
def claimed(live: Live) -> Iterator[Versioned[tenants.Connection]]:
    """The guest's connection to the base of Nordlys, which nobody listed for it."""
    scope = live.services.directory.pin(GUEST, Region.APAC)
    wanted = ConnectionInput(
        name="Claim", environment="production", fhir_base_url=live.world.ports.fhir_base(NORDLYS.ehr_tenant),
        clinic_name="Claim", contact_phone="+61255501234")
    made = tenants.add_connection(live.services.directory, scope, wanted, ACTOR)
    yield made
    for left in tenants.connections(scope):
        if left.value.id == made.value.id:
            tenants.delete_connection(scope, made.value.id, left.etag, ACTOR)


def begun(live: Live, connection: str) -> requests.Response:
    """The first page of a launch that Nordlys's PowerChart begins with another connection's address."""
    given = parse_qs(urlsplit(live.launch_url("nordlys")).query)
    return Browser(live).get(f"/launch/{connection}/provider?{urlencode(given, doseq=True)}")


def test_a_claim_without_credentials_is_not_launched_and_the_owner_is(
    live: Live, claimed: Versioned[tenants.Connection]
) -> None:
    answer = begun(live, claimed.value.id)
    assert answer.status_code == 403 and "has no credentials of its own" in answer.text
    assert "data-authorize" not in answer.text
    assert begun(live, live.connection_id("nordlys")).status_code == 200
    base = live.world.ports.fhir_base(NORDLYS.ehr_tenant)
    owner = tenants.connection(live.scope("nordlys"), live.connection_id("nordlys")).value
    assert owner.fhir_base_url == base, "the owner's base is its own as before"


def test_a_claim_with_credentials_is_refused_by_the_ehr(live: Live, claimed: Versioned[tenants.Connection]) -> None:
    scope = live.services.directory.scope(GUEST)
    invented = CredentialInput(client_id="invented-client", client_secret="invented-secret")  # type: ignore[arg-type]
    tenants.set_credential(scope, claimed.value.id, claimed.etag, "provider", invented, ACTOR)
    answer = begun(live, claimed.value.id)
    assert answer.status_code == 200
    authorize = answer.text.partition('data-authorize="')[2].partition('"')[0].replace("&amp;", "&")
    assert parse_qs(urlsplit(authorize).query)["client_id"] == ["invented-client"]
    refused = requests.get(authorize, allow_redirects=False, timeout=30)
    assert refused.status_code >= 400 or "error=" in refused.headers.get("Location", "")


def test_a_connection_that_is_switched_off_opens_for_nobody(
    live: Live, claimed: Versioned[tenants.Connection]
) -> None:
    scope = live.services.directory.scope(GUEST)
    tenants.change_connection(scope, claimed.value.id, claimed.etag, ConnectionPatch(active=False), ACTOR)
    answer = begun(live, claimed.value.id)
    assert answer.status_code == 403 and "switched off at the moment" in answer.text
    door = Browser(live).get(f"/j/{live.join_token('1', connection_id=claimed.value.id)}")
    assert door.status_code == 403 and "+61255501234" in door.text


def test_a_deleted_connection_is_not_found(live: Live, claimed: Versioned[tenants.Connection]) -> None:
    scope = live.services.directory.scope(GUEST)
    tenants.delete_connection(scope, claimed.value.id, claimed.etag, ACTOR)
    assert begun(live, claimed.value.id).status_code == 404
    link = f"/j/{live.join_token('1', connection_id=claimed.value.id)}"
    for page in Browser(live).get(link), Browser(live).get(f"{link}/stop"):
        assert page.status_code == 404 and "This link does not work" in page.text
