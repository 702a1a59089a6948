"""The clinician's link in the EHR: Microsoft sign-in of the hospital, then the meeting; nothing for anybody else."""

from __future__ import annotations

import re

import pytest

from connector.keys import JoinToken
from sandbox.cast import HARBOR, NORDLYS
from sandbox.cerner import appointments
from tests.running import Browser, Live

OKAFOR = HARBOR.clinicians[0].entra_oid


@pytest.fixture
def browser(live: Live) -> Browser:
    return Browser(live)


def door(live: Live, appointment: str, hospital: str = "harbor") -> str:
    return "/p/" + JoinToken(live.connection_id(hospital), appointment).seal(live.sealer, "staff")


def signed_in(browser: Browser, path: str, oid: str = OKAFOR) -> str:
    """Open the link, choose the account; the page that Microsoft leads back to."""
    back = browser.get(browser.microsoft(oid, path))
    assert back.status_code == 303, back.text
    assert back.headers["Location"] == browser.live.app + path
    return browser.get(path).text


def test_the_link_leads_over_microsoft_into_the_patients_meeting(live: Live, browser: Browser) -> None:
    visit = live.book("hollis", in_minutes=5)
    page = signed_in(browser, door(live, visit))
    assert "Join in Teams" in page and re.search(r"has not joined yet\s+<span>as of \d+:\d\d", page)
    for person in HARBOR.patients:
        assert person.family not in page and person.patient_id not in page
    joined = browser.post(door(live, visit) + "/join")
    patient = browser.post(f"/j/{live.join_token(visit)}/join")
    assert (joined.status_code, patient.status_code) == (303, 303)
    meetings = [m for m in live.world.meetings.values() if m.body["joinWebUrl"] == joined.headers["Location"]]
    assert len(meetings) == 1
    assert "tapped Join" in browser.get(door(live, visit)).text


def test_one_sign_in_serves_the_next_link_too(live: Live, browser: Browser) -> None:
    signed_in(browser, door(live, live.book("hollis")))
    assert "Join in Teams" in browser.get(door(live, live.book("suri"))).text
    assert browser.get(door(live, live.book("suri")) + "?account=other").status_code == 303


def test_without_sign_in_there_is_nothing(live: Live, browser: Browser) -> None:
    path, before = door(live, live.book("hollis")), len(live.world.meetings)
    for answer in browser.get(path), browser.post(path + "/join"):
        assert answer.status_code == 303 and answer.headers["Location"].startswith(live.world.ports.url("entra"))
    browser.cookies["__Host-staff"] = "forged"
    assert browser.get(path).status_code == 303
    assert len(live.world.meetings) == before


def test_another_organizations_account_opens_nothing(live: Live, browser: Browser) -> None:
    path = door(live, live.book("hollis"))
    page = signed_in(browser, path, NORDLYS.clinicians[0].entra_oid)
    assert "another organization" in page and "Join in Teams" not in page
    assert browser.post(path + "/join").status_code == 403


@pytest.mark.parametrize("forged", ["x", "a" * 50, "aaaa%2f..", ""])
def test_what_is_no_link_of_ours_is_told_so_before_anybody_signs_in(live: Live, browser: Browser, forged: str) -> None:
    with live.nothing_stored():
        assert browser.get(f"/p/{forged}").status_code == 404


def test_a_patients_link_opens_no_staff_door_and_the_other_way_round(live: Live, browser: Browser) -> None:
    visit = live.book("hollis")
    assert browser.get(f"/p/{live.join_token(visit)}").status_code == 404
    assert browser.get(door(live, visit).replace("/p/", "/j/")).status_code == 404


def test_a_cancelled_visit_has_no_meeting(live: Live, browser: Browser) -> None:
    visit = live.book("hollis")
    appointments.cancel(live.world, "harbor", visit)
    before = len(live.world.meetings)
    assert "This appointment is cancelled" in signed_in(browser, door(live, visit))
    assert "This appointment is cancelled" in browser.post(door(live, visit) + "/join").text
    assert len(live.world.meetings) == before


def test_without_the_ehr_a_meeting_made_before_still_opens(live: Live, browser: Browser) -> None:
    made, unmade = live.book("hollis"), live.book("suri")
    signed_in(browser, door(live, made))
    meeting = browser.post(door(live, made) + "/join").headers["Location"]
    with live.down("cerner"):
        assert "Join in Teams" in browser.get(door(live, made)).text
        assert browser.post(door(live, made) + "/join").headers["Location"] == meeting
        assert "does not answer" in browser.get(door(live, unmade)).text
        assert browser.post(door(live, unmade) + "/join").status_code == 503


def test_a_join_from_elsewhere_is_refused(live: Live, browser: Browser) -> None:
    path = door(live, live.book("hollis"))
    signed_in(browser, path)
    answer = browser.send("POST", path + "/join", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
