"""A launch from the patient's portal leads to the page of the next visit, whoever acts for the patient."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import expect

from connector.keys import JoinToken
from sandbox.cast import HARBOR
from sandbox.cerner import appointments
from tests.running import Browser, Live
from tests.story.pages import _RUN_AXE, _TOO_WIDE, _axe


@pytest.fixture
def browser(live: Live) -> Browser:
    return Browser(live)


@pytest.fixture
def nothing_booked(live: Live) -> Iterator[None]:
    """Nobody has an appointment at Harbor; afterwards they have again what they had."""
    kept = live.world.resources[HARBOR.ehr_tenant]
    away = {key: kept.pop(key) for key in list(kept) if key[0] == "Appointment"}
    yield
    kept.update(away)


def location(browser: Browser, patient: str) -> str:
    session = browser.launch(persona="patient", patient=patient)
    answer = browser.ask("GET", session, "patient")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["location"])


def visit_of(live: Live, where: str) -> str:
    return JoinToken.open(where.removeprefix("/j/"), live.sealer).appointment_id


@pytest.mark.usefixtures("nothing_booked")
def test_it_leads_to_the_next_visit_days_ahead_too(live: Live, browser: Browser) -> None:
    later = live.book("hollis", in_minutes=9 * 24 * 60)
    assert visit_of(live, location(browser, "hollis")) == later
    gone = live.book("hollis", in_minutes=5)
    appointments.cancel(live.world, "harbor", gone)
    live.book("hollis", in_minutes=6, kind="ordinary")
    sooner = live.book("hollis", in_minutes=3 * 24 * 60)
    where = location(browser, "hollis")
    assert visit_of(live, where) == sooner and "Test camera and sound" in browser.get(where).text


@pytest.mark.usefixtures("nothing_booked")
def test_a_proxy_and_a_token_without_a_patient(live: Live, browser: Browser) -> None:
    theirs = live.book("suri", in_minutes=1)
    live.book("suri", in_minutes=9)
    live.book("suri", in_minutes=9)  # two begin at the same time
    appointments.move(live.world, "harbor", theirs, live.world.now() + timedelta(minutes=1))
    expected = location(browser, "suri")
    with live.mischief("patient_proxy"):
        assert location(browser, "suri") == expected  # the parent's id names nobody's visit
        with live.mischief("token_without_patient"):
            session = browser.launch(persona="patient", patient="suri")
            refused = browser.ask("GET", session, "patient")
            assert refused.status_code == 409 and refused.json()["code"] == "visit.no_patient"
    with live.mischief("token_without_patient"):
        assert location(browser, "suri") == expected  # the patient who signed in


@pytest.mark.usefixtures("nothing_booked")
def test_without_a_visit_the_page_says_so_with_the_clinics_telephone(live: Live, browser: Browser) -> None:
    where = location(browser, "odette")
    page = browser.get(where)
    assert where == f"/j?clinic={live.connection_id()}&none=1"
    assert "We found no video visit for you" in page.text and HARBOR.contact_phone in page.text


@pytest.mark.usefixtures("nothing_booked")
def test_what_can_not_be_read_is_never_no_visit(live: Live, browser: Browser) -> None:
    session = browser.launch(persona="patient", patient="odette")
    with live.mischief("malformed_entry"):
        live.book("odette", in_minutes=60 * 30, kind="ordinary")
        assert browser.ask("GET", session, "patient").status_code == 502


def test_whatever_goes_wrong_is_said_in_the_patients_words_and_language(live: Live, chromium: Chromium) -> None:
    again = "Ábrala otra vez desde su portal del paciente"
    context = chromium.new_context(locale="es-MX", viewport={"width": 320, "height": 640}, bypass_csp=True,
                                   ignore_https_errors=True)
    page = context.new_page()

    def fails(url: str, words: str) -> None:
        page.goto(url)
        expect(page.get_by_role("heading")).to_have_text("Su visita no se abre en este momento")
        expect(page.locator("[data-code]:visible")).to_have_count(1)
        expect(page.get_by_text(words)).to_be_visible()
        expect(page.locator("#reference")).not_to_be_empty()
        assert page.locator("html").get_attribute("lang") == "es" and page.evaluate(_TOO_WIDE) <= 0
        page.evaluate(_axe())
        assert page.evaluate(_RUN_AXE) == []

    live.book("suri", in_minutes=1)
    url = live.launch_url(persona="patient", patient="suri")
    fails(url.replace("launch=", "lunch="), again)
    page.get_by_text("Para su clínica").click()
    expect(page.get_by_text("The EHR sent no launch code.")).to_be_visible()
    fails(f"{live.app}/launch/callback?state={live.connection_id()}.patient.x&code=y", again)
    with live.mischief("patient_proxy"), live.mischief("token_without_patient"):
        fails(url, "Su portal del paciente no indicó de quién es la visita.")
    page.goto(live.launch_url(persona="patient", patient="suri"))
    page.wait_for_url("**/j/*")
    context.close()
