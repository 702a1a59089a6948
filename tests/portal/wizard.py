"""An administrator who sets a hospital up in a browser, by what the pages say, in either language.

By mouse, or by nothing but the keyboard; `between` is called at each page and may do anything to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from playwright.sync_api import Locator, Page, expect

from connector.languages import Language
from sandbox.world import EntraUser, Hospital
from tests.running import Live

_TABS = 120
"""No page has more stops than this."""


@dataclass
class Administrator:
    live: Live
    hospital: Hospital
    page: Page
    language: Language = field(default_factory=lambda: Language("portal"))
    by_keyboard: bool = False
    between: Callable[[], None] = lambda: None
    actions: int = 0
    """Clicks and filled fields until now."""

    def say(self, text: str) -> str:
        return self.language.gettext(text)

    # what a person does

    def press(self, role: str, name: str, *, exact: bool = True) -> None:
        found = self.page.get_by_role(role, name=self.say(name), exact=exact)  # type: ignore[arg-type]
        self.activate(found.first)

    def activate(self, found: Locator) -> None:
        self.actions += 1
        if self.by_keyboard:
            self._reach(found)
        with self.page.expect_navigation():
            if self.by_keyboard:
                self.page.keyboard.press("Enter")
            else:
                found.click()
        self.between()

    def fill(self, label: str, text: str) -> None:
        self.actions += 1
        found = self.page.get_by_label(self.say(label), exact=True)
        if self.by_keyboard:
            self._reach(found)
            self.page.keyboard.press("Control+A")
            self.page.keyboard.type(text)
        else:
            found.fill(text)

    def choose(self, role: str, name: str) -> None:
        """A radio button or a check box."""
        self.actions += 1
        found = self.page.get_by_role(role, name=self.say(name), exact=role == "radio")  # type: ignore[arg-type]
        if not self.by_keyboard:
            return found.check()
        if role == "radio":  # the group is one stop; arrows choose in it
            group = self.page.locator(f"input[name='{found.get_attribute('name')}']")
            self._reach(*group.all())
            while not found.is_checked():
                self.page.keyboard.press("ArrowDown")
            return None
        self._reach(found)
        self.page.keyboard.press("Space")
        return None

    def _reach(self, *wanted: Locator) -> None:
        """Tab until one of them has the focus."""
        for one in wanted:
            expect(one).to_be_visible()
        for _ in range(_TABS):
            if any(one.evaluate("element => element === document.activeElement") for one in wanted):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"the keyboard does not get to {wanted[0]}")

    # the steps

    def sign_in(self, path: str = "/portal", who: EntraUser | None = None) -> None:
        self.page.goto(self.live.app + path)
        self.pick(who)

    def pick(self, who: EntraUser | None = None) -> None:
        """Microsoft's page, which is not ours to test."""
        found = self.page.get_by_role("button", name=re.compile((who or self.hospital.users[0]).upn))
        found.click()
        self.page.wait_for_load_state()
        self.actions += 1

    def begin(self) -> None:
        """Consent, then the region."""
        self.press("link", "Ask Microsoft for consent")
        self.pick()
        self.between()
        self.press("button", "Confirm the region")

    def add_base(self) -> None:
        self.fill("FHIR base URL", self.live.world.ports.fhir_base(self.hospital.ehr_tenant))
        self.choose("radio", "Production")
        self.press("button", "Validate")
        expect(self.page.get_by_text(self.say("This address works"))).to_be_visible()
        self.fill("Name that patients see", self.hospital.name)
        self.fill("Phone number for patients' questions", self.hospital.contact_phone)
        self.choose("checkbox", "Our Cerner Millennium is of November 2018 or later")
        self.press("button", "Done")
        expect(self.page.get_by_text(self.hospital.name).first).to_be_visible()
        self.press("link", "Next: SMS notifications")

    def consent(self) -> None:
        for words in (
            "We allow this service to send text messages to patients in the name of our organization.",
            "We make sure that everybody who is texted has agreed to send and receive these text messages.",
        ):
            self.choose("checkbox", words)
        self.press("button", "Agree to both")

    def generate(self, *, wait: Callable[[], None] = lambda: None) -> str:
        """A number; `wait` is called while it comes."""
        self.press("link", "Generate a new phone number")
        self.pick()
        self.press("button", "Generate a new phone number")
        wait()
        # The page asks for itself every five seconds, and wakes what a killed worker forgot after half a minute.
        expect(self.page.get_by_text(self.say("Your new number:"))).to_be_visible(timeout=90_000)
        number = str(self.page.locator(".notice strong").inner_text())
        self.press("link", "Done")
        expect(self.page.get_by_text(number)).to_be_visible()
        self.press("link", "Next: link numbers")
        return number

    def link(self) -> None:
        """With one number nothing has to be chosen."""
        self.press("button", "Save, then next: review and finish")

    def finish(self) -> str:
        """The address that launches a clinician, as Cerner is to be told."""
        launch = str(self.page.locator("code").filter(has_text="/provider").first.inner_text())
        self.activate(self.page.get_by_role("button", name=re.compile(self.say("They are entered in Cerner"))))
        self.press("link", "Finish")
        return launch

    def do_what_is_next(self) -> None:
        """What the front page says, until it says nothing more."""
        for fields in (
            {"Accounts that hold the meetings": self.hospital.organizers[0].upn},
            {
                "Name": self.hospital.departments[0].name,
                "Cerner location ids": ", ".join(self.hospital.departments[0].location_ids),
                "Time zone": self.hospital.departments[0].time_zone,
            },
        ):
            self.activate(self.page.get_by_role("link", name=re.compile(self.say("Do it now"))))
            for label, text in fields.items():
                self.fill(label, text)
            self.press("button", "Save")
            self.press("link", "Overview")
        expect(self.page.get_by_text(self.say("Next:"))).to_have_count(0)
