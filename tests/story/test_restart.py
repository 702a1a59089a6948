"""The story goes on when the app is killed at every turn, when storage restarts, and when keys are rotated."""

import signal
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, expect

from sandbox.stamp import fresh_key
from sandbox.supervisor import Sandbox
from tests.story import leaks
from tests.story.conftest import running
from tests.story.pages import Heard
from tests.story.steps import RECOVERY_S, Story, eventually

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory, count_storage: Callable[[int], None]) -> Iterator[Sandbox]:
    with running(tmp_path_factory.mktemp("restarted"), count_storage) as sandbox:
        yield sandbox


@pytest.fixture
def begin(sandbox: Sandbox, chromium: Browser) -> Iterator[Callable[[str], Story]]:
    stories: list[Story] = []

    def begun(hospital: str) -> Story:
        stories.append(Story(sandbox, chromium, hospital, Heard(), outages=True, closely=False))
        return stories[-1]

    yield begun
    for story in stories:
        story.close()


def kill(sandbox: Sandbox) -> None:
    """Kill the app's whole process group, best not amid a scan or a send: one may begin all the same between the look
    and the kill; what that needs takes minutes."""
    eventually(lambda: not leaks.scanning(sandbox), "nobody scans", RECOVERY_S, 0.1)
    eventually(
        lambda: not [row for row in leaks.rows(sandbox) if row.key.startswith("k.")], "no claim is open", RECOVERY_S
    )
    sandbox.restart_app(signal.SIGKILL)


def test_killed_between_every_step(sandbox: Sandbox, begin: Callable[[str], Story]) -> None:
    story = begin("harbor")
    story.between = lambda: kill(sandbox)
    for step in Story.STEPS:
        if step in (Story.ordinary_user_is_refused, Story.pages_in_passing_and_wrong_addresses):
            continue  # nothing goes on in them
        step(story)
        kill(sandbox)
        if step is Story.clinician_signs_in_once:
            sandbox.restart_azurite()
    assert story.texts()[story.visit] == 1


def test_keys_rotate_in_the_midst(sandbox: Sandbox, begin: Callable[[str], Story]) -> None:
    story = begin("nordlys")
    story.visit_is_booked_and_texted()
    story.patient_is_early()
    story.clinician_signs_in_once()
    story.patient_joins()
    old = story.link
    sealing = fresh_key("sandbox-s2")
    sandbox.app_environment_overrides |= {
        "CONNECTOR_SEALING_KEYS": f"{sealing},{sandbox.environment['CONNECTOR_SEALING_KEYS']}",
        "CONNECTOR_WRAPPING_KEYS": f"{fresh_key('sandbox-w2')},{sandbox.environment['CONNECTOR_WRAPPING_KEYS']}",
    }
    kill(sandbox)
    story.clinician_sees_and_admits()  # by the session of before
    story.phone.page.goto(old)
    story.phone.look("Video visit")
    fresh = copied_link(story)
    assert fresh != old
    story.everybody_is_texted_once()

    sandbox.app_environment_overrides["CONNECTOR_SEALING_KEYS"] = sealing
    kill(sandbox)
    story.phone.page.goto(old)
    assert "call the clinic" in story.phone.look("This link does not work", status=404)
    story.second_launch_needs_no_sign_in()  # into the same meeting
    story.phone.page.goto(fresh)
    story.phone.page.get_by_role("button", name="Join again").click()
    story.enter_teams(story.phone.page)
    expect(story.phone.page.get_by_text("You are in the lobby")).to_be_visible()
    (meeting,) = story.meetings()
    assert [one.kind for one in meeting.participants] == ["guest", "user", "guest"]
    story.everybody_is_texted_once()


def copied_link(story: Story) -> str:
    """The link that a launch after the rotation offers for the patient."""
    desk = story.visitor()
    story.launch(desk)
    button = desk.page.get_by_role("button", name="Copy the link")
    expect(button).to_be_visible()
    return button.get_attribute("data-copy") or ""
