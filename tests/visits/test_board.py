"""Today's visits at a glance: which, in what order, and what a chart does not show of other patients."""

import re
from datetime import timedelta

import pytest

from connector.visits.board import AT_MOST
from connector.visits.meeting import visit_key
from connector.visits.presence import put_presence
from sandbox.cerner import appointments
from tests.running import Browser, Live


@pytest.fixture
def browser(live: Live) -> Browser:
    return Browser(live)


def rows(page: str) -> dict[str, str]:
    """The text of each row, by its pick."""
    found = re.findall(r'<tr data-pick="([^"]+)".*?</tr>', page, re.DOTALL)
    texts = re.findall(r"<tr data-pick=.*?</tr>", page, re.DOTALL)
    return {pick: re.sub(r"<[^>]+>|\s+", " ", text) for pick, text in zip(found, texts, strict=True)}


def test_the_organizers_board_names_and_opens_todays_video_visits(live: Live, browser: Browser) -> None:
    mine, colleagues = live.book("suri", clinician_key="marwood"), live.book("rafael", clinician_key="lindqvist")
    others = [live.book("suri", kind="ordinary", clinician_key="marwood"),
              live.book("suri", in_minutes=2 * 24 * 60, clinician_key="marwood")]
    gone = live.book("odette", clinician_key="marwood")
    appointments.cancel(live.world, "harbor", gone)
    session = browser.launch(user="marwood")
    shown = rows(browser.ask("GET", session, "board").text)
    assert "Dhawanika, Suriyana" in shown[live.pick(mine)] and "Open" in shown[live.pick(mine)]
    assert not {live.pick(one) for one in (colleagues, *others, gone)} & set(shown)
    department = rows(browser.ask("GET", session, "board?view=department&department=Family+Medicine").text)
    assert "with a colleague" in department[live.pick(colleagues)] and live.pick(mine) in department
    assert browser.ask("GET", session, f"page?pick={live.pick(mine)}").status_code == 200


def test_a_chart_neither_names_nor_opens_another_patient(live: Live, browser: Browser) -> None:
    mine, theirs = live.book("hollis", clinician_key="marwood"), live.book("suri", clinician_key="marwood")
    session = browser.launch(user="marwood", patient="hollis")
    for view in "mine", "department":
        page = browser.ask("GET", session, f"board?view={view}").text
        shown = rows(page)
        assert "Vanterpoole, Hollister" in shown[live.pick(mine)] and "Open" in shown[live.pick(mine)]
        assert "Another patient" in shown[live.pick(theirs)] and "Open" not in shown[live.pick(theirs)]
        assert "Dhawanika" not in page and live.join_token(theirs) not in page
    assert live.pick(theirs) not in rows(browser.ask("GET", session, "board?view=patient").text)
    picked = browser.ask("GET", session, f"page?pick={live.pick(theirs)}").text
    assert "Dhawanika" not in picked


def test_who_waits_is_told_without_asking_the_ehr(live: Live, browser: Browser) -> None:
    visits = [live.book("suri", in_minutes=n, clinician_key="marwood") for n in (1, 2)]
    session = browser.launch(user="marwood")
    key = visit_key(live.scope(), live.connection_id(), visits[1])
    since = (live.world.now() - timedelta(minutes=3)).isoformat()
    put_presence(live.scope(), live.connection_id(), key, end=live.world.now(), lobby=1, lobby_since=since, live="on")
    with live.down("cerner"):
        told = browser.ask("POST", session, "board", json={"picks": [live.pick(one) for one in visits]})
    assert [one["lobby"] for one in told.json()["visits"]] == [None, 1]
    assert told.headers["Connector-Time"]


@pytest.mark.parametrize("picks", [None, "x", {}, ["x"], [1], [None], ["x"] * (AT_MOST + 1)])
def test_picks_that_are_none_of_ours(live: Live, browser: Browser, picks: object) -> None:
    session = browser.launch(user="marwood")
    answer = browser.ask("POST", session, "board", json={"picks": picks})
    assert answer.status_code in (409, 422) and "visits" not in answer.json()


def test_lists_that_are_not_there(live: Live, browser: Browser) -> None:
    session = browser.launch(user="marwood")
    for view in "patient", "everybody":
        assert browser.ask("GET", session, f"board?view={view}").json()["code"] == "visit.no_board"
    with live.down("cerner"):
        assert browser.ask("GET", session, "board").json()["retry"] is True
