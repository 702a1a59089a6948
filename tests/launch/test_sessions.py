"""Visit sessions and Microsoft sign-in through the running app: who may see what, and whose account is linked."""

import json
from collections.abc import Iterator

import pytest
import requests

from connector.keys import decode, encode
from sandbox.cast import HARBOR, NORDLYS
from tests.running import Browser, Live, Session

OKAFOR, LINDQVIST, MARWOOD = (clinician.entra_oid for clinician in HARBOR.clinicians)
CLINICIANS_ROUTES = [("GET", "page"), ("GET", "status"), ("POST", "join"), ("POST", "link")]
EVERY_ROUTE = [*CLINICIANS_ROUTES, ("GET", "patient")]


@pytest.fixture
def browser(live: Live) -> Browser:
    return Browser(live)


@pytest.fixture(autouse=True, scope="module")
def no_link_stays(live: Live) -> Iterator[None]:
    yield
    for row in list(live.table("Links").list_entities()):
        live.table("Links").delete_entity(row)


@pytest.fixture(scope="module")
def clinicians(live: Live) -> Session:
    live.book("suri")
    return Browser(live).launch(user="marwood", patient="suri")


@pytest.fixture(scope="module")
def patients(live: Live) -> Session:
    live.book("suri")
    return Browser(live).launch(persona="patient", patient="suri")


def code(answer: requests.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    return str(answer.json()["code"])


@pytest.mark.parametrize(("method", "what"), EVERY_ROUTE)
def test_a_session_answers_its_own_bearer_alone(
    live: Live, browser: Browser, clinicians: Session, patients: Session, method: str, what: str
) -> None:
    with live.nothing_stored():
        for session in clinicians, patients:
            other = patients if session is clinicians else clinicians
            for bearer in "", "x", session.id, other.bearer, session.bearer[:-1]:
                wrong = browser.ask(method, Session(session.id, bearer), what)
                assert code(wrong, 401) == "visit.session_over"
            missing = (browser.post if method == "POST" else browser.get)(f"/visits/{session.id}/{what}")
            assert code(missing, 401) == "visit.session_over"


@pytest.mark.parametrize("name", ["{connection}-x", "{connection}-%23%00", "{connection}-%27%20or%20",
                                  "{connection}-%c3", "{connection}-%5c", "{connection}-" + "x" * 1200, "{connection}"])
def test_a_session_that_never_was(live: Live, browser: Browser, name: str) -> None:
    name = name.format(connection=live.connection_id())
    answer = browser.get(f"/visits/{name}/page", headers={"Authorization": "Bearer x"})
    assert code(answer, 401) == "visit.session_over"


@pytest.mark.parametrize("name", ["x-y", "azzzzzzzz-y", "-", "a%00-y"])
def test_a_session_of_no_connection(browser: Browser, name: str) -> None:
    assert browser.get(f"/visits/{name}").status_code == 404
    assert code(browser.get(f"/visits/{name}/page"), 404) == "connection.unknown"


def test_a_patient_is_no_clinician_and_the_reverse(
    live: Live, browser: Browser, clinicians: Session, patients: Session
) -> None:
    with live.nothing_stored():
        for method, what in CLINICIANS_ROUTES:
            assert code(browser.ask(method, patients, what), 403) == "visit.not_provider"
        assert code(browser.ask("GET", clinicians, "patient"), 403) == "visit.not_patient"


def test_a_foreign_page_can_not_act_even_with_the_bearer(live: Live, browser: Browser, clinicians: Session) -> None:
    for what in "join", "link":
        for headers in {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {}:
            answer = browser.send("POST", f"/visits/{clinicians.id}/{what}", headers=clinicians.headers | headers)
            assert code(answer, 403) == "web.cross_site"


def test_an_expired_session_is_over(live: Live, browser: Browser) -> None:
    session = browser.launch("nordlys")
    assert browser.ask("GET", session, "page").status_code == 200
    live.expire("visit.", "nordlys")
    assert code(browser.ask("GET", session, "page"), 401) == "visit.session_over"


@pytest.mark.parametrize("name", ["x", "azzzzzzzz-x", "/evil.example", "azzzzzzzz-%0d%0ax-aaaaaaa"])
def test_a_sign_in_for_no_session_does_not_begin(browser: Browser, name: str) -> None:
    page = browser.get(f"/signin?session={name}")
    assert page.status_code == 400 and "Please open it from the chart again" in page.text
    assert not browser.cookies


# whose Microsoft account


def test_nobody_is_linked_without_a_sign_in_for_this_very_session(
    live: Live, browser: Browser, clinicians: Session
) -> None:
    other = browser.launch(user="marwood", patient="suri")
    with live.nothing_stored():
        for what in "link", "join":
            answer = browser.ask("POST", clinicians, what)
            assert answer.json() == {"sign_in": f"/signin?session={clinicians.id}"}
        assert browser.sign_in(MARWOOD, other).headers["Location"].endswith(f"/visits/{other.id}")
        assert "sign_in" in browser.ask("POST", clinicians, "link").json()
        browser.cookies["__Host-visit"] = browser.cookies["__Host-visit"][:-2] + "AA"
        assert "sign_in" in browser.ask("POST", clinicians, "link").json()
        browser.sign_in(HARBOR.users[1].oid)
        browser.cookies["__Host-visit"] = browser.cookies["__Host-portal"]  # signed in for another purpose
        assert "sign_in" in browser.ask("POST", clinicians, "link").json()


def test_an_account_of_another_organization_is_refused(live: Live, browser: Browser, clinicians: Session) -> None:
    browser.sign_in(NORDLYS.clinicians[0].entra_oid, clinicians)
    page = browser.visit(clinicians)
    assert "belongs to another" in page and "Sign in with another account" in page
    with live.nothing_stored():
        assert code(browser.ask("POST", clinicians, "link"), 403) == "link.other_tenant"


def test_one_ehr_user_has_one_account(live: Live, browser: Browser) -> None:
    live.book("rafael")
    first, second = (Browser(live), Browser(live))
    one, two = first.launch(user="lindqvist", patient="rafael"), second.launch(user="lindqvist", patient="rafael")
    first.sign_in(LINDQVIST, one)
    second.sign_in(OKAFOR, two)
    assert "Is this you?" in first.visit(one)
    assert first.ask("POST", one, "link").json() == {"linked": True}
    assert "__Host-visit" not in first.cookies
    with live.nothing_stored():
        assert code(second.ask("POST", two, "link"), 409) == "link.other_account"
    assert "Join in Teams" in second.visit(two)


# the sign-in itself


def test_a_sign_in_that_began_elsewhere_or_long_ago(live: Live, browser: Browser, clinicians: Session) -> None:
    back = browser.microsoft(OKAFOR, f"/signin?session={clinicians.id}")
    flow = browser.cookies["__Host-signin"]
    kept = json.loads(live.sealer.open(decode(flow), region=None, purpose="cookie.signin"))
    old = encode(live.sealer.seal(json.dumps(kept | {"expires": 1}).encode(), region=None, purpose="cookie.signin"))
    other = encode(live.sealer.seal(json.dumps(kept).encode(), region=None, purpose="cookie.visit"))
    for cookie in None, "", "x", flow[:-2], flow + "A", old, other:
        browser.cookies = {"__Host-signin": cookie} if cookie is not None else {}
        page = browser.get(back)
        assert page.status_code == 400 and "Please sign in again" in page.text
        assert "__Host-visit" not in browser.cookies
    browser.cookies = {"__Host-signin": flow}
    assert browser.get(back).status_code == 303
    assert "__Host-visit" in browser.cookies
