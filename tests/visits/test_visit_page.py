"""The visit page in Chromium: every state by axe, in light and dark; the waiting light, sound, what a minute costs."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, expect

from connector.visits.meeting import visit_key
from connector.visits.presence import put_presence
from sandbox.cast import HARBOR
from sandbox.cerner import appointments
from tests.running import Live
from tests.sandbox.host_process import eventually
from tests.story.pages import DESKTOP, FRAME, Heard, Visitor

MARWOOD = HARBOR.clinicians[2]
# counts tones instead of playing them
COUNT_TONES = """window.tones = 0;
window.AudioContext = class {
  currentTime = 0;
  destination = {};
  resume() { return Promise.resolve(); }
  createOscillator() { return { frequency: {}, connect: (to) => to, start() { window.tones += 1; }, stop() {} }; }
  createGain() { return { gain: {}, connect: (to) => to }; }
};"""


class Desk:
    """A clinician's page on a visit of Rafael's, and the hands that move what it shows."""

    def __init__(self, live: Live, chromium: Chromium) -> None:
        self.live = live
        framers = {f"http://{name}:{live.sandbox.ports.home}" for name in ("localhost", "127.0.0.1")}
        self.visitor = Visitor(chromium, live.app, framers, Heard(), width=FRAME)
        self.visitor.context.add_init_script(COUNT_TONES)
        self.appointment = live.book("rafael", in_minutes=7, clinician_key="marwood")
        self.visit = visit_key(live.scope(), live.connection_id(), self.appointment)

    @property
    def page(self) -> Page:
        return self.visitor.page

    def open(self) -> None:
        self.page.goto(self.live.launch_url(user="marwood", patient="rafael"))
        self.page.locator(f'[data-pick="{self.live.pick(self.appointment)}"]').click()
        expect(self.page.locator("#waiting")).to_be_visible()

    def known(self, **columns: Any) -> None:
        now = self.live.world.now()
        told = {name: (now - timedelta(minutes=value, seconds=3)).isoformat()
                if name.endswith(("_at", "_since")) and value != "" else value for name, value in columns.items()}
        put_presence(self.live.scope(), self.live.connection_id(), self.visit, end=now + timedelta(hours=1), **told)
        self.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # somebody looks again

    def shows(self, text: str) -> None:
        expect(self.page.locator("#waiting p")).to_contain_text(re.compile(text))

    def look(self, title: str = "Video visit", *, widths: tuple[int, ...] = ()) -> None:
        for scheme in "light", "dark":
            self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            self.visitor.look(title, widths=widths)


@pytest.fixture
def desk(live: Live, chromium: Chromium) -> Iterator[Desk]:
    made = Desk(live, chromium)
    yield made
    made.visitor.close()


def test_each_state_is_told_apart_and_accessible(desk: Desk) -> None:
    desk.open()
    desk.shows("Not joined yet Has not opened the link")
    desk.look(widths=(DESKTOP, FRAME, 375))
    waiting = "({} min) Patient waiting".format
    on = {"live": "on", "live_at": 1, "lobby": 0, "lobby_since": "", "guests": 0, "staff": 0}
    states: list[tuple[dict[str, Any], str, str]] = [
        ({"opened_at": 9, "test": "camera_denied", "tested_at": 9}, "Not joined yet Opened the link", "Video visit"),
        ({"joined_at": 4}, "Tapped Join 4 minutes ago Teams does not say", waiting(4)),
        (on, "Tapped Join At .*, not in the lobby now", "Video visit"),
        ({"lobby": 2, "lobby_since": 6}, "2 people wait 6 minutes Since", waiting(6)),
        # an interpreter is in, the patient is not: nobody in the lobby is hidden by somebody in the call
        ({"lobby": 1, "guests": 1, "staff": 1}, "Waiting 6 minutes .* with 1 guest and 1 of staff in", waiting(6)),
        ({"lobby": 0, "lobby_since": "", "staff": 0}, "In the call without staff 1 guest", "Video visit"),
        ({"staff": 1, "test": "ok", "confirmed_for": "2031-03-04T15:30:00+00:00"}, "In the call 1 guest and 1 of staff",
         "Video visit"),
        # what was counted before counts no more once Teams tells nothing
        ({"live": "off", "live_at": 2, "browser": "old", "lobby": 1, "lobby_since": 9,
          "joined_at": 4},
         "Tapped Join 4 minutes ago Teams", waiting(4)),
        ({"staff_at": 3}, "Tapped Join At .*. Staff went in at", "Video visit"),
        ({"ended": "phone", "ended_at": 0, "late_minutes": 15, "late_at": 1}, "Completed by phone At", "Video visit"),
    ]
    for columns, text, title in states:
        desk.known(**columns)
        desk.shows(text)
        desk.look(title)
    chips = desk.page.locator("#chips").inner_text()
    assert re.search(r"Confirmed for Tue,? 9:30\s*AM", chips)
    for said in "Live status unavailable since", "Their browser is too old", "15 minutes late":
        assert said in chips
    assert "End meeting" in desk.page.locator("#ended").inner_text()
    desk.known(live="on")
    desk.shows("Still there: 1 in the lobby, 1 guest and 1 of staff in the call")


def test_the_other_pages_of_the_chart_are_accessible(live: Live, desk: Desk) -> None:
    desk.page.goto(live.launch_url(user="marwood", patient="rafael"))
    expect(desk.page.get_by_role("heading", name="Which visit?")).to_be_visible()
    desk.look()
    for tab in "My visits today", "This patient today", "Department":
        desk.page.get_by_role("button", name=tab, exact=True).click()
        expect(desk.page.get_by_role("button", name=tab, exact=True)).to_have_attribute("aria-current", "page")
        expect(desk.page).to_have_title(re.compile("Video visits today|waiting"))  # whoever else waits is counted
        desk.look(desk.page.title())
    desk.page.goto(live.launch_url("nordlys", user="skovbo", patient="greta"))
    expect(desk.page.get_by_role("heading", name="No video visit today")).to_be_visible()
    desk.look()


def test_whoever_waits_longest_comes_first_and_stays_live(live: Live, desk: Desk) -> None:
    live.book("hollis", in_minutes=50, clinician_key="marwood")
    desk.page.goto(live.launch_url(user="marwood"))  # from the Organizer: the board is the choice
    expect(desk.page.locator("#board tbody .text").first).not_to_be_empty()  # the script is there
    desk.known(lobby=1, lobby_since=50, live="on", live_at=50)  # longer than whom other tests let wait
    first = desk.page.locator("#board tbody tr").first
    expect(first).to_contain_text("Waiting 50 minutes")
    expect(first).to_contain_text("Quintaval, Rafaelo")
    expect(desk.page.locator("#announce")).to_have_text(re.compile(r"^\d+ waiting$"))
    first.get_by_role("button", name="Open").click()
    desk.shows("Waiting 50 minutes")
    desk.known(lobby=0, lobby_since="", live="off", live_at=0)


def test_a_board_left_open_reads_the_schedule_again_and_says_when_it_is_not_up_to_date(live: Live, desk: Desk) -> None:
    page, stale = desk.page, desk.page.locator("#stale")

    def later(minutes: float) -> None:
        page.clock.run_for(minutes * 60_000)
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # somebody looks again

    page.clock.install()
    page.goto(live.launch_url(user="marwood"))
    expect(page.locator("#board tbody .text").first).not_to_be_empty()
    new = page.locator(f'tr[data-pick="{live.pick(live.book("hollis", in_minutes=70, clinician_key="marwood"))}"]')
    page.locator("#board tbody button").first.focus()
    later(6)
    expect(new).to_contain_text("Not joined yet")
    assert page.evaluate("document.activeElement.textContent") == "Open"
    with live.down("cerner"):
        later(6)
        expect(stale).to_contain_text("The schedule cannot be read now")
    page.context.route("**/board", lambda route: route.abort())
    later(1)
    expect(stale).to_contain_text("No connection since")
    expect(new).to_be_visible()
    page.context.unroute("**/board")
    later(6)
    expect(stale).to_be_hidden()


def test_sound_is_off_until_wanted_and_remembered_by_this_browser(desk: Desk) -> None:
    tones: Callable[[], int] = lambda: int(desk.page.evaluate("window.tones"))  # noqa: E731
    desk.open()
    desk.known(live="on", live_at=0, lobby=1, lobby_since=0)
    desk.shows("just arrived")
    assert tones() == 0
    desk.page.get_by_role("button", name="Sound is off").click()
    expect(desk.page.get_by_role("button", name="Sound is on")).to_have_attribute("aria-pressed", "true")
    assert tones() == 2  # so that one knows what it sounds like
    desk.known(lobby_since=1)
    desk.shows("Waiting 1 minute Since")
    assert tones() == 4
    desk.page.reload()
    expect(desk.page.get_by_role("button", name="Sound is on")).to_be_visible()
    expect(desk.page.locator("#waiting .light")).to_have_css("animation-name", "pulse")
    desk.page.emulate_media(reduced_motion="reduce")
    expect(desk.page.locator("#waiting .light")).to_have_css("animation-name", "none")


def test_an_open_page_asks_little_less_when_hidden_and_says_when_it_knows_nothing(live: Live, desk: Desk) -> None:
    desk.open()
    asked: Counter[int] = Counter()
    sizes: list[int] = []

    def count(response: Any) -> None:
        if response.url.endswith("/status"):
            asked[response.status] += 1
            sizes.append(sum(len(name) + len(value) + 4 for name, value in response.headers.items()))

    desk.page.clock.install()
    desk.page.reload()
    expect(desk.page.locator("#waiting")).to_be_visible()
    desk.page.clock.pause_at(datetime.now(UTC) + timedelta(minutes=1))  # a slow machine makes no minute longer
    desk.page.context.on("response", count)
    passed = 0

    def five_seconds() -> int:
        """How many questions were answered until now; the next is planned when the last is answered."""
        nonlocal passed
        passed += 1
        desk.page.clock.run_for(5000)
        desk.page.wait_for_timeout(50)
        return sum(asked.values())

    for times in range(12):
        eventually(lambda times=times: five_seconds() > times)  # type: ignore[misc]
    assert asked[304] >= sum(asked.values()) - 1 and sum(asked.values()) <= passed + 1
    assert sum(sizes) / 1024 < sum(asked.values()), "bytes of an answer"
    asked.clear()
    desk.page.evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
    for _ in range(12):
        desk.page.clock.run_for(5000)
        desk.page.wait_for_timeout(50)
    assert sum(asked.values()) <= 3
    desk.page.evaluate("Object.defineProperty(document, 'hidden', { value: false })")
    desk.page.context.route("**/status", lambda route: route.abort())
    box = desk.page.locator("#waiting")
    eventually(lambda: five_seconds() is not None and box.get_attribute("data-state") == "lost")
    expect(box).to_contain_text(re.compile("No connection since .* Not joined yet"))
    desk.page.context.unroute("**/status")
    eventually(lambda: five_seconds() and box.get_attribute("data-state") != "lost")
    expect(box).not_to_contain_text("No connection since")


def test_an_open_page_says_when_its_appointment_was_moved_or_cancelled(live: Live, desk: Desk) -> None:
    page, changed = desk.page, desk.page.locator("#changed")
    page.clock.install()
    desk.open()
    before = page.locator("#visit h1").inner_text()
    appointments.move(live.world, "harbor", desk.appointment, live.world.now() + timedelta(minutes=45))
    page.clock.run_for(240_000)
    expect(changed).to_be_hidden()
    page.clock.run_for(90_000)
    expect(changed).to_be_visible()
    changed.get_by_role("button", name="Read again").click()
    expect(page.locator("#visit h1")).not_to_have_text(before)
    expect(changed).to_be_hidden()
    appointments.cancel(live.world, "harbor", desk.appointment)
    page.clock.run_for(330_000)
    expect(changed).to_be_visible()


def test_an_ended_session_asks_to_open_it_from_the_chart_again(live: Live, desk: Desk) -> None:
    desk.open()
    live.expire("visit.")
    expect(desk.page.get_by_role("heading", name="Please open it from the chart again")).to_be_visible()
    assert "patient's chart" in desk.page.inner_text("#content")


def test_sending_revoking_and_copying_say_what_happened(live: Live, desk: Desk) -> None:
    desk.open()
    page, done = desk.page, desk.page.locator("#done")
    page.get_by_role("button", name="Send the link").click()
    expect(done).to_contain_text(re.compile(r"Sent to \+1•+63\."))
    page.get_by_label("Another number").check()
    page.get_by_label("Mobile number").fill("12")
    page.get_by_role("button", name="Send the link").click()
    expect(page.locator("#problem")).to_contain_text("not a mobile number")
    page.get_by_label("Minutes late").select_option("20")
    page.get_by_role("button", name="Tell the patient").click()
    expect(done).to_contain_text("Sent to")
    expect(page.locator("#chips")).to_contain_text("20 minutes late")
    before = page.get_attribute("#patient-link", "data-copy")
    page.get_by_role("button", name="Revoke it").click()
    expect(page.locator("#problem")).to_contain_text("Every link that was given out will stop working")
    page.get_by_role("button", name="Yes, revoke it").click()
    expect(done).to_contain_text("is void")
    assert page.get_attribute("#patient-link", "data-copy") != before
    expect(page.get_by_role("button", name="Revoke it")).to_be_visible()  # a third click asks again
    page.get_by_role("button", name="End the visit").click()
    expect(page.get_by_role("button", name="Open the link again")).to_be_visible()
    page.get_by_role("button", name="Open the link again").click()
    expect(page.get_by_role("button", name="End the visit")).to_be_visible()
    live.world.outbox.clear()
