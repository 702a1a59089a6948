"""Microsoft sign-in by hand-off, through the running app and against thieves, guessers and liars."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import requests

from connector.adapters.entra import SignedInUser
from connector.ehr import EhrTokens, EhrUser
from connector.errors import RefusedError
from connector.keys import decode, encode
from connector.launch import handoff, open_session, session
from connector.launch.state import SESSIONS
from sandbox.azurite import Azurite
from sandbox.cast import HARBOR, NORDLYS
from tests.running import Browser, Live, Session
from tests.tenants.stamp import connected, pinned, race

OKAFOR, LINDQVIST, MARWOOD = (clinician.entra_oid for clinician in HARBOR.clinicians)
GONE = "Please start again from the chart"


@pytest.fixture
def browser(live: Live) -> Browser:
    return Browser(live)


@pytest.fixture(autouse=True)
def no_link_stays(live: Live) -> Iterator[None]:
    yield
    for row in list(live.table("Links").list_entities()):
        live.table("Links").delete_entity(row)


@pytest.fixture
def visit(live: Live, browser: Browser) -> Session:
    live.book("suri")
    return browser.launch(user="marwood", patient="suri")


def code(answer: requests.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["code"])


def links(live: Live) -> list[str]:
    return [row["object_id"] for row in live.table("Links").list_entities()]


def test_the_code_of_the_window_links_and_both_are_named(live: Live, browser: Browser, visit: Session) -> None:
    window = Browser(live)
    shown = window.get(window.microsoft(MARWOOD, browser.hand_off(visit))).text
    for named in "Petra Marwoode", HARBOR.clinicians[2].upn, "Marwoode, Petra", "Practitioner/12994359":
        assert named in shown
    assert "frame-ancestors 'none'" in window.get("/").headers["Content-Security-Policy"]
    digits = "".join(re.findall(r"<span>(\d{3})</span>", shown))
    typed = f"{digits[:3]} {digits[3:]}"
    assert links(live) == []
    told = browser.ask("POST", visit, "link", json={"code": typed}).json()
    assert told == {"linked": True, "microsoft": "Petra Marwoode", "ehr": "Marwoode, Petra"}
    assert links(live) == [MARWOOD]
    assert code(browser.ask("POST", visit, "link", json={"code": typed}), 409) == "handoff.void"


def test_neither_side_needs_a_cookie_of_the_other(live: Live, browser: Browser, visit: Session) -> None:
    browser.cookies.clear()
    window = Browser(live)
    digits = window.signed_in(MARWOOD, browser.hand_off(visit))
    assert not window.cookies and not browser.cookies
    assert browser.ask("POST", visit, "link", json={"code": digits}).status_code == 200


def test_a_link_is_for_one_sign_in_and_a_newer_one_replaces_it(live: Live, browser: Browser, visit: Session) -> None:
    first = browser.hand_off(visit)
    assert Browser(live).get(first).status_code == 303  # a prefetch spends nothing
    second = browser.hand_off(visit)
    assert GONE in Browser(live).get(first).text
    early, late = Browser(live), Browser(live)
    back = late.microsoft(OKAFOR, second)
    assert early.signed_in(MARWOOD, second)
    assert GONE in late.get(back).text  # both were at Microsoft: the first to come back counts
    assert GONE in Browser(live).get(second).text
    assert links(live) == []


def test_a_thief_of_the_link_has_a_code_and_no_page(live: Live, browser: Browser, visit: Session) -> None:
    address, thief = browser.hand_off(visit), Browser(live)
    digits = thief.signed_in(LINDQVIST, address)
    theirs = thief.launch(user="lindqvist", patient="suri")
    assert code(thief.ask("POST", theirs, "link", json={"code": digits}), 409) == "handoff.void"
    stolen = Session(visit.id, theirs.bearer)
    assert code(thief.ask("POST", stolen, "link", json={"code": digits}), 401) == "visit.session_over"
    assert "do not type any code" in Browser(live).get(address).text
    assert links(live) == []


def test_a_link_sent_to_a_colleague_says_whose_it_is_and_the_code_is_not_guessed(
    live: Live, browser: Browser, visit: Session
) -> None:
    victim = Browser(live)
    shown = victim.get(victim.microsoft(OKAFOR, browser.hand_off(visit))).text
    assert "Marwoode, Petra" in shown and "give the code to\n    nobody" in shown
    digits = "".join(re.findall(r"<span>(\d{3})</span>", shown))
    wrong = [f"{(int(digits) + step) % 10**6:06d}" for step in (1, 2, 3)]
    answers = [browser.ask("POST", visit, "link", json={"code": guess}) for guess in wrong]
    assert [answer.json()["code"] for answer in answers] == ["handoff.wrong_code", "handoff.wrong_code", "handoff.void"]
    assert code(browser.ask("POST", visit, "link", json={"code": digits}), 409) == "handoff.void"
    assert links(live) == []


@pytest.mark.parametrize("sent", [{}, [], {"code": 123456}, {"code": ""}, {"code": "12345"}, {"code": "12345x"},
                                  {"code": "\uff11\uff12\uff13\uff14\uff15\uff16"}])
def test_what_is_no_code_costs_no_try(live: Live, browser: Browser, visit: Session, sent: object) -> None:
    address = browser.hand_off(visit)
    assert code(browser.ask("POST", visit, "link", json=sent), 400) == "handoff.no_code"
    assert code(browser.ask("POST", visit, "link", json={"code": "123456"}), 409) == "handoff.not_signed_in"
    digits = Browser(live).signed_in(MARWOOD, address)
    for _ in range(3):
        assert code(browser.ask("POST", visit, "link", json=sent), 400) == "handoff.no_code"
    assert browser.ask("POST", visit, "link", json={"code": digits}).status_code == 200


@pytest.mark.parametrize("token", ["x", "azzzzzzzz-x", "%2Fevil.example", "azzzzzzzz-aaaaaaaaaaaa.x",
                                   "{session}", "{session}.", "{session}.x", "azzzzzzzz-%0d%0ax-aaaaaaa"])
def test_a_made_up_link_begins_nothing(browser: Browser, visit: Session, token: str) -> None:
    browser.hand_off(visit)
    page = browser.get("/signin/" + token.format(session=visit.id))
    assert page.status_code in (400, 404) and "Location" not in page.headers
    assert not browser.cookies


def test_an_account_of_another_organization_may_try_again(live: Live, browser: Browser, visit: Session) -> None:
    address, window = browser.hand_off(visit), Browser(live)
    foreign = window.get(window.microsoft(NORDLYS.clinicians[0].entra_oid, address))
    assert foreign.status_code == 403 and "Account of another organization" in foreign.text
    assert not re.findall(r"<span>\d{3}</span>", foreign.text)
    (again,) = re.findall(r'href="(/signin/[^"]+)"', foreign.text)
    assert address.endswith(again)
    digits = window.signed_in(MARWOOD, again)
    assert browser.ask("POST", visit, "link", json={"code": digits}).status_code == 200
    assert links(live) == [MARWOOD]


def test_one_ehr_user_has_one_account_until_that_account_releases_it(live: Live) -> None:
    live.book("rafael")
    first, second = Browser(live), Browser(live)
    one, two = first.launch(user="lindqvist", patient="rafael"), second.launch(user="lindqvist", patient="rafael")
    racing = Browser(live).signed_in(OKAFOR, second.hand_off(two))
    assert first.link(LINDQVIST, one).json()["linked"] is True
    assert code(second.ask("POST", two, "link", json={"code": racing}), 409) == "link.other_account"
    assert code(second.link(OKAFOR, two), 403) == "link.not_the_account"
    assert links(live) == [LINDQVIST]
    assert second.link(LINDQVIST, two).json()["linked"] is False
    assert links(live) == []
    assert first.link(OKAFOR, one).json()["linked"] is True
    assert links(live) == [OKAFOR]


# the window's way to Microsoft and back


def test_a_sign_in_that_began_elsewhere_or_long_ago(live: Live, browser: Browser, visit: Session) -> None:
    window = Browser(live)
    back = window.microsoft(MARWOOD, browser.hand_off(visit))
    flow = window.cookies["__Host-signin"]
    kept = json.loads(live.sealer.open(decode(flow), region=None, purpose="cookie.signin"))
    old = encode(live.sealer.seal(json.dumps(kept | {"expires": 1}).encode(), region=None, purpose="cookie.signin"))
    other = encode(live.sealer.seal(json.dumps(kept).encode(), region=None, purpose="cookie.portal"))
    for cookie in None, "", "x", flow[:-2], flow + "A", old, other:
        window.cookies = {"__Host-signin": cookie} if cookie is not None else {}
        page = window.get(back)
        assert page.status_code == 400 and "Please sign in again" in page.text
    window.cookies = {"__Host-signin": flow}
    for change in ("state=", "state=x"), ("state=", "other="), ("code=", "state=x&code="):
        assert "Sign-in expired" in window.get(back.replace(*change)).text
    assert code(browser.ask("POST", visit, "link", json={"code": "000000"}), 409) == "handoff.not_signed_in"
    window.cookies = {"__Host-signin": flow}
    assert window.get(back).status_code == 200
    window.cookies = {"__Host-signin": flow}
    assert "loaded twice" in window.get(back).text


def test_a_user_who_declines_and_an_entra_that_is_down(live: Live, browser: Browser, visit: Session) -> None:
    address, window = browser.hand_off(visit), Browser(live)
    page = window.get(window.microsoft("none", address))
    assert page.status_code == 403
    assert "Sign-in was not allowed" in page.text and "AADSTS65004" in page.text
    back = window.microsoft(MARWOOD, address)
    with live.down("entra"):
        page = window.get(back)
    assert page.status_code == 503 and "Please try again in a moment" in page.text
    browser.visit(visit)
    assert browser.ask("POST", visit, "join").status_code == 200  # nobody is kept from a patient


# the row itself

USER = EhrUser("https://authorization.example/tenants/t/oidc/idsps/i/", "Practitioner/12994107", "Okaforth, Adaeze")


def visit_session(azurite: Azurite) -> tuple[object, session.VisitSession, SignedInUser]:
    services, scope = pinned(azurite)
    made = connected(services, scope).value
    opened = open_session(services.directory, *session.start(
        scope, made, "provider", USER, EhrTokens("access", 570, frozenset())))
    user = SignedInUser(scope.tenant_id, "oid-1", "Adaeze Okaforth", "a@x.example", frozenset(), frozenset())
    return services, opened, user


def test_of_many_guesses_at_once_three_count(azurite: Azurite) -> None:
    services, opened, user = visit_session(azurite)
    token = handoff.begin_hand_off(services.sealer, opened, "link")
    hand_off = handoff.open_hand_off(services.directory, services.sealer, token)
    digits = handoff.sign_in_to(hand_off, services.sealer, user)
    guesses = [f"{(int(digits) + step) % 10**6:06d}" for step in range(1, 13)]
    outcomes = race([lambda g=guess: handoff.redeem_code(services.sealer, opened, g) for guess in guesses])
    told = [one.code for one in outcomes if isinstance(one, RefusedError)]
    assert (told.count("handoff.wrong_code"), told.count("handoff.void")) == (2, 10)


def test_the_right_code_at_once_from_two_windows_counts_once(azurite: Azurite) -> None:
    services, opened, user = visit_session(azurite)
    hand_off = handoff.open_hand_off(
        services.directory, services.sealer, handoff.begin_hand_off(services.sealer, opened, "link"))
    digits = handoff.sign_in_to(hand_off, services.sealer, user)
    outcomes = race([lambda: handoff.redeem_code(services.sealer, opened, digits)] * 8)
    assert len([one for one in outcomes if isinstance(one, handoff.Account)]) == 1


def test_a_hand_off_ends_after_ten_minutes_and_storage_alone_reveals_nothing(azurite: Azurite) -> None:
    services, opened, user = visit_session(azurite)
    began = int(time.time())
    token = handoff.begin_hand_off(services.sealer, opened, "link")
    hand_off = handoff.open_hand_off(services.directory, services.sealer, token)
    digits = handoff.sign_in_to(hand_off, services.sealer, user)
    row = opened.scope.tables.get(SESSIONS, opened.connection.id, f"handoff.{opened.id}")
    assert row is not None and began + 600 <= row.number("expires") <= time.time() + 600
    text = repr(row.values) + repr(decode(row.text("sealed")))
    for secret in token.partition(".")[2], digits, "Okaforth", "oid-1", "a@x.example", "12994107":
        assert secret not in text
    opened.scope.tables.update(SESSIONS, replace(row, values={**row.values, "expires": int(time.time()) - 1}))
    with pytest.raises(RefusedError) as refused:
        handoff.redeem_code(services.sealer, opened, digits)
    assert refused.value.code == "handoff.void"
    with pytest.raises(RefusedError):
        handoff.open_hand_off(services.directory, services.sealer, token)
