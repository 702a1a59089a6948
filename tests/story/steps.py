"""The story of one hospital, step by step, as its people live it. Each step ends when its outcome was seen.

Administrator, front desk, scheduling, patient and clinician act through browsers and the sandbox's control API.
"""

import re
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import requests
from playwright.sync_api import Browser, Page, expect

from connector import settings
from connector.keys import JoinToken, Sealer
from sandbox.supervisor import Sandbox
from tests.story import leaks
from tests.story.pages import EVERY_WIDTH, FRAME, PHONE, Heard, Visitor

RECOVERY_S = 300.0
"""In which a killed worker's claim has been swept (75 s and the sweep's minute) and its scan is given up (2 min)."""


def eventually(look: Callable[[], Any], what: str, within_s: float = 60.0, every_s: float = 0.02) -> Any:
    """The first true value of `look`."""
    deadline = time.monotonic() + within_s
    while not (seen := look()):
        assert time.monotonic() < deadline, f"it did not happen: {what}"
        time.sleep(every_s)
    return seen


class Story:
    """One hospital's story. The steps are methods without arguments; `STEPS` is their order."""

    def __init__(
        self,
        sandbox: Sandbox,
        browser: Browser,
        hospital: str,
        heard: Heard,
        *,
        outages: bool = False,
        closely: bool = True,
    ) -> None:
        """`closely`: pages are also looked at by axe and in every width."""
        self.sandbox, self.world = sandbox, sandbox.world
        self.hospital = self.world.hospitals[hospital]
        self.registration = self.world.registrations[hospital]
        self.clinician = self.hospital.clinicians[0]
        self.patient = self.hospital.patients[2]  # has no video visit of their own today
        self.app = sandbox.ports.url("app")
        self._home = sandbox.ports.url("home")
        self.between: Callable[[], None] = lambda: None
        """Called between discovery and dispatch."""
        self._browser, self._heard, self._outages, self._closely = browser, heard, outages, closely
        self._keys: dict[str, settings.Key] = {}
        self._visitors: list[Visitor] = []
        self._booked: list[str] = []
        self._session = requests.Session()
        self._session.trust_env = False

    def close(self) -> None:
        for visitor in self._visitors:
            visitor.close()
        self._session.close()

    def visitor(self, width: int = EVERY_WIDTH[0]) -> Visitor:
        framers = {f"http://{name}:{self.sandbox.ports.home}" for name in ("localhost", "127.0.0.1")}
        made = Visitor(
            self._browser, self.app, framers, self._heard, width=width, outages=self._outages, closely=self._closely
        )
        self._visitors.append(made)
        return made

    def control(self, path: str, **body: Any) -> Any:
        answer = self._session.post(f"{self._home}/_control/{path}", json=body, timeout=30)
        assert answer.ok, answer.text
        return answer.json()

    # the steps

    def administrator_sees_the_configuration(self) -> None:
        admin = self.visitor()
        admin.page.goto(self.app)
        admin.look("Teams EHR connector", widths=EVERY_WIDTH)
        admin.page.get_by_role("link", name="Sign in to the configuration portal").click()
        self.pick(admin.page, self.hospital.users[0].name)
        expect(admin.page.get_by_role("heading", name="Overview", exact=True)).to_be_visible()
        text = admin.look("Overview", widths=EVERY_WIDTH)
        hospital, of_connection = self.hospital, f"portal/connections/{self.registration.connection}"
        for path in [*(f"{of_connection}/{tab}" for tab in ("records", "departments", "history")), "portal/numbers"]:
            admin.page.goto(f"{self.app}/{path}")
            text += admin.look(re.compile(".+"), widths=EVERY_WIDTH)
            text += " ".join(field.input_value() for field in admin.page.locator("input[type=text]").all())
        shown = [hospital.name, hospital.departments[0].name, hospital.sender_value]
        shown += [self.registration.provider_launch_url, self.registration.patient_launch_url]
        shown += [self.registration.redirect_uri, *self.hospital.departments[0].location_ids]
        assert [value for value in shown if value not in text] == []
        for other in self.world.hospitals.values():
            if other is not hospital:
                assert other.name not in text and other.tid not in text

    def ordinary_user_is_refused(self) -> None:
        user = self.visitor()
        user.page.goto(f"{self.app}/portal")
        self.pick(user.page, self.hospital.users[1].name)
        text = user.look("You need another role", status=403, widths=EVERY_WIDTH)
        assert "Global Administrator" in text and "Connector.Configure" in text
        user.page.locator("details.menu summary").click()
        user.page.get_by_role("button", name="Sign out", exact=True).click()
        user.look("Teams EHR connector")

    def pages_in_passing_and_wrong_addresses(self) -> None:
        """The pages that their script leaves at once, held still; and where nothing is."""
        held = self.visitor()
        held.context.route("**/static/*.js", lambda route: route.fulfill(content_type="text/javascript", body=""))
        self.launch(held)
        held.look("Opening the visit", widths=EVERY_WIDTH)
        held.page.goto(f"{self.app}/launch/callback?state={self.registration.connection}.none")
        held.look("Opening the visit", widths=EVERY_WIDTH)
        lost = self.visitor(PHONE)
        lost.page.goto(f"{self.app}/visits/{self.registration.connection}-none")
        expect(lost.page.get_by_role("heading", name="The visit cannot be shown")).to_be_visible()
        lost.look("Video visit")
        for path, title in (("j/aaaaaaaaaaaa", "This link does not work"), ("nothing", "Page not found")):
            lost.page.goto(f"{self.app}/{path}")
            assert "Reference" in lost.look(title, status=404)

    def visit_is_booked_and_texted(self) -> None:
        self.book(45, kind="ordinary")
        self.visit = self.book(50)
        self.starts = self._start(self.visit)
        self.run_timers()
        self.link = eventually(lambda: self._tick(self.visit), "the visit's SMS", RECOVERY_S)
        (message,) = [one for one in self.world.outbox if self.link in one.text]
        assert (message.to, message.sender) == (self.patient.mobile, self.hospital.sender_value)
        assert message.region == self.hospital.region and self.hospital.name in message.text
        local = self.starts.astimezone(ZoneInfo(self.hospital.time_zone))
        assert re.search(rf"\b({local:%H}|{local.hour % 12 or 12})[:.]{local:%M}\b.* {local:%Z}", message.text)

    def patient_is_early(self) -> None:
        self.phone = self.visitor(PHONE)
        self.phone.page.goto(self.link)
        assert "You can join from" in self.phone.look("Video visit", widths=(PHONE, FRAME))
        self.world.advance(self.starts - timedelta(minutes=20) - self.world.now())

    def clinician_signs_in_once(self) -> None:
        self.desk = self.visitor()
        self.launch(self.desk)
        sign_in = self.desk.page.get_by_role("button", name="Sign in with Microsoft")
        expect(sign_in).to_be_visible()
        text = self.desk.look("Video visit", widths=EVERY_WIDTH)
        assert "Not joined yet" in text
        with self.desk.context.expect_page() as opened:
            sign_in.click()
        window = opened.value
        self.pick(window, self.clinician.entra_name)
        expect(window.get_by_role("heading", name="Type this code into the visit page")).to_be_visible()
        shown = self.desk.look("Sign-in code", widths=EVERY_WIDTH, page=window)
        assert self.clinician.upn in shown and f"{self.clinician.family}, {self.clinician.given}" in shown
        digits = window.locator(".code").inner_text()
        window.close()
        self.desk.page.get_by_label("six digits").fill(digits)
        self.desk.look("Video visit", widths=EVERY_WIDTH)
        self.desk.page.get_by_role("button", name="Link my account").click()
        expect(self.desk.page.get_by_role("status").filter(has_text="Linked")).to_contain_text(self.clinician.entra_name)
        self.desk.look("Video visit", widths=EVERY_WIDTH)

    def patient_joins(self) -> None:
        self.phone.page.goto(self.link)
        self.phone.look("Video visit", widths=(PHONE, FRAME))
        self.phone.page.get_by_role("button", name="Join now").press("Enter")
        self.enter_teams(self.phone.page)
        expect(self.phone.page.get_by_text("You are in the lobby")).to_be_visible()

    def clinician_sees_and_admits(self) -> None:
        expect(self.desk.page.locator("#waiting")).to_contain_text("Waiting")
        call = self.join_in_teams(self.desk)
        assert self.clinician.entra_name not in self.desk.page.inner_text("body")
        expect(call.get_by_role("heading", name="Waiting in the lobby (1)")).to_be_visible()
        call.get_by_role("button", name="Admit").click()
        expect(call.get_by_role("heading", name="Waiting in the lobby (0)")).to_be_visible()
        expect(self.phone.page.get_by_text("You are connected")).to_be_visible()
        (meeting,) = self.meetings()
        assert meeting.body["subject"] == "Video visit"
        assert [person.state for person in meeting.participants] == ["connected", "connected"]

    def second_launch_needs_no_sign_in(self) -> None:
        before = self.world.requests["entra", "authorize"]
        fresh = self.visitor(FRAME)
        self.launch(fresh)
        expect(fresh.page.get_by_role("button", name="Join in Teams")).to_be_visible()
        fresh.look("Video visit")
        self.join_in_teams(fresh)
        assert self.world.requests["entra", "authorize"] == before
        assert len(self.meetings()) == 1

    def powerchart_frames_the_visit(self) -> None:
        framed = self.visitor()
        who = f"hospital={self.hospital.key}&user={self.clinician.key}&patient={self.patient.key}"
        framed.page.goto(f"http://localhost:{self.sandbox.ports.home}/powerchart?{who}")
        app = framed.page.frame_locator("iframe")
        expect(app.get_by_role("button", name="Join in Teams")).to_be_visible()

    def second_visit_is_chosen(self) -> None:
        second = self.book(100)
        chooser = self.visitor()
        self.launch(chooser)
        expect(chooser.page.get_by_role("heading", name="Which visit?")).to_be_visible()
        chooser.look("Video visit", widths=EVERY_WIDTH)
        choices = chooser.page.locator("[data-action=pick]")
        assert choices.count() == 2
        choices.nth(1).click()
        expect(chooser.page.get_by_role("button", name="Join in Teams")).to_be_visible()
        chooser.look("Video visit")
        link = chooser.page.get_attribute("#patient-link", "data-copy") or ""
        assert self.appointment_of(link) == second

    def patient_portal_leads_to_the_join_page(self) -> None:
        portal = self.visitor(PHONE)
        launch = self.control("launch", persona="patient", hospital=self.hospital.key, patient=self.patient.key)
        portal.page.goto(launch["url"])
        expect(portal.page.get_by_role("heading", name="Your visit is in progress")).to_be_visible()
        portal.look("Video visit")
        assert self.appointment_of(portal.page.url) == self.visit

    def everybody_is_texted_once(self) -> None:
        """Every video visit that was booked since messages were switched on one confirmation, nothing else any; what
        was there before is reminded of, each time once."""
        self.run_timers()
        self.run_timers()
        eventually(lambda: len(self.texts()) >= len(self._booked), "the remaining texts", RECOVERY_S)
        assert self.texts() == Counter(self._booked)
        assert not [text for text, count in Counter(self._sent("eminder")).items() if count > 1]

    def no_browser_complained(self) -> None:
        for visitor in self._visitors:
            visitor.check_silent()

    STEPS = (
        administrator_sees_the_configuration,
        ordinary_user_is_refused,
        pages_in_passing_and_wrong_addresses,
        visit_is_booked_and_texted,
        patient_is_early,
        clinician_signs_in_once,
        patient_joins,
        clinician_sees_and_admits,
        second_launch_needs_no_sign_in,
        powerchart_frames_the_visit,
        second_visit_is_chosen,
        patient_portal_leads_to_the_join_page,
        everybody_is_texted_once,
        no_browser_complained,
    )

    # what the steps are made of

    def book(self, in_minutes: int, kind: str = "native") -> str:
        who = {"hospital": self.hospital.key, "patient": self.patient.key}
        made = str(self.control("appointments", **who, in_minutes=in_minutes, kind=kind)["id"])
        self._booked += [made] if kind != "ordinary" else []
        return made

    def launch(self, visitor: Visitor) -> None:
        """Open the patient's chart and in it the app."""
        who = {"hospital": self.hospital.key, "user": self.clinician.key, "patient": self.patient.key}
        visitor.page.goto(self.control("launch", persona="provider", **who)["url"])

    def pick(self, page: Page, name: str) -> None:
        """Choose an account at Microsoft's sign-in."""
        page.get_by_role("button", name=name).click()

    def join_in_teams(self, visitor: Visitor) -> Page:
        with visitor.context.expect_page() as opened:
            visitor.page.get_by_role("button", name="Join in Teams").click()
        call = opened.value
        call.get_by_role("button", name=f"Join as {self.clinician.entra_name}").click()
        expect(call.get_by_text("You are connected")).to_be_visible()
        return call

    def enter_teams(self, page: Page) -> None:
        page.get_by_label("Your name").fill(f"{self.patient.given} {self.patient.family}")
        page.get_by_role("button", name="Join as a guest").click()

    def meetings(self) -> list[Any]:
        """The hospital's meetings that somebody entered."""
        with self.world.lock:
            found = [one for one in self.world.meetings.values() if one.tid == self.hospital.tid]
            return [one for one in found if one.participants]

    def texts(self) -> Counter[str]:
        """How many confirmations each appointment of the hospital got, by what their links open."""
        confirmations = set(self._sent()) - set(self._sent("eminder"))
        return Counter(self.appointment_of(text) for text in self._sent() if text in confirmations)

    def _sent(self, word: str = "") -> list[str]:
        with self.world.lock:
            return [one.text for one in self.world.outbox if one.region == self.hospital.region and word in one.text]

    def appointment_of(self, text: str) -> str:
        (token,) = re.findall(r"/j/([\w-]+)", text)
        opened = JoinToken.open(token, Sealer(self._all_keys()))
        assert opened.connection_id == self.registration.connection
        self._heard.secrets.add(token)
        return opened.appointment_id

    def _all_keys(self) -> tuple[settings.Key, ...]:
        """Every sealing key that the app has had."""
        environment = self.sandbox.environment
        for sets in (environment, environment | self.sandbox.app_environment_overrides):
            self._keys |= {key.id: key for key in settings.load(sets).sealing_keys}
        return tuple(self._keys.values())

    def run_timers(self) -> None:
        """A discovery of every day of the connection, then a dispatch; both seen in the app's log."""
        eventually(self._nobody_scans, "a killed worker's scan is given up", RECOVERY_S, 0.5)
        scans = self._logged("messages.scanned")
        self.world.advance(timedelta(minutes=5))
        eventually(lambda: self._logged("messages.scanned") > scans, "a discovery")
        self.between()
        for _ in range(2):  # the first may have begun before the discovery ended
            released = self._logged("messages.released")
            self.world.advance(timedelta(minutes=1))
            eventually(lambda seen=released: self._logged("messages.released") > seen, "a dispatch")

    def _nobody_scans(self) -> bool:
        """A worker that was killed while it scanned still has its lease, for two minutes."""
        return not leaks.scanning(self.sandbox)

    def _logged(self, event: str) -> int:
        log = self.sandbox.app_log.read_text(encoding="utf-8")
        ours = rf" {event} .*({self.registration.connection}|{self.hospital.tid})"
        return len(re.findall(ours, log))

    def leave_a_message_waiting(self) -> None:
        """A visit is discovered, and its message not yet due."""
        self.book(200)
        eventually(self._nobody_scans, "a killed worker's scan is given up", RECOVERY_S, 0.5)
        scans = self._logged("messages.scanned")
        seconds_left = 61 - self.world.now().second  # a dispatch comes with each minute: the next is far away
        self.world.advance(timedelta(minutes=5, seconds=seconds_left))
        eventually(lambda: self._logged("messages.scanned") > scans, "a discovery")

    def leave_a_claim_open(self) -> None:
        """The message is sent, twice, to nobody who answers: it stays claimed, for the sweep."""
        self.control("faults", vendor="acs", kind="500", next=2)
        handled = self._logged("messages.handled")
        self.world.advance(timedelta(minutes=1))
        eventually(lambda: self._logged("messages.handled") > handled, "an attempt")

    def _tick(self, appointment: str) -> str | None:
        """The link that the appointment's patient was sent."""
        with self.world.lock:
            sent = [one.text for one in self.world.outbox if one.region == self.hospital.region]
        found = [text for text in sent if self.appointment_of(text) == appointment]
        assert len(found) < 2
        return re.findall(r"http\S+/j/[\w-]+", found[0])[0] if found else None

    def _start(self, appointment: str) -> datetime:
        resource = self.world.resources[self.hospital.ehr_tenant]["Appointment", appointment]
        return datetime.fromisoformat(resource["start"])
