"""Whoever types another hospital's FHIR base, or brings an EHR of their own, launches nothing there and takes nothing
away; a connection that is switched off opens for nobody."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import parse_qs, urlencode, urlsplit

import flask
import pytest
import requests

from connector import tenants
from connector.regions import Region
from connector.tenants import ConnectionInput, ConnectionPatch, CredentialInput, Versioned
from sandbox.cast import HARBOR, NORDLYS
from sandbox.cerner import clients
from tests.adapters.serving import listening
from tests.running import GUEST, Browser, Live
from tests.tenants.stamp import ACTOR


@contextmanager
def connected(live: Live, base: str) -> Iterator[Versioned[tenants.Connection]]:
    """A connection of the guest's to this base."""
    scope = live.services.directory.pin(GUEST, Region.APAC)
    wanted = ConnectionInput(
        name="Claim", environment="production", fhir_base_url=base, clinic_name="Claim", contact_phone="+61255501234")
    made = tenants.add_connection(live.services.directory, scope, wanted, ACTOR)
    yield made
    for left in tenants.connections(scope):
        if left.value.id == made.value.id:
            tenants.delete_connection(scope, made.value.id, left.etag, ACTOR)


@pytest.fixture
def claimed(live: Live) -> Iterator[Versioned[tenants.Connection]]:
    """To the base of Nordlys, which nobody listed for it."""
    with connected(live, live.world.ports.fhir_base(NORDLYS.ehr_tenant)) as made:
        yield made


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


@pytest.fixture
def rogue() -> Iterator[tuple[str, list[str]]]:
    """An EHR that its tenant's administrator made: its base, and the codes that were given to it for redemption."""
    app, codes = flask.Flask("rogue"), list[str]()

    @app.get("/r4/rogue/.well-known/smart-configuration")
    def configuration() -> dict[str, str]:
        own = flask.request.host_url
        return {"authorization_endpoint": f"{own}authorize", "token_endpoint": f"{own}token", "jwks_uri": f"{own}keys"}

    @app.post("/token")
    def token() -> tuple[str, int]:
        codes.append(flask.request.form["code"])
        return "", 400

    with listening(app) as port:
        yield f"http://127.0.0.1:{port}/r4/rogue", codes


def test_a_code_of_one_hospital_is_never_shown_to_the_ehr_of_another(live: Live, rogue: tuple[str, list[str]]) -> None:
    base, codes = rogue
    with connected(live, base) as made:
        own = CredentialInput(client_id="rogue", client_secret="rogue-secret")  # type: ignore[arg-type]
        scope = live.services.directory.scope(GUEST)
        tenants.set_credential(scope, made.value.id, made.etag, "provider", own, ACTOR)
        _mix_up(live, base, made.value.id)
    assert codes == []


def _mix_up(live: Live, base: str, connection: str) -> None:
    """What the rogue's authorize page does with a clinician of Nordlys: RFC 9700 section 4.4.1."""
    mine = Browser(live).begin(live.launch_url("nordlys"))  # the attacker's own, whose challenge the victim's code gets
    victim = Browser(live)
    lured = victim.begin(f"/launch/{connection}/provider?{urlencode({'iss': base, 'launch': 'x'})}")
    address, _, query = mine.authorize.partition("?")
    theirs = parse_qs(urlsplit(live.launch_url("nordlys")).query)["launch"]
    asked = parse_qs(query) | {"state": [lured.state], "launch": theirs}  # as the rogue sends it on
    back = requests.get(f"{address}?{urlencode(asked, doseq=True)}", allow_redirects=False, timeout=30)
    given = urlsplit(back.headers["Location"])
    sent = {name: values[0] for name, values in parse_qs(given.query).items()} | {"secret": lured.secret}
    assert sent["code"] and sent["state"] == lured.state
    answer = victim.post(given.path, json=sent)
    assert (answer.status_code, answer.json()["code"]) == (403, "launch.other_address")


def test_an_application_of_ones_own_comes_back_to_an_address_of_its_own(live: Live) -> None:
    registration = live.world.registrations["harbor"]
    real = CredentialInput(client_id=clients.SMART_PROVIDER_CLIENT_ID, client_secret=clients.SMART_PROVIDER_SECRET)  # type: ignore[arg-type]
    with connected(live, live.world.ports.fhir_base(HARBOR.ehr_tenant)) as made:
        tenants.set_credential(live.services.directory.scope(GUEST), made.value.id, made.etag, "provider", real, ACTOR)
        own = f"/launch/{made.value.id}/callback"
        live.world.registrations["harbor"] = replace(registration, redirect_uri=live.app + own)
        try:
            for elsewhere in ("/launch/callback", f"/launch/{live.connection_id('nordlys')}/callback"):
                browser, sent = _signed_in(live, made.value.id)
                assert browser.post(elsewhere, json=sent).json()["code"] == "launch.other_address"
            browser, sent = _signed_in(live, made.value.id)
            assert browser.get(f"{own}?state={sent['state']}").status_code == 200
            answer = browser.post(own, json=sent)
        finally:
            live.world.registrations["harbor"] = registration
    assert answer.status_code == 200 and answer.json()["session"].startswith(made.value.id)
    assert not browser.cookies


def _signed_in(live: Live, connection: str) -> tuple[Browser, dict[str, str]]:
    """A browser without storage that has signed in to Harbor's EHR, and what its callback page would post."""
    browser, given = Browser(live), parse_qs(urlsplit(live.launch_url("harbor")).query)
    sent = browser.authorized(browser.begin(f"/launch/{connection}/provider?{urlencode(given, doseq=True)}"))
    del sent["secret"]  # the cookie serves
    return browser, sent


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
