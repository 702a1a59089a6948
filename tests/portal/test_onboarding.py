"""Before and during the set-up: consent that is proven, the region once and for ever, addresses that are none, orders
of numbers that fail. In pages without a browser; tests/portal/test_wizard.py walks through them with one."""

import re
import time
from collections.abc import Iterator

import pytest
import requests

from connector import tenants
from connector.regions import Region
from sandbox.cast import HARBOR
from sandbox.world import Hospital
from tests.portal import newcomers
from tests.portal.forms import fields, send, wrong
from tests.running import Browser, Live

NAMES = ("consenting", "pinning", "typing", "buying")


@pytest.fixture(scope="module")
def hospitals(live: Live) -> Iterator[dict[str, Hospital]]:
    with newcomers.listed(live, *NAMES) as made:
        live.world.provisioning_s = 0
        yield made
        live.world.provisioning_s = 20
        live.world.consented -= {one.tid for one in made.values()}


def admin_of(live: Live, hospital: Hospital, number: int = 0) -> Browser:
    browser = Browser(live)
    browser.sign_in(hospital.users[number].oid)
    return browser


def consent(live: Live, browser: Browser, oid: str) -> str:
    """Ask for it and answer as somebody; the address to which Microsoft sends the browser back."""
    asked = browser.get("/portal/consent?to=/portal/region")
    assert asked.status_code == 303
    chosen = requests.get(asked.headers["Location"], params={"sandbox_user": oid}, allow_redirects=False,
                          verify=live.ca, timeout=30)
    return chosen.headers["Location"]


# consent


def test_a_consent_is_proven_by_a_token_and_not_by_the_answer(live: Live, hospitals: dict[str, Hospital]) -> None:
    hospital = hospitals["consenting"]
    browser = admin_of(live, hospital)
    assert "Ask Microsoft for consent" in browser.get("/portal/region").text
    asked = browser.get("/portal/consent?to=//evil.example").headers["Location"]
    assert f"/{hospital.tid}/v2.0/adminconsent?" in asked and "graph.microsoft.com%2F.default" in asked
    state = re.findall("state=([^&]+)", asked)[0]
    # somebody types the good answer, with another tenant that did consent
    forged = f"/portal/callback?admin_consent=True&tenant={HARBOR.tid}&state={state}"
    page = browser.get(forged)
    assert page.status_code == 409 and "Consent is not in force yet" in page.text
    assert hospital.tid not in live.world.consented
    back = consent(live, browser, hospital.users[0].oid)
    answer = browser.get(back.replace(hospital.tid, HARBOR.tid))
    assert answer.headers["Location"] == f"{live.app}/portal/region"
    shown = browser.get("/portal/region").text
    assert "Allowed." in shown and "United States" in shown and re.search('value="americas" checked', shown)
    assert browser.get(back).status_code == 400, "an answer counts once"


def test_a_consent_that_was_refused_or_asked_for_by_somebody_else(live: Live, hospitals: dict[str, Hospital]) -> None:
    hospital = hospitals["typing"]
    browser = admin_of(live, hospital)
    for oid in "none", hospital.users[2].oid:
        page = browser.get(consent(live, browser, oid))
        assert page.status_code == 403 and "Privileged Role Administrator" in page.text
    back = consent(live, browser, hospital.users[0].oid)
    stranger = admin_of(live, HARBOR)
    stranger.cookies |= {name: value for name, value in browser.cookies.items() if name != "__Host-portal"}
    page = stranger.get(back)
    assert page.status_code == 403 and "as somebody else" in page.text
    assert Browser(live).get(back).status_code == 400


def test_the_country_proposes_and_the_admin_decides(live: Live, hospitals: dict[str, Hospital]) -> None:
    """The proposal binds nobody; while Microsoft is away there is none."""
    hospital = hospitals["pinning"]
    browser, colleague = admin_of(live, hospital), admin_of(live, hospital, 1)
    with live.down("entra"):
        assert "Microsoft does not answer at the moment" in browser.get("/portal/region").text
    assert browser.get("/portal/setup/urls").headers["Location"] == f"{live.app}/portal/region"
    for chosen in "", "mars":
        bad = send(browser, "/portal/region", region=chosen)
        assert bad.status_code == 422 and wrong(bad) == {"region": "choose one of them"}
    assert live.twin().directory.find(hospital.tid) is None
    late = fields(colleague.get("/portal/region").text)
    kept = browser.cookies["__Host-portal"]
    assert send(browser, "/portal/region", region="apac").headers["Location"] == f"{live.app}/portal/setup"
    scope = live.twin().directory.find(hospital.tid)
    assert scope is not None and scope.region is Region.APAC
    assert browser.get("/portal/region").headers["Location"] == f"{live.app}/portal"
    # the cookie of before has no row; the colleague's neither: both sign in once more, and find it decided
    assert colleague.post("/portal/region", data=late | {"region": "emea"}).status_code == 401
    old = Browser(live)
    old.cookies = {"__Host-portal": kept}
    assert "/portal/signin?" in old.get("/portal").headers["Location"]
    colleague.sign_in(hospital.users[1].oid)
    assert "Data region: Asia Pacific" in colleague.get("/portal").text


# addresses

PUBLIC = {"clinic_name": "Clinic", "contact_phone": "+17205550140", "environment": "test"}


@pytest.fixture(scope="module")
def typist(live: Live, hospitals: dict[str, Hospital]) -> Browser:
    live.twin().directory.pin(hospitals["typing"].tid, Region.AMERICAS)
    return admin_of(live, hospitals["typing"])


@pytest.mark.parametrize("typed", [
    "", "x", "fhir.example.org/r4/x", "ftp://fhir.example.org/r4/x", "http://fhir.example.org/r4/x",
    "javascript:alert(1)", "https://user:hunter2@fhir.example.org/r4", "https://fhir.example.org/r4?x=1",
    "https://10.0.0.1/r4/x", "https://169.254.169.254/r4/x", "https://168.63.129.16/r4/x", "https://[::1]/r4/x",
    "https://[::ffff:10.0.0.1]/r4/x", "https://[64:ff9b::a00:1]/r4/x", "https://2130706433/r4/x",
    "https://0x7f000001/r4/x", "https://0.0.0.0/r4/x", "https://224.0.0.1/r4/x", "https://fhir.example.org:99999/r4/x",
    "x" * 301,
])
def test_an_address_that_is_none_says_so_at_its_field(live: Live, typist: Browser, typed: str) -> None:
    for do in "validate", "add":
        answer = send(typist, "/portal/setup/urls", fhir_base_url=typed, do=do, **PUBLIC)
        assert answer.status_code == 422 or do == "validate"
        assert "fhir_base_url" in wrong(answer), answer.text
        assert fields(answer.text, '<form method="post" action="/portal/setup/urls')["fhir_base_url"] == typed
    assert "Your FHIR base URLs" not in typist.get("/portal/setup/urls").text


@pytest.mark.parametrize(("path", "mischief", "finding"), [
    ("", "malformed_json", "A server answers, but not as a FHIR server does."),
    ("0", "none", "The server refuses to say what it can do (HTTP status 403).")])
def test_what_a_check_finds_stands_at_its_field(
    live: Live, typist: Browser, hospitals: dict[str, Hospital], path: str, mischief: str, finding: str
) -> None:
    """Every finding goes this way; tests/checks makes each of them."""
    base = live.world.ports.fhir_base(hospitals["typing"].ehr_tenant) + path
    with live.mischief(mischief):
        answer = send(typist, "/portal/setup/urls", fhir_base_url=base, do="add", **PUBLIC)
    assert answer.status_code == 422 and wrong(answer) == {"fhir_base_url": finding}, answer.text


def test_what_others_have_to_do_first_does_not_stop_an_address(
    live: Live, typist: Browser, hospitals: dict[str, Hospital]
) -> None:
    """Oracle enables the applications after it was given the launch address; the same address twice is one too many."""
    hospital = hospitals["typing"]
    base = live.world.ports.fhir_base(hospital.ehr_tenant)
    live.world.trimmed_scopes[hospital.key] = {"system/Appointment.read"}
    try:
        seen = send(typist, "/portal/setup/urls", fhir_base_url=base, do="validate", **PUBLIC)
        assert seen.status_code == 200 and "something does not work yet" in seen.text
        assert "You can choose Done" in seen.text
        done = send(typist, "/portal/setup/urls", fhir_base_url=base, do="add", **PUBLIC)
    finally:
        del live.world.trimmed_scopes[hospital.key]
    assert done.status_code == 303
    again = send(typist, "/portal/setup/urls", fhir_base_url=base, do="add", **PUBLIC)
    assert again.status_code in (409, 422) and "already" in wrong(again)["fhir_base_url"]
    assert typist.get("/portal/setup").headers["Location"] == f"{live.app}/portal/setup/urls", "the page seen last"
    typist.get("/portal/setup/finish")  # without SMS
    assert typist.get("/portal/setup").headers["Location"] == f"{live.app}/portal/setup/finish"
    colleague = admin_of(live, hospital)
    assert colleague.get("/portal/setup").headers["Location"] == f"{live.app}/portal/setup/sms", "what is not done"


# numbers


@pytest.fixture(scope="module")
def buyer(live: Live, hospitals: dict[str, Hospital]) -> Browser:
    """Somebody whose organization consented, and who proved again who they are."""
    hospital = hospitals["buying"]
    scope = live.twin().directory.pin(hospital.tid, Region.AMERICAS)
    versions = {kind: text.version for kind, text in tenants.CONSENTS.items()}
    tenants.give_consents(scope, versions, tenants.Actor(hospital.users[0].oid))
    browser = admin_of(live, hospital)
    browser.get(browser.microsoft(hospital.users[0].oid, "/portal/signin?why=confirm"))
    return browser


def followed(browser: Browser, begun: requests.Response) -> str:
    """The page of an order, when it is over."""
    path = begun.headers["Location"].removeprefix(browser.live.app)
    deadline = time.monotonic() + 120  # a hint that was lost is given again after half a minute
    while "data-follow" in (page := browser.get(path).text):
        assert time.monotonic() < deadline
        assert '<meta http-equiv="refresh"' in page and "nothing is bought twice" in page
        time.sleep(0.2)
    return page


@pytest.mark.parametrize(("mischief", "said"), [
    ("numbers_out_of_stock", "Azure has no such number at the moment. Nothing was bought."),
    ("numbers_quota", "limit of numbers for this Azure subscription is used up"),
    ("numbers_purchase_fails", "Azure could not set the number up. Nothing was bought.")])
def test_an_order_that_fails_says_why_and_who_can_mend_it(
    live: Live, buyer: Browser, mischief: str, said: str
) -> None:
    with live.mischief(mischief):
        page = followed(buyer, send(buyer, "/portal/numbers", kind="toll_free", number_label="Visits", do="buy"))
    assert said in page
    assert said in buyer.get("/portal/setup/sms").text, "the next attempt knows of it"


def test_a_number_is_bought_named_and_given_back(live: Live, buyer: Browser, hospitals: dict[str, Hospital]) -> None:
    bad = send(buyer, "/portal/numbers", kind="toll_free", number_label="", area_code="x", do="buy")
    assert bad.status_code == 422 and set(wrong(bad)) == {"number_label", "area_code"}
    page = followed(buyer, send(buyer, "/portal/numbers", kind="toll_free", number_label="Visits", do="buy"))
    number = re.findall(r"\+1833\d{7}", page)[0]
    shown = buyer.get("/portal/numbers").text
    assert number in shown and "Not verified: carriers block its texts" in shown and "nobody yet" in shown
    assert "You have the one number that the operator allows you" in shown
    path = re.findall(r'/portal/numbers/[0-9a-f]{8}', shown)[0]
    bad = send(buyer, path, last=False, **{"label": "", "verification.submitted_on": "soon"}, do="save")
    assert bad.status_code == 422 and set(wrong(bad)) == {"label", "verification.submitted_on"}
    noted = {"label": "Clinics", "verification.state": "submitted", "verification.submitted_on": "2026-11-20"}
    assert send(buyer, path, last=False, **noted, do="save").status_code == 303
    assert "texts are blocked until it is decided" in buyer.get("/portal/numbers").text
    wrong_one = send(buyer, path, do="remove", confirm="+18330000000")
    assert wrong_one.status_code == 422 and list(wrong(wrong_one)) == ["confirm"]
    assert "was given back" in followed(buyer, send(buyer, path, do="remove", confirm=number))
    assert buyer.get(path).status_code == 404


def test_a_number_or_name_that_exists_is_added_by_hand(live: Live, buyer: Browser) -> None:
    typed = {"add.kind": "alphanumeric", "add.value": "Much too long a name", "add.label": ""}
    bad = send(buyer, "/portal/numbers", do="add", **typed)
    assert bad.status_code == 422 and set(wrong(bad)) == {"add.value", "add.label"}
    assert 'value="Much too long a name"' in bad.text
    for value, kind in ("CedarRidge", "alphanumeric"), ("+17206280171", "phone_number"):
        added = {"add.kind": kind, "add.value": value, "add.label": "By hand"}
        assert send(buyer, "/portal/numbers", do="add", **added).status_code == 303
    again = send(buyer, "/portal/numbers", do="add", **added)
    assert again.status_code == 409 and "already" in wrong(again)["add.value"]
    path = re.findall(r'/portal/numbers/[0-9a-f]{8}', buyer.get("/portal/numbers").text)[0]
    assert send(buyer, path, do="remove").headers["Location"] == f"{live.app}/portal/numbers?saved=1"


def test_withdrawing_the_consents_says_what_stops_and_asks_who_it_is(
    live: Live, buyer: Browser, hospitals: dict[str, Hospital]
) -> None:
    path = "/portal/setup/sms/withdraw"
    assert path in buyer.get("/portal/setup/sms").text
    unproven = admin_of(live, hospitals["buying"])
    said = unproven.get(path).text
    assert "No connection has messages on now" in said and "Confirm who you are first" in said
    form = fields(unproven.get("/portal/numbers").text)["form"]
    assert "why=confirm" in unproven.post(path, data={"form": form}).headers["Location"]
    scope = live.twin().directory.scope(hospitals["buying"].tid)
    assert not tenants.missing_consents(scope), "nothing happened yet"
    assert send(buyer, path).headers["Location"] == f"{live.app}/portal/setup/sms?withdrawn=1"
    assert set(tenants.missing_consents(scope)) == {"send_sms", "patients_agreed"}
    assert "Agree to both" in buyer.get("/portal/setup/sms?withdrawn=1").text
    assert "nothing to withdraw" in buyer.get(path).text
    assert "Consent to text messages withdrawn" in buyer.get("/portal/history").text
