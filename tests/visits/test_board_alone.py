"""The board by Microsoft sign-in alone: for linked clinicians, while the EHR is down, without any patient."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import expect

from connector.visits.meeting import visit_key
from connector.visits.presence import put_presence
from sandbox.cast import HARBOR, NORDLYS
from tests.running import Browser, Live
from tests.story.pages import FRAME, Heard, Visitor

LINDQVIST = HARBOR.clinicians[1]


@pytest.fixture(scope="module")
def linked(live: Live) -> Iterator[str]:
    """Lindqvist is linked; a visit of Rafael's has its meeting, and the schedule was scanned. Its visit key."""
    browser = Browser(live)
    appointment = live.book("rafael", in_minutes=6, clinician_key="lindqvist")
    session = browser.launch(user="lindqvist", patient="rafael")
    browser.ask("GET", session, f"page?pick={live.pick(appointment)}")
    assert browser.link(LINDQVIST.entra_oid, session).status_code == 200
    assert browser.ask("POST", session, "join").status_code == 200
    visit, start = visit_key(live.scope(), live.connection_id(), appointment), live.world.now() + timedelta(minutes=6)
    live.table("Visits").upsert_entity({
        "PartitionKey": live.connection_id(), "RowKey": f"v.{visit}", "ref": "", "class": "live", "told_n": 0,
        "department": "Family Medicine", "start": start.isoformat(), "end": (start + timedelta(minutes=30)).isoformat(),
        "changed_at": start.isoformat(),
    })
    yield visit
    for row in list(live.table("Links").list_entities()):
        live.table("Links").delete_entity(row)


def signed_in(live: Live, oid: str) -> Browser:
    browser = Browser(live)
    back = browser.get(browser.microsoft(oid, "/board"))
    assert (back.status_code, back.headers["Location"]) == (303, live.app + "/board")
    return browser


def test_a_linked_clinician_sees_times_and_departments_and_joins_while_the_ehr_is_down(live: Live, linked: str) -> None:
    browser, name = signed_in(live, LINDQVIST.entra_oid), f"{live.connection_id()}.{linked}"
    with live.down("cerner"):
        page = browser.get("/board")
        assert page.status_code == 200 and name in page.text and "Family Medicine" in page.text
        people = [part for one in HARBOR.patients for part in (one.family, one.patient_id, one.mrn)]
        assert not [one for one in (*people, LINDQVIST.family) if one in page.text]
        told = browser.post("/board/status", json={"picks": [name]})
        assert told.json()["visits"][0]["ended"] is None
        joined = browser.post("/board/join", data={"visit": name})
    assert joined.status_code == 303 and joined.headers["Location"].startswith(live.world.ports.url("teams"))


@pytest.mark.parametrize("oid", [HARBOR.clinicians[2].entra_oid, HARBOR.users[0].oid, NORDLYS.clinicians[0].entra_oid])
def test_whoever_is_not_linked_here_sees_nothing(live: Live, linked: str, oid: str) -> None:
    browser, name = signed_in(live, oid), f"{live.connection_id()}.{linked}"
    page = browser.get("/board")
    assert page.status_code == 403 and "Not linked yet" in page.text and linked not in page.text
    assert browser.post("/board/status", json={"picks": [name]}).json()["code"] == "board.not_linked"
    assert browser.post("/board/join", data={"visit": name}).status_code == 403


def test_names_of_other_places_and_foreign_pages_are_refused(live: Live, linked: str) -> None:
    browser, mine = signed_in(live, LINDQVIST.entra_oid), f"{live.connection_id()}.{linked}"
    other = f"{live.connection_id('nordlys')}.{linked}"
    for wrong in other, "x", linked, mine + "x", None, 1:
        assert browser.post("/board/status", json={"picks": [wrong]}).json()["code"] == "board.unknown"
    assert browser.post("/board/join", data={"visit": other}).status_code == 404
    unmade = browser.post("/board/join", data={"visit": f"{live.connection_id()}.{'0' * 32}"})
    assert unmade.status_code == 409 and "No meeting yet" in unmade.text
    for what in "status", "join":
        answer = browser.send("POST", f"/board/{what}", headers={"Sec-Fetch-Site": "cross-site"}, json={})
        assert answer.status_code == 403
    nobody = Browser(live)
    assert nobody.get("/board").status_code == 303
    assert nobody.post("/board/status", json={"picks": [mine]}).status_code == 401
    assert nobody.post("/board/join", data={"visit": mine}).status_code == 401


def test_it_stays_live_and_is_accessible(live: Live, linked: str, chromium: Chromium) -> None:
    visitor = Visitor(chromium, live.app, set(), Heard(), width=FRAME)
    page = visitor.page
    page.goto(f"{live.app}/board")
    page.get_by_role("button", name=LINDQVIST.entra_name).click()
    expect(page.get_by_role("heading", name="Video visits today")).to_be_visible()
    row = page.locator(f'#board tr[data-pick="{live.connection_id()}.{linked}"]')
    expect(row).to_contain_text("Not joined yet")  # the script is there
    since = (live.world.now() - timedelta(minutes=9, seconds=3)).isoformat()
    put_presence(live.scope(), live.connection_id(), linked, end=live.world.now() + timedelta(hours=1), lobby=1,
                 lobby_since=since, live="on")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(row).to_contain_text("Waiting 9 minutes")
    for scheme in "light", "dark":
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        visitor.look(page.title(), widths=(1280, FRAME, 375))
    with visitor.context.expect_page() as opened:
        row.get_by_role("button", name="Join").click()
    expect(opened.value.get_by_role("button", name=f"Join as {LINDQVIST.entra_name}")).to_be_visible()
    visitor.context.clear_cookies()  # the sign-in ends while the list is open
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#problem")).to_contain_text("Load the page again")
    expect(page.locator("#stale")).to_contain_text("not up to date")
    visitor.close()
