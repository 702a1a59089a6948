"""Sandboxes for the story, always beginning on a morning in Chicago and an afternoon in Copenhagen."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from sandbox.supervisor import Sandbox
from tests.story import leaks
from tests.story.pages import Heard
from tests.story.steps import Story


@contextmanager
def running(folder: Path, count_storage: Callable[[int], None]) -> Iterator[Sandbox]:
    """A sandbox that logs at DEBUG and starts at 14:00 UTC: no visit of today falls on another day."""
    sandbox = Sandbox(folder)
    now = sandbox.world.now()
    wanted = now.replace(hour=14, minute=0, second=30, microsecond=0)
    sandbox.world.advance(wanted - now + timedelta(days=wanted < now))
    sandbox.app_environment_overrides["SANDBOX_LOG_LEVEL"] = "DEBUG"
    with sandbox:
        yield sandbox
        count_storage(sandbox.azurite.operations)


class Told:
    """The story, told once for each hospital and then known."""

    def __init__(self, sandbox: Sandbox, browser: Browser) -> None:
        self.sandbox, self.heard = sandbox, Heard()
        self._browser = browser
        self.rows_on_the_way: list[leaks.Row] = []
        self.queued_on_the_way: list[str] = []
        self._faults: dict[str, BaseException | None] = {}

    def tell_everything(self) -> None:
        """Both hospitals, and then a message on its way, seen in storage while it waits and while it is claimed."""
        for hospital in self.sandbox.world.registrations:
            self.tell(hospital)
        if not self.rows_on_the_way:
            story = Story(self.sandbox, self._browser, "nordlys", self.heard)
            for step in (story.leave_a_message_waiting, story.leave_a_claim_open):
                step()
                self.rows_on_the_way += leaks.rows(self.sandbox)
                self.queued_on_the_way += leaks.queued(self.sandbox)
            story.close()

    def tell(self, hospital: str) -> None:
        """Raises the same failure each time it is asked."""
        if hospital not in self._faults:
            self._faults[hospital] = None
            story = Story(self.sandbox, self._browser, hospital, self.heard)
            try:
                for step in Story.STEPS:
                    step(story)
            except BaseException as fault:
                self._faults[hospital] = fault
            finally:
                story.close()
        if fault := self._faults[hospital]:
            raise fault


@pytest.fixture(scope="session")
def told(
    tmp_path_factory: pytest.TempPathFactory, chromium: Browser, count_storage: Callable[[int], None]
) -> Iterator[Told]:
    with running(tmp_path_factory.mktemp("story"), count_storage) as sandbox:
        yield Told(sandbox, chromium)
