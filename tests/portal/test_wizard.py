"""The whole set-up in Chromium, from nothing to a number that texts: by mouse, by keyboard alone, without scripts, in
both languages, with the page reloaded at every step and the app killed on the way."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from connector import portal, tenants
from connector.languages import Language
from sandbox import control
from sandbox.cast import HARBOR
from sandbox.world import Hospital
from tests.portal import newcomers
from tests.portal.wizard import Administrator
from tests.running import Browser as HttpBrowser
from tests.running import Live
from tests.story.pages import DESKTOP, PHONE, Heard, Visitor


@pytest.fixture(scope="module")
def hospitals(live: Live) -> Iterator[dict[str, Hospital]]:
    with newcomers.listed(live, "mouse", "keys", "plain") as made:
        live.world.provisioning_s = 0
        yield made
        live.world.provisioning_s = 20


def configured(live: Live, hospital: Hospital) -> tuple[tenants.Connection, tenants.Sender]:
    """What the wizard left behind, read from storage by another process of the app."""
    services = live.twin()
    scope = services.directory.scope(hospital.tid)
    (connection,), (sender,) = tenants.connections(scope), tenants.senders(scope)
    assert {consent.kind for consent in tenants.consents(scope)} == {"send_sms", "patients_agreed"}
    assert {consent.by for consent in tenants.consents(scope)} == {hospital.users[0].oid}
    return connection.value, sender


def check(live: Live, hospital: Hospital, number: str, launch: str) -> None:
    connection, sender = configured(live, hospital)
    assert (connection.fhir_base_url, connection.environment, connection.release_confirmed) == (
        live.world.ports.fhir_base(hospital.ehr_tenant), "production", True)
    assert (connection.clinic_name, connection.contact_phone) == (hospital.name, hospital.contact_phone)
    assert (sender.value, connection.sender_id) == (number, sender.id)
    assert launch == f"{live.app}/launch/{connection.id}/provider"


def test_by_mouse_with_reloads_and_restarts(live: Live, chromium: Browser, hospitals: dict[str, Hospital]) -> None:
    hospital = hospitals["mouse"]
    visitor = Visitor(chromium, live.app, set(), Heard(), outages=True)
    page = visitor.page

    def reload_and_look() -> None:
        """The same page again: nothing is lost. Then axe, HTML and headers, on a desk and on a phone."""
        if not page.url.startswith(live.app):
            return
        if "found" not in page.content():  # what was validated is an answer to a form
            page.reload()
        visitor.look(re.compile(".+"), widths=(DESKTOP, PHONE))

    def die_and_wait() -> None:
        """The app is killed while the number comes; whoever comes back goes on."""
        order = page.url
        live.sandbox.restart_app()
        live.world.provisioning_s = 0
        page.goto(f"{live.app}/portal/setup")
        if page.url != order:  # it is over: the step that was open last
            expect(page.get_by_role("heading", name="1. Two consents")).to_be_visible()
            page.goto(order)

    admin = Administrator(live, hospital, page, between=reload_and_look)
    admin.sign_in()
    admin.begin()
    live.sandbox.restart_app()
    page.goto(f"{live.app}/portal/setup")
    expect(page.get_by_role("heading", name="Add a FHIR base URL")).to_be_visible()
    admin.add_base()
    live.sandbox.restart_app()
    page.goto(f"{live.app}/portal/setup")  # where one left off
    expect(page.get_by_role("heading", name="1. Two consents")).to_be_visible()
    admin.consent()
    live.sandbox.restart_app()
    page.goto(f"{live.app}/portal/setup")
    expect(page.get_by_role("link", name="Withdraw the consents")).to_be_visible()
    live.world.provisioning_s = 3600  # a page that follows it stands still while it is looked at
    number = admin.generate(wait=die_and_wait)
    live.sandbox.restart_app()
    page.goto(f"{live.app}/portal/setup")
    expect(page.get_by_role("heading", name="Link a phone number to each")).to_be_visible()
    admin.link()
    live.sandbox.restart_app()
    page.goto(f"{live.app}/portal/setup")
    launch = admin.finish()
    visitor.look("Overview", widths=(DESKTOP, PHONE))
    check(live, hospital, number, launch)
    admin.do_what_is_next()
    assert admin.actions <= 33, "clicks and filled fields, from nothing to a hospital that can be launched"
    visitor.close()
    launch_a_visit(live, hospital, launch)


ELSEWHERE = {"portal_consent", "portal_region", "portal_setup", "portal_connection_records_json", "portal_export_file",
             "portal_number_order"}
"""Redirects and files; the page of an order is looked at while one is under way."""


def test_every_page_in_the_dark_on_a_phone(live: Live, chromium: Browser) -> None:
    """With axe: what the set-up in the light and on a desk does not show."""
    scope = live.scope("harbor")
    named = {
        "connection": tenants.connections(scope)[0].value.id, "sender": tenants.senders(scope)[0].id,
        "persona": "system",
    }  # fmt: skip
    visitor = Visitor(chromium, live.app, set(), Heard(), width=PHONE)
    visitor.page.emulate_media(color_scheme="dark")
    Administrator(live, HARBOR, visitor.page).sign_in()
    for route in portal.ROUTES:
        if route.name not in ELSEWHERE:
            visitor.page.goto(f"{live.app}/{route.route.format(**named)}")
            visitor.look(re.compile(".+"))
    visitor.close()


def launch_a_visit(live: Live, hospital: Hospital, launch: str) -> None:
    """The Cerner team enters what the portal gave; then a clinician opens the visit from the chart and its meeting."""
    connection = launch.rsplit("/", 2)[1]
    entered = {"hospital": hospital.key, "provider_launch_url": launch, "redirect_uri": f"{live.app}/launch/callback"}
    control.register(live.world, entered)
    try:
        live.book(hospital.patients[1].key, hospital=hospital.key)
        clinician = HttpBrowser(live)
        session = clinician.launch(hospital.key, patient=hospital.patients[1].key)
        assert hospital.patients[1].family in clinician.visit(session)
        meeting = clinician.ask("POST", session, "join?without_link=1").json()["join_url"]
        assert meeting.startswith(live.world.ports.url("teams"))
        assert connection in session.id
    finally:
        del live.world.registrations[hospital.key]


def test_in_korean_by_keyboard_alone(live: Live, chromium: Browser, hospitals: dict[str, Hospital]) -> None:
    context = chromium.new_context(
        ignore_https_errors=True, locale="ko-KR", viewport={"width": DESKTOP, "height": 800}
    )
    page = context.new_page()
    untranslated: set[str] = set()

    def read() -> None:
        if page.url.startswith(live.app):
            untranslated.update(not_korean(page))

    admin = Administrator(
        live, hospitals["keys"], page, Language("portal", "ko"), by_keyboard=True, between=read
    )
    admin.sign_in()
    expect(page.locator("html")).to_have_attribute("lang", "ko")
    admin.begin()
    admin.add_base()
    admin.consent()
    number = admin.generate()
    admin.link()
    launch = admin.finish()
    check(live, hospitals["keys"], number, launch)
    assert untranslated == set()
    context.close()


_TEXTS = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), around = walker.currentNode.parentElement;
    const named = "[translate=no], [lang]:not(html), code, script, noscript, time, option";
    if (text && !around.closest(named)) found.push(text);
  }
  return found;
}"""
_BRANDS = re.compile(
    r"Teams EHR connector|Microsoft( 365| Entra| Teams)?|Oracle( Health)?|Cerner|Azure|Teams|FHIR|SMART|SMS|URL|URI|"
    r"JSON|JWKS|PKCE|"
    r"code Console|PowerChart|EHR|R4|HTTP|S256|v[12]|https?|UTC|ID|Appointment|Patient")


def not_korean(page: Any) -> set[str]:
    """Texts of the page with a Latin word in them that is no name, and without one Korean letter."""
    return {
        text
        for text in page.evaluate(_TEXTS)
        if re.search("[a-z]{3}", _BRANDS.sub("", text)) and not re.search("[가-힣]", text)
    }


def test_without_scripts(live: Live, chromium: Browser, hospitals: dict[str, Hospital]) -> None:
    context = chromium.new_context(
        ignore_https_errors=True, java_script_enabled=False, viewport={"width": DESKTOP, "height": 800}
    )
    admin = Administrator(live, hospitals["plain"], context.new_page())
    admin.sign_in()
    admin.begin()
    admin.add_base()
    admin.consent()
    number = admin.generate()
    admin.link()
    check(live, hospitals["plain"], number, admin.finish())
    context.close()
