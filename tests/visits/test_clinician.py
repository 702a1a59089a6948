"""The clinician's page through the running app: picks, states, and an EHR that ends the session."""

from collections.abc import Iterator

import azure.functions as func
import pytest

from connector.adapters.tables import Row, Tables
from connector.visits import clinician_blueprint
from connector.visits.presence import STATUS
from sandbox.cast import HARBOR
from sandbox.cerner import appointments
from tests.running import Browser, Live, Session
from tests.visits.conftest import LobbyLeft

LINDQVIST = HARBOR.clinicians[1].entra_oid


@pytest.fixture(scope="module")
def linked(live: Live) -> Iterator[tuple[Browser, Session]]:
    """A clinician with a linked account, in the chart of Hollis; the link goes with the module."""
    browser = Browser(live)
    live.book("hollis")
    session = browser.launch(user="lindqvist", patient="hollis")
    assert browser.link(LINDQVIST, session).status_code == 200
    yield browser, session
    for row in list(live.table("Links").list_entities()):
        live.table("Links").delete_entity(row)


def code(answer: object, status: int) -> str:
    assert answer.status_code == status, answer.text  # type: ignore[attr-defined]
    return str(answer.json()["code"])  # type: ignore[attr-defined]


def test_join_leads_into_the_patients_meeting(live: Live, linked: tuple[Browser, Session]) -> None:
    browser, session = linked
    appointment = live.book("hollis")
    token = live.join_token(appointment)
    page = browser.ask("GET", session, f"page?pick={live.pick(appointment)}")
    assert "Join in Teams" in page.text
    status = browser.ask("GET", session, "status")
    assert status.json() == dict.fromkeys(STATUS)
    same = browser.get(f"/visits/{session.id}/status",
                       headers={**session.headers, "If-None-Match": status.headers["ETag"]})
    assert same.status_code == 304 and same.content == b""
    before = len(live.world.meetings)
    assert browser.ask("POST", session, "join").json()["join_url"].startswith(live.world.ports.url("teams"))
    assert browser.post(f"/j/{token}/join").status_code == 303
    assert len(live.world.meetings) == before + 1
    seen = browser.ask("GET", session, "status").json()
    assert seen["joined_at"] and seen["staff_at"]


def test_status_is_a_point_read_beside_that_of_the_session(
    live: Live, linked: tuple[Browser, Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, session = linked
    assert browser.ask("GET", session, f"page?pick={live.pick(live.book('hollis'))}").status_code == 200
    request = func.HttpRequest("GET", f"{live.app}/visits/{session.id}/status", headers=session.headers,
                               route_params={"session": session.id}, body=b"")
    made = func.FunctionApp()
    made.register_functions(clinician_blueprint(lambda: live.services))
    status = {one.get_function_name(): one.get_user_function() for one in made.get_functions()}["visit_status"]
    status(request)  # tenant and region are known from here on
    read: list[str] = []
    real = Tables.get

    def get(self: Tables, table: str, partition: str, key: str) -> Row | None:
        read.append(key.partition(".")[0])
        return real(self, table, partition, key)

    monkeypatch.setattr(Tables, "get", get)
    assert status(request).status_code == 200
    assert read == ["visit", "p"]


def test_a_pick_is_ours_of_this_connection_and_of_this_patient(live: Live, linked: tuple[Browser, Session]) -> None:
    browser, session = linked
    mine = live.book("hollis")
    theirs, elsewhere = live.book("suri"), live.book("jens", hospital="nordlys")
    browser.ask("GET", session, f"page?pick={live.pick(mine)}")
    for pick in "x", live.pick(mine)[:-1], live.join_token(mine), live.pick(elsewhere, "nordlys"):
        assert code(browser.ask("GET", session, f"page?pick={pick}"), 409) == "visit.none"
    page = browser.ask("GET", session, f"page?pick={live.pick(theirs)}").text
    assert "Suriyana" not in page and live.pick(theirs) not in page


def test_a_cancelled_visit_is_shown_and_not_joined(live: Live, linked: tuple[Browser, Session]) -> None:
    browser, session = linked
    appointment = live.book("hollis")
    browser.ask("GET", session, f"page?pick={live.pick(appointment)}")
    appointments.cancel(live.world, "harbor", appointment)
    assert "cancelled in the EHR" in browser.ask("GET", session, "page").text
    with live.nothing_stored():
        assert code(browser.ask("POST", session, "join"), 409) == "visit.cancelled"


def test_no_url_leaves_before_the_lobby_is_proven(
    live: Live, linked: tuple[Browser, Session], lobby_left: LobbyLeft
) -> None:
    browser, session = linked
    browser.ask("GET", session, f"page?pick={live.pick(live.book('hollis'))}")
    with lobby_left():
        answer = browser.ask("POST", session, "join")
    assert code(answer, 502) == "meeting.lobby_not_proven"
    assert "http" not in answer.text


def test_without_a_visit_there_is_nothing_to_join_or_watch(live: Live, browser: Browser) -> None:
    clinician = browser.launch(user="marwood", patient="odette")
    assert "No video visit today" in browser.visit(clinician)
    assert code(browser.ask("GET", clinician, "status"), 409) == "visit.none"


def test_a_failed_link_keeps_nobody_from_a_patient(live: Live, browser: Browser) -> None:
    session = browser.launch(user="marwood", patient="suri")
    browser.ask("GET", session, f"page?pick={live.pick(live.book('suri'))}")
    links = live.rows()["Links", "link"]
    joined = browser.ask("POST", session, "join")
    assert joined.json()["join_url"].startswith(live.world.ports.url("teams"))
    assert live.rows()["Links", "link"] == links


@pytest.mark.parametrize(("user", "patient", "said"), [
    ("marwood", "odette", "is not a video visit"), ("lindqvist", "hollis", "booked with a colleague")])
def test_what_the_day_holds_instead(live: Live, browser: Browser, user: str, patient: str, said: str) -> None:
    appointment = live.book(patient, in_minutes=1) if patient == "hollis" else None
    session = browser.launch(user=user, patient=patient)
    page = browser.ask("GET", session, f"page?pick={live.pick(appointment)}" if appointment else "page").text
    assert said in page
    if patient == "odette":  # the simulated day's office visit; its type is what an administrator would add
        assert str(int(HARBOR.video_visit_types[0]) + 77) in page and "No video visit today" in page


def test_a_cancelled_visit_and_the_next_one_are_named_when_there_is_none_today(live: Live, browser: Browser) -> None:
    patient = "greta"
    gone = live.book(patient, hospital="nordlys")
    appointments.cancel(live.world, "nordlys", gone)
    live.book(patient, hospital="nordlys", in_minutes=3 * 24 * 60)
    session = browser.launch("nordlys", user="skovbo", patient=patient)
    page = browser.ask("GET", session, "page").text
    assert "No video visit today" in page and "is cancelled in the EHR" in page and "The next video visit is on" in page
    assert "Join in Teams" not in page


def test_from_the_organizer_the_page_says_whose_visit_it_is(live: Live, browser: Browser) -> None:
    appointment = live.book("rafael", in_minutes=2)
    session = browser.launch(user="marwood")
    page = browser.ask("GET", session, f"page?pick={live.pick(appointment)}").text
    assert "Quintaval, Rafaelo" in page and "60043298" in page


def test_one_bad_record_costs_one_visit(live: Live, browser: Browser) -> None:
    for minutes in 0, 1:
        live.book("suri", in_minutes=minutes)
    session = browser.launch(user="marwood", patient="suri")
    with live.mischief("malformed_entry"):
        page = browser.visit(session)
    assert "Sign in with Microsoft" in page


def test_an_answer_cut_in_the_middle_is_not_taken_for_an_empty_day(live: Live, browser: Browser) -> None:
    live.book("suri")
    session = browser.launch(user="marwood", patient="suri")
    with live.mischief("malformed_json"):
        answer = browser.ask("GET", session, "page")
    assert answer.status_code == 502, answer.text
    assert "No video visit" not in answer.text


def test_a_patient_who_can_not_be_read_is_not_left_out_in_silence(live: Live, browser: Browser) -> None:
    session = browser.launch(patient="mira")
    kept = live.world.resources[live.world.hospitals["harbor"].ehr_tenant]
    patient = next(p.patient_id for p in live.world.hospitals["harbor"].patients if p.key == "mira")
    hidden = kept.pop(("Patient", patient))
    try:
        shown = browser.ask("GET", session, "page")
    finally:
        kept["Patient", patient] = hidden
    assert shown.status_code == 200
    assert "could not be read. Check in the chart who this is" in shown.text


def test_an_ehr_that_is_down_can_be_asked_again(live: Live, browser: Browser) -> None:
    session = browser.launch(user="marwood", patient="suri")
    with live.down("cerner"):
        answer = browser.ask("GET", session, "page")
    assert code(answer, 503) == "outgoing.unavailable" or answer.json()["retry"] is True
    assert browser.ask("GET", session, "page").status_code == 200


def test_a_session_that_the_ehr_ended_needs_a_new_launch(live: Live, browser: Browser) -> None:
    session = browser.launch(user="marwood", patient="suri")
    with live.world.lock:
        ended = [value for value, grant in live.world.grants.items()
                 if grant.user == "marwood" and grant.kind in ("access", "refresh")]
        for value in ended:
            del live.world.grants[value]
    assert code(browser.ask("GET", session, "page"), 401) == "visit.session_over"
