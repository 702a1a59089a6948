"""Visit sessions through the running app: who may see what."""

import pytest
import requests

from tests.running import Browser, Live, Session

CLINICIANS_ROUTES = [("GET", "page"), ("GET", "status"), ("GET", "board")]
CLINICIANS_ROUTES += [("POST", what) for what in ("join", "send", "late", "revoke", "end", "board", "handoff", "link")]
EVERY_ROUTE = [*CLINICIANS_ROUTES, ("GET", "patient")]


@pytest.fixture
def browser(live: Live) -> Browser:
    return Browser(live)


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
    for what in "join", "handoff", "link":
        for headers in {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {}:
            answer = browser.send("POST", f"/visits/{clinicians.id}/{what}", headers=clinicians.headers | headers)
            assert code(answer, 403) == "web.cross_site"


def test_an_expired_session_is_over(live: Live, browser: Browser) -> None:
    session = browser.launch("nordlys")
    assert browser.ask("GET", session, "page").status_code == 200
    live.expire("visit.", "nordlys")
    assert code(browser.ask("GET", session, "page"), 401) == "visit.session_over"
