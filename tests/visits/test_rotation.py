"""Sealing keys are rotated, and one is taken away, in the middle of a story."""

from collections.abc import Iterator

import pytest
import requests

from connector.keys import Sealer
from connector.settings import load
from sandbox.cast import HARBOR
from sandbox.stamp import fresh_key
from tests.running import Browser, Live

KEYS = "CONNECTOR_SEALING_KEYS"


@pytest.fixture
def keys(live: Live) -> Iterator[None]:
    """The app's own keys again, for whoever comes next."""
    yield
    live.sandbox.app_environment_overrides.pop(KEYS, None)
    live.sandbox.restart_app()


def restart(live: Live, value: str) -> Sealer:
    live.sandbox.app_environment_overrides[KEYS] = value
    live.sandbox.restart_app()
    return Sealer(load({**live.sandbox.environment, KEYS: value}).sealing_keys)


def test_a_rotation_breaks_no_link_sign_in_or_meeting_and_a_removed_key_only_its_links(
    live: Live, keys: None
) -> None:
    old, new = live.sandbox.environment[KEYS], fresh_key("sandbox-s9")
    appointment, browser = live.book("suri"), Browser(live)
    link = live.join_token(appointment)
    there = browser.post(f"/j/{link}/join").headers["Location"]
    begun = browser.begin(live.launch_url(patient="suri"))
    back = browser.microsoft(HARBOR.users[0].oid)
    session = browser.launch(user="marwood", patient="suri")

    restart(live, f"{new},{old}")
    assert browser.post(f"/j/{link}/join").headers["Location"] == there
    assert browser.finish(browser.authorized(begun)).status_code == 200
    assert browser.get(back).status_code == 303
    assert browser.get("/portal").status_code == 200
    assert browser.ask("GET", session, "page").status_code == 200
    with live.down("cerner"):
        assert browser.post(f"/j/{link}/join").headers["Location"] == there

    sealer = restart(live, new)
    with live.nothing_stored():
        page = browser.get(f"/j/{link}")
        assert page.status_code == 404 and "This link does not work" in page.text
        assert requests.get(f"{live.app}/health", timeout=30).ok
    fresh = live.join_token(appointment, sealer=sealer)
    meetings = len(live.world.meetings)
    assert browser.post(f"/j/{fresh}/join").headers["Location"] == there  # createOrGet finds the same meeting
    assert len(live.world.meetings) == meetings
    assert browser.ask("GET", session, "page").status_code == 200
