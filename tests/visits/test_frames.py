"""The visit in PowerChart's frame: a cross-site iframe without third-party cookies, and to whom it shows itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import BrowserContext, FrameLocator, Page, expect

from connector import tenants
from connector.tenants import ConnectionPatch
from sandbox.cast import HARBOR
from tests.browser.chromium import PATIENCE_MS
from tests.running import Browser, Live
from tests.tenants.stamp import ACTOR

CERNER, STRANGER = "https://embedded.cerner.com", "https://embedded.cerner.com.evil.example"
# what an xfc consumer answers (cerner/xfc: JSON-RPC over postMessage)
CONSUMER = """<!doctype html><title>MPages</title><iframe width=900 height=700></iframe><script>
  window.heard = [];
  addEventListener("message", ({ data, origin, source }) => {
    heard.push(data);
    if (data.method === "authorizeConsumer") source.postMessage({ jsonrpc: "2.0", id: data.id, result: "ok" }, origin);
  });
</script>"""
MARWOOD = HARBOR.clinicians[2]


@pytest.fixture
def context(chromium: Chromium) -> Iterator[BrowserContext]:
    """Edge, as far as the library looks: it brings APPLINK in Edge alone."""
    made = chromium.new_context(viewport={"width": 1280, "height": 800}, ignore_https_errors=True,
                                user_agent="Mozilla/5.0 Chrome/147.0.0.0 Safari/537.36 Edg/147.0.0.0")
    made.set_default_timeout(PATIENCE_MS)
    made.grant_permissions(["local-network-access"])
    for origin in CERNER, STRANGER:
        made.route(f"{origin}/**", lambda route: route.fulfill(content_type="text/html", body=CONSUMER))
    yield made
    made.close()


@pytest.fixture(autouse=True, scope="module")
def no_link_stays(live: Live) -> Iterator[None]:
    browser = Browser(live)
    browser.visit(browser.launch(user="marwood", patient="odette"))  # whose look for a link makes the table
    yield
    for row in list(live.table("Links").list_entities()):
        live.table("Links").delete_entity(row)


@contextmanager
def framers(live: Live, *origins: str) -> Iterator[None]:
    """The connection lists these framers instead of its own."""

    def change(wanted: list[str]) -> list[str]:
        present = tenants.connection(live.scope(), live.connection_id())
        tenants.change_connection(live.scope(), present.value.id, present.etag, ConnectionPatch(framers=wanted), ACTOR)
        return list(present.value.framers)

    before = change(list(origins))
    try:
        yield
    finally:
        change(before)


def no_third_party_cookies(page: Page) -> None:
    page.context.new_cdp_session(page).send("Network.setCookieControls", {
        "enableThirdPartyCookieRestriction": True, "disableThirdPartyCookieMetadata": True,
        "disableThirdPartyCookieHeuristics": True})


def framed(live: Live, page: Page, origin: str) -> FrameLocator:
    """A launch in a frame of a page at `origin`."""
    page.goto(f"{origin}/mpages")
    page.evaluate("url => { document.querySelector('iframe').src = url }", live.launch_url(user="marwood",
                                                                                           patient="odette"))
    return page.frame_locator("iframe")


def test_from_the_chart_to_the_meeting_in_a_frame_without_third_party_cookies(
    live: Live, context: BrowserContext
) -> None:
    live.book("odette", clinician_key="marwood")
    page = context.new_page()
    no_third_party_cookies(page)
    chart = urlencode({"hospital": "harbor", "user": "marwood", "patient": "odette"})
    page.goto(f"http://localhost:{live.sandbox.ports.home}/powerchart?{chart}")
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("button", name="Sign in with Microsoft")).to_be_visible()  # the launch has come to its end
    assert frame.locator("html").evaluate("() => window.innerWidth") <= 900
    with context.expect_page() as opened:
        frame.get_by_role("button", name="Sign in with Microsoft").click()
    window = opened.value
    window.get_by_role("button", name=MARWOOD.entra_name).click()
    digits = window.locator(".code").inner_text()
    frame.get_by_label("six digits").fill(digits)
    frame.get_by_role("button", name="Link my account").click()
    expect(frame.get_by_text("Linked: EHR user")).to_be_visible()

    page.goto(page.url)  # the chart is opened another day: one click there, and one here
    with context.expect_page() as opened:
        frame.get_by_role("button", name="Join in Teams").click()
    expect(opened.value.get_by_role("button", name=f"Join as {MARWOOD.entra_name}")).to_be_visible()
    assert not [c for c in context.cookies(live.app) if c["name"].startswith("launch_")]


def test_two_charts_in_one_window_never_mix(live: Live, context: BrowserContext) -> None:
    """Frames of one window share the app's session storage; both launches are under way at the same time."""
    live.book("hollis", clinician_key="marwood")
    live.book("suri", clinician_key="marwood")
    page, home = context.new_page(), f"http://localhost:{live.sandbox.ports.home}"
    two = "<title>Two charts</title><iframe name=hollis></iframe><iframe name=suri></iframe>"
    page.route(f"{home}/two", lambda route: route.fulfill(content_type="text/html", body=two))
    page.goto(f"{home}/two")
    page.evaluate("urls => Object.entries(urls).forEach(([name, url]) => { frames[name].location = url })",
                  {name: live.launch_url(user="marwood", patient=name) for name in ("hollis", "suri")})
    for name, own, other in ("hollis", "Vanterpoole", "Dhawanika"), ("suri", "Dhawanika", "Vanterpoole"):
        frame = page.frame_locator(f"iframe[name={name}]")
        expect(frame.get_by_label("Patient", exact=True)).to_contain_text(own)
        assert other not in frame.locator("body").inner_text()
    assert page.frames[1].evaluate("Object.keys(sessionStorage).length") == 2


def test_cerners_frame_is_trusted_by_its_own_library(live: Live, context: BrowserContext) -> None:
    page = context.new_page()
    no_third_party_cookies(page)
    with framers(live):
        frame = framed(live, page, CERNER)
        expect(frame.get_by_role("button", name="Join in Teams")).to_be_visible()
        frame.get_by_role("button", name="Join in Teams").click()  # outside Citrix, by APPLINK
        expect(frame.locator("#outside")).to_be_visible()
        calls = "heard.filter(one => one.params && one.params[0] === 'invokeCOMApi')"
        page.wait_for_function(f"() => {calls}.length")
        (asked,) = page.evaluate(f"() => {calls}")
        assert asked["params"][1]["name"] == "APPLINK"
        assert asked["params"][1]["params"]["linkMode"] == 100
        assert asked["params"][1]["params"]["launchObject"].startswith(live.world.ports.url("teams"))
        assert len(context.pages) == 1


def test_a_strangers_frame_is_shown_nothing(live: Live, context: BrowserContext) -> None:
    page = context.new_page()
    with framers(live):
        frame = framed(live, page, STRANGER)
        expect(frame.get_by_role("button", name="Join in Teams", include_hidden=True)).to_be_attached()
        expect(frame.locator("html")).to_be_hidden()
        assert page.evaluate("() => heard") == []
        opened = context.new_page()
        opened.goto(live.launch_url(user="marwood", patient="odette").replace("launch=", "lunch="))
        expect(opened.get_by_role("heading", name="No launch code")).to_be_visible()
    with page.expect_event("requestfailed", lambda request: "/launch/" in request.url) as failed:
        framed(live, page, STRANGER)  # the connection's own list, which the browser itself keeps
    assert failed.value.failure == "net::ERR_BLOCKED_BY_RESPONSE"


def test_without_a_list_only_the_launch_and_visit_pages_leave_the_frame_to_the_library(live: Live) -> None:
    browser = Browser(live)
    with framers(live):
        visit = browser.launch(user="marwood", patient="odette")
        launch = live.launch_url(user="marwood", patient="odette")
        for path in launch, launch.replace("launch=", "lunch="), f"/visits/{visit.id}":
            answer = browser.get(path)
            assert "frame-ancestors" not in answer.headers["Content-Security-Policy"]
            assert '" hidden data-framers=""' in answer.text and "/static/frame.js" in answer.text
        for path in "/", browser.hand_off(visit), "/nothing", "/j/x", "/portal":
            assert "frame-ancestors 'none'" in browser.get(path).headers["Content-Security-Policy"]
    for path in "frame.js", "cerner-smart-embeddable-lib-1.7.0.min.js", "cerner-smart-embeddable-lib-1.7.0.LICENSE.txt":
        assert browser.get(f"/static/{path}").status_code == 200


def test_a_patient_in_a_portals_frame_goes_on_in_a_window(live: Live, context: BrowserContext) -> None:
    live.book("suri")
    page = context.new_page()
    with framers(live, CERNER):
        page.goto(f"{CERNER}/portal")
        page.evaluate("url => { document.querySelector('iframe').src = url }",
                      live.launch_url(persona="patient", patient="suri"))
        with context.expect_page() as opened:
            page.frame_locator("iframe").get_by_role("link", name="Open your video visit").click()
    expect(opened.value).to_have_title("Video visit")
    assert opened.value.evaluate("() => window.opener") is None
