"""The patient's pages in a browser: every state in every language, small, quick, and without what a phone may lack."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import BrowserContext, Page, Response, expect

from connector.languages import OFFERED, Language
from sandbox.cerner import appointments
from tests.browser import chromium as chromium_browser
from tests.running import Live
from tests.sandbox.host_process import eventually
from tests.story.pages import _RUN_AXE, _TOO_WIDE, _axe, check_html, header_faults
from tests.visits.patient_states import STATES, see, tokens

FIRST_LOAD_BYTES = 30_000
FIRST_LOAD_REQUESTS = 5
SLOW_3G = {"offline": False, "latency": 400, "downloadThroughput": 50_000, "uploadThroughput": 50_000}
"""Chromium's own profile of a slow mobile network: 400 ms, 400 kbit/s."""
BLOCKING = """performance.getEntriesByType("resource").filter((one) => one.renderBlockingStatus === "blocking")
  .map((one) => one.name)"""
QUICK = "let now = 0; performance.now = () => (now += 10);"
"""A line and a machine that are quick enough, whatever else this one does."""
DESKTOP = {"viewport": {"width": 1280, "height": 800}, "has_touch": False}
NOTED = """
window.noted = {locks: 0, tones: 0};
if (navigator.wakeLock)
  navigator.wakeLock.request = async () => { noted.locks += 1; return {released: false}; };
const start = OscillatorNode.prototype.start;
OscillatorNode.prototype.start = function (at) { noted.tones += 1; start.call(this, at); };
"""
"""Headless Chromium has neither a screen to keep on nor a loudspeaker."""
MUTE = "AudioContext.prototype.resume = () => new Promise(() => {});"
"""Firefox, where nothing can play."""
JOINED = re.compile("You are (waiting for your clinic|not in the waiting room)")
"""Until Teams tells of the lobby, or as soon as it does."""
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def links(live: Live) -> dict[str, str]:
    return tokens(live)


@pytest.fixture
def opened(chromium: Chromium, live: Live) -> Iterator[Open]:
    """A phone that opens addresses of the app; nothing may be wrong in its console, nothing come from elsewhere."""
    contexts: list[BrowserContext] = []
    heard: list[str] = []
    ours = (live.app, live.world.ports.url("teams"))

    def open_(path: str, script: str = "", **options: Any) -> Page:
        settings: dict[str, Any] = {"viewport": {"width": 375, "height": 667}, "locale": "en-US", "is_mobile": True,
                                    "has_touch": True, "timezone_id": "America/Chicago", "ignore_https_errors": True}
        context = chromium.new_context(**settings | ({"is_mobile": False} if "has_touch" in options else {}) | options)
        context.set_default_timeout(chromium_browser.PATIENCE_MS)
        contexts.append(context)
        context.on("request", lambda asked: None if asked.url.startswith(ours) else heard.append(asked.url))
        context.on("console", lambda said: heard.append(said.text) if said.type in ("error", "warning")
                   and said.location["url"].startswith(live.app) and "with a status of" not in said.text else None)
        context.on("weberror", lambda raised: heard.append(str(raised.error)))
        context.add_init_script(script)
        page = context.new_page()
        page.goto(live.app + path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert heard == []


@pytest.mark.timeout(300)
def test_every_state_is_whole_in_every_language(live: Live, opened: Open, links: dict[str, str]) -> None:
    page = opened("/health", viewport={"width": 320, "height": 640})
    answers: list[Response] = []
    page.on("response", lambda one: answers.append(one))
    clinic = f"/j?clinic={live.connection_id()}"
    pages = {state: f"/j/{links[state]}?" for state in STATES}
    pages |= {more: f"/j/{links['open']}/{more}?" for more in ("test", "stop")}
    pages |= {"lost": "/j?", "none": f"{clinic}&none=1", "which": "/j?clinic=azzzzzzzz"}
    headings: defaultdict[str, set[str]] = defaultdict(set)

    def whole(state: str, tag: str) -> None:
        language = Language("patient", tag)
        titles = {"wrong": "This link does not work", "stop": "Text messages"}
        assert page.title() == language.gettext(titles.get(state, "Video visit"))
        root = page.locator("html")
        assert (root.get_attribute("lang"), root.get_attribute("dir")) == (tag, language.direction)
        assert page.evaluate(_TOO_WIDE) <= 0, f"{state} in {tag} scrolls sideways at 320 px"
        headings[state].add(page.locator("h1").inner_text())
        if tag == "en" or (tag == "ar" and state in ("early", "open", "waiting", "trouble", "test", "lost")):
            page.evaluate(_axe())
            assert page.evaluate(_RUN_AXE) == [], f"{state} in {tag}"
            came = next(one for one in reversed(answers) if one.request.resource_type == "document")
            check_html(came.text())
            assert header_faults(came.headers, set()) == []
        page.evaluate("document.documentElement.style.fontSize = '225%'")  # who needs large letters
        assert page.evaluate(_TOO_WIDE) <= 0, f"{state} in {tag} scrolls sideways with large letters"
        assert page.locator(".top strong").evaluate("one => one.clientWidth") > 120, f"{state} in {tag}: header"

    unseen, unmade = (f"/j/{live.join_token(live.book('suri'))}" for _ in range(2))
    for n, tag in enumerate(OFFERED["patient"]):
        for state, path in pages.items():
            page.goto(f"{live.app}{path}&lang={tag}")
            whole(state, tag)
        page.goto(f"{live.app}{clinic}&lang={tag}")
        page.locator("#contact").fill(f"+1312555{100 + n:04d}")
        with page.expect_navigation():
            page.locator("form button").click()
        whole("asked", tag)
        with live.down("cerner"):
            page.goto(f"{live.app}{unseen}?lang={tag}")
            whole("unreachable", tag)
        with live.down("graph"):
            page.goto(f"{live.app}{unmade}?lang={tag}")
            with page.expect_navigation():
                page.locator("#join").click()
            whole("trouble", tag)
    assert len(headings) == len(pages) + 3
    assert {state for state, found in headings.items() if len(found) < len(OFFERED["patient"])} == set()


def test_the_first_load_is_small_and_its_address_says_nothing(live: Live, opened: Open, links: dict[str, str]) -> None:
    for state in "early", "open", "waiting":  # the longest
        page, came = opened("/health"), list[Response]()
        page.on("response", lambda one, came=came: came.append(one))
        with page.expect_response("**/presence"):  # the last that a fresh page asks for; ten seconds later, again
            page.goto(f"{live.app}/j/{links[state]}")
        page.wait_for_load_state()
        size = sum(len(one.body()) + sum(len(n) + len(v) + 4 for n, v in one.headers.items()) for one in came)
        assert size < FIRST_LOAD_BYTES and len(came) <= FIRST_LOAD_REQUESTS, (state, size, len(came))
        assert urlsplit(page.url).path == f"/j/{links[state]}" and not urlsplit(page.url).query


def test_on_a_slow_mobile_network_the_button_is_there_in_seconds(opened: Open, links: dict[str, str]) -> None:
    """What it takes by the network's own figures, whatever else this machine does: a round trip to connect, one for the
    page, one for what the browser must have before it shows anything, and the bytes of both."""
    page, came = opened("/health"), dict[str, Response]()
    page.on("response", lambda one: came.update({one.url: one}))
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", SLOW_3G)
    page.goto(f"{urlsplit(page.url)._replace(path='/j/' + links['open']).geturl()}", wait_until="commit")
    page.get_by_role("button", name="Join now").wait_for()
    page.wait_for_load_state()
    needed = [page.url, *page.evaluate(BLOCKING)]
    size = sum(len(came[url].body()) + 1000 for url in needed)
    assert len(needed) > 1 and SLOW_3G["latency"] / 1000 * 3 + size / SLOW_3G["downloadThroughput"] < 3


def test_without_javascript_everything_is_there(live: Live, opened: Open) -> None:
    ahead = opened(f"/j/{live.join_token(live.book('suri', in_minutes=600))}", java_script_enabled=False)
    ahead.get_by_role("link", name="Test camera and sound").click()
    expect(ahead.get_by_role("heading", name="Test camera and sound")).to_be_visible()
    ahead.wait_for_load_state()
    assert "This test needs JavaScript" in ahead.content()
    ahead.get_by_role("link", name="Back to your visit").click()
    with ahead.expect_download() as download:
        ahead.get_by_role("link", name="Add to calendar").click()
    assert download.value.suggested_filename == "video-visit.ics"
    page = opened(f"/j/{live.join_token(live.book('suri'))}", java_script_enabled=False)
    expect(page.locator(".js:visible")).to_have_count(0)
    page.locator(".languages summary").click()
    page.get_by_role("link", name="Français").click()
    page.get_by_role("button", name="Rejoindre maintenant").click()
    page.wait_for_url(f"{live.world.ports.url('teams')}/**")
    wrong = opened("/j/aNotOurs", java_script_enabled=False)
    wrong.locator(".languages summary").click()
    wrong.get_by_role("link", name="Español").click()
    wrong.get_by_role("link", name="Recibir su enlace otra vez").click()
    expect(wrong.locator("html")).to_have_attribute("lang", "es")


def test_from_link_to_lobby_it_is_one_button_by_thumb_or_by_keyboard(live: Live, opened: Open) -> None:
    page = opened(f"/j/{live.join_token(live.book('suri'))}")
    expect(page.get_by_role("button")).to_have_count(1)
    expect(page.get_by_role("button")).to_be_visible()
    box = page.get_by_role("button").bounding_box()
    assert box and box["y"] + box["height"] < 667 and box["height"] >= 60  # without scrolling
    for _ in range(2):
        page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Join now")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url(f"{live.world.ports.url('teams')}/**")
    page.go_back()
    expect(page.locator("h1")).to_have_text(JOINED)
    page.locator("#join").click()
    page.wait_for_url(f"{live.world.ports.url('teams')}/**")


def test_beside_teams_the_page_waits_and_says_what_happens(live: Live, opened: Open) -> None:
    appointment = live.book("suri", in_minutes=-1)
    page = opened(f"/j/{live.join_token(appointment)}", script=NOTED, **DESKTOP)
    expect(page.get_by_role("button", name="Join now")).to_be_visible()
    with page.context.expect_page() as second:
        page.get_by_role("button", name="Join now").click()
    second.value.wait_for_url(f"{live.world.ports.url('teams')}/**")
    assert second.value.evaluate("window.opener") is None
    look_again = "document.dispatchEvent(new Event('visibilitychange'))"
    heading = page.locator("h1")
    for columns, text in (
        ({}, JOINED),
        ({"live": "on", "lobby": 0}, "You are not in the waiting room"),
        ({"live": "on", "lobby": 1, "lobby_since": live.world.now().isoformat()}, "You are waiting for your clinic"),
        ({"live": "on", "lobby": 0, "lobby_since": "", "guests": 1}, "Your visit is in progress"),
        ({"ended": "closed", "ended_at": live.world.now().isoformat()}, "This visit is over"),
    ):
        if columns:
            see(live, appointment, **columns)
        page.evaluate(look_again)
        expect(heading).to_have_text(text)
        if columns.get("lobby"):
            page.get_by_label("Play a sound here when I am let in").wait_for()
            expect(heading).to_be_focused()
            page.get_by_label("Play a sound here when I am let in").check()
            expect(page.locator("#awake")).to_be_visible()
            assert page.evaluate("noted") == {"locks": 1, "tones": 0}
    assert page.evaluate("noted.tones") == 3


def test_a_tab_that_lay_in_the_background_shows_what_is_so_now(live: Live, opened: Open) -> None:
    appointment = live.book("suri", in_minutes=300)
    page = opened(f"/j/{live.join_token(appointment)}")
    page.get_by_text("Use another device").click()

    def come_back(minutes: int) -> None:
        page.evaluate(f"Date.now = () => performance.timeOrigin + {minutes} * 60000;"
                      "document.dispatchEvent(new Event('visibilitychange'))")

    with page.expect_response(f"**/j/{live.join_token(appointment)}"):
        come_back(10)
    expect(page.locator("#link")).to_be_visible()  # nothing changed, nothing closes
    appointments.move(live.world, "harbor", appointment, live.world.now() + timedelta(minutes=5))
    come_back(20)
    expect(page.get_by_role("button", name="Join now")).to_be_visible()
    expect(page.locator("h1")).to_be_focused()


def test_a_clinic_that_runs_late_is_heard_on_an_open_page(live: Live, opened: Open) -> None:
    appointment = live.book("suri", in_minutes=10)
    page = opened(f"/j/{live.join_token(appointment)}")
    expect(page.get_by_text("Your clinic is running late")).to_have_count(0)
    see(live, appointment, late_minutes=25, late_at=live.world.now().isoformat())
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.get_by_text("It expects to see you at about")).to_be_visible()


def test_the_time_on_this_device_is_said_where_it_is_another(live: Live, opened: Open) -> None:
    token = live.join_token(live.book("suri", in_minutes=180))
    here = opened(f"/j/{token}")
    expect(here.locator("#own-clock")).to_be_hidden()
    away = opened(f"/j/{token}", timezone_id="Europe/Paris")
    expect(away.locator("#own-clock b")).not_to_be_empty()
    expect(away.locator("#own-clock")).to_be_visible()


def test_somebody_else_is_invited_from_the_page(opened: Open, links: dict[str, str], live: Live) -> None:
    page = opened(f"/j/{links['open']}")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=live.app)
    page.get_by_text("Use another device, or invite somebody").click()
    expect(page.get_by_text("Your clinic decides who comes in.")).to_be_visible()
    page.get_by_role("button", name="Copy the link").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == f"{live.app}/j/{links['open']}"


def test_it_can_be_read_in_high_contrast_and_in_the_dark(opened: Open, links: dict[str, str]) -> None:
    page = opened(f"/j/{links['open']}")
    css = page.evaluate("fetch('/static/patient.css').then(answer => answer.text())")
    assert len(css) > 1000 and not re.search(r"animation|transition|scroll-behavior", css)  # nothing moves, for anybody
    page.evaluate(_axe())
    for how in {"forced_colors": "active"}, {"forced_colors": "none", "color_scheme": "dark"}:
        page.emulate_media(**how)  # type: ignore[arg-type]
        assert page.evaluate(_RUN_AXE) == [], how


# the device test


@pytest.fixture
def refusing(chromium: Chromium) -> Iterator[Chromium]:
    """A browser whose person says no to camera and microphone."""
    executable, environment = chromium_browser.find()
    said_no = [f"{one}=deny" if one == "--use-fake-ui-for-media-stream" else one for one in chromium_browser.ARGUMENTS]
    browser = chromium.browser_type.launch(executable_path=executable, args=said_no, env=environment)
    yield browser
    browser.close()


def stored(live: Live, appointment: str) -> dict[str, Any]:
    visit = live.scope().index("visit", live.connection_id(), appointment)
    key = {"p": live.connection_id(), "r": f"p.{visit}"}
    found = live.table("Visits").query_entities("PartitionKey eq @p and RowKey eq @r", parameters=key)
    return dict(next(iter(found), {}))


def test_a_device_that_works_is_told_so_and_the_clinic_too(live: Live, opened: Open) -> None:
    appointment = live.book("suri", in_minutes=3 * 24 * 60)
    page = opened("/health")
    page.add_init_script(QUICK)
    page.goto(f"{live.app}/j/{live.join_token(appointment)}/test")
    sent: list[str | None] = []
    page.on("request", lambda asked: sent.append(asked.post_data) if asked.method == "POST" else None)
    page.get_by_role("button", name="Start the test").click()
    expect(page.locator("#check-camera")).to_have_attribute("data-state", "good")
    expect(page.locator("#check-microphone")).to_have_attribute("data-state", "good")
    page.get_by_role("button", name="Play it again").click()
    page.get_by_role("button", name="Yes").click()
    expect(page.get_by_text("All is well")).to_be_visible()
    page.evaluate(_axe())
    assert page.evaluate(_RUN_AXE) == []
    row = stored(live, appointment)
    assert row["test"] == "ok" and row["tested_at"] and sent == ['{"result":"ok"}']
    assert row["end"] > (live.world.now()).isoformat()  # kept until after the visit
    assert not page.evaluate("document.getElementById('preview').srcObject.active")  # the camera is off again


def test_a_denied_permission_is_explained_for_this_browser(live: Live, refusing: Chromium) -> None:
    appointment = live.book("suri", in_minutes=300)
    page = refusing.new_page(viewport={"width": 375, "height": 667})
    page.set_default_timeout(chromium_browser.PATIENCE_MS)
    page.goto(f"{live.app}/j/{live.join_token(appointment)}/test")
    page.get_by_role("button", name="Start the test").click()
    for name in "camera", "microphone":
        row = page.locator(f"#check-{name}")
        expect(row).to_have_attribute("data-state", "bad")
        expect(row.get_by_text("Chrome: click the picture")).to_be_visible()
        expect(row.get_by_text("iPhone and iPad").first).to_be_hidden()
    page.get_by_role("button", name="No", exact=True).click()
    expect(page.get_by_text("Something needs help.")).to_be_visible()
    page.evaluate(_axe())
    assert page.evaluate(_RUN_AXE) == []
    assert stored(live, appointment)["test"] == "camera_denied"
    page.context.close()


@pytest.mark.parametrize(
    ("agent", "result"),
    [("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "browser_other"),
     ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148", "browser_other"),
     ("Mozilla/5.0 (Linux; Android 14; SM-A146B) SamsungBrowser/25.0 Chrome/121.0 Mobile", "browser_other")],
)
def test_a_browser_in_which_teams_does_not_work_is_named(live: Live, opened: Open, agent: str, result: str) -> None:
    appointment = live.book("suri", in_minutes=5)
    token = live.join_token(appointment)
    page = opened(f"/j/{token}", user_agent=agent, script=MUTE)
    expect(page.get_by_text("The video may not work in this browser.")).to_be_visible()
    eventually(lambda: stored(live, appointment).get("browser"))
    page.goto(f"{live.app}/j/{token}/test")
    page.get_by_role("button", name="Start the test").click()
    expect(page.locator("#check-browser")).to_have_attribute("data-state", "bad")
    page.get_by_role("button", name="Yes").click()
    expect(page.get_by_text("Something needs help.")).to_be_visible()
    row = stored(live, appointment)
    assert (row["test"], row["browser"]) == (result, "old")
