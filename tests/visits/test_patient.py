"""The patient's link through the running app: what opens, what does not, and what a page says when the EHR is down."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import azure.functions as func
import pytest
import requests

from connector import flood, tenants, visits
from connector.adapters import tables
from connector.tenants import ConnectionPatch
from connector.visits.meeting import visit_key
from sandbox import graph
from sandbox.cast import HARBOR
from sandbox.cerner import appointments
from sandbox.graph_access import GraphError
from sandbox.world import Meeting
from tests.running import Browser, Live
from tests.tenants.stamp import ACTOR, race
from tests.visits.conftest import LobbyLeft

PHONE = HARBOR.contact_phone
WRONG = "This link does not work"
NO_VIDEO = "The video does not open right now"


def shown(browser: Browser, token: str, status: int = 200) -> str:
    page = browser.get(f"/j/{token}")
    assert page.status_code == status, page.text
    assert page.headers["Content-Type"].startswith("text/html")
    return page.text


def joined(browser: Browser, token: str) -> requests.Response:
    return browser.post(f"/j/{token}/join")


def refused(browser: Browser, token: str, status: int, *texts: str) -> None:
    """GET and POST show the same page, which holds the texts and no address of a meeting."""
    for answer in browser.get(f"/j/{token}"), joined(browser, token):
        assert answer.status_code == status, answer.text
        for text in texts:
            assert text in answer.text
        assert "meetup" not in answer.text and "webrtc" not in answer.text and "Location" not in answer.headers


@pytest.fixture(scope="module")
def token(live: Live) -> str:
    return live.join_token(live.book("suri"))


def forged(token: str) -> Iterator[str]:
    yield from ("x", "a", "A" * 40, "a" * 40, "%00", "%ff", "a%2fb", token[1:], token + "A", token * 2, "a" * 4000)
    yield from (token[:length] for length in range(1, len(token), 5))
    yield from (letter + token[1:] for letter in "epxA")
    chance = random.Random(7)  # noqa: S311 - repeatable, no secret
    for _ in range(40):
        at = chance.randrange(1, len(token))
        yield token[:at] + chance.choice([c for c in "abcXYZ019-_" if c != token[at]]) + token[at + 1 :]


def test_a_forged_or_truncated_link_opens_nothing_and_asks_nobody(live: Live, browser: Browser, token: str) -> None:
    reads = live.world.requests["cerner", "Appointment.read"]
    with live.nothing_stored():
        for wrong in forged(token):
            assert WRONG in shown(browser, wrong, 404)
        refused(browser, token[:-1], 404, WRONG, "call the clinic")
    assert live.world.requests["cerner", "Appointment.read"] == reads


def test_a_link_of_another_connection_generation_or_appointment(live: Live, browser: Browser) -> None:
    mine = live.book("suri")
    with live.nothing_stored():
        for token in (
            live.join_token(mine, connection_id=live.connection_id("nordlys")),
            live.join_token(mine, connection_id="a" + "z" * 8),
            live.join_token(mine, generation=1),
            live.join_token("99999999"),
            live.join_token("../Patient/1"),
        ):
            answer = browser.get(f"/j/{token}")
            assert answer.status_code in (404, 503), answer.text
            assert joined(browser, token).status_code == answer.status_code
        refused(browser, live.join_token("99999999"), 404, WRONG)
        refused(browser, live.join_token(mine, connection_id=live.connection_id("nordlys")), 404, WRONG)
        refused(browser, live.join_token(mine, generation=1), 404, WRONG)


def test_each_state_of_the_visit_has_its_page_and_only_one_joins(live: Live, browser: Browser) -> None:
    gone = live.book("suri")
    appointments.cancel(live.world, "harbor", gone)
    with live.nothing_stored():
        for appointment, text in (
            (live.book("suri", in_minutes=180), "You can join from"),
            (live.book("suri", in_minutes=-180), "This visit is over"),
            (gone, "This visit was cancelled"),
            (live.book("suri", kind="ordinary"), "This is not a video visit"),
        ):
            refused(browser, live.join_token(appointment), 200, text, PHONE)


def test_looking_is_not_joining_and_joining_is_one_tap(live: Live, browser: Browser) -> None:
    appointment = live.book("suri")
    token = live.join_token(appointment)
    with live.nothing_stored():
        assert "Join now" in shown(browser, token)
        for headers in {}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}:
            foreign = browser.send("POST", f"/j/{token}/join", headers=headers)
            assert foreign.status_code == 403 and "Not from our page" in foreign.text
    before = live.rows()
    answer = joined(browser, token)
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith(live.world.ports.url("teams"))
    grown = live.rows() - before
    del grown["Configuration", "meetings"]  # of this month, made by whoever is first
    assert grown == {("Visits", "o"): 1, ("Visits", "p"): 1}
    with live.nothing_stored():
        assert joined(browser, token).headers["Location"] == answer.headers["Location"]


def test_the_teams_app_and_a_second_device_come_to_the_same_meeting(live: Live, browser: Browser) -> None:
    token = live.join_token(live.book("suri"))
    by_browser = joined(browser, token).headers["Location"]
    by_app = browser.post(f"/j/{token}/join", data={"with": "app"}).headers["Location"]
    plain = {meeting.body["joinWebUrl"] for meeting in live.world.meetings.values()}
    assert by_app in plain and by_browser not in plain
    assert joined(Browser(live), token).headers["Location"] == by_browser


def test_without_a_browser_page_of_teams_the_plain_address_serves(live: Live, browser: Browser) -> None:
    token, real = live.join_token(live.book("suri")), graph._meeting

    def forbidden(oid: str, meeting_id: str, roles: tuple[str, ...]) -> Meeting:
        if "VirtualAppointment.Read.All" in roles:
            raise GraphError(403, "Forbidden", "not offered here")
        return real(oid, meeting_id, roles)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "_meeting", forbidden)
        answer = joined(browser, token)
    assert answer.headers["Location"] in {meeting.body["joinWebUrl"] for meeting in live.world.meetings.values()}


def test_twenty_taps_at_once_are_one_meeting(live: Live) -> None:
    token, before = live.join_token(live.book("suri")), len(live.world.meetings)
    answers = race([lambda: joined(Browser(live), token)] * 20)
    assert {getattr(answer, "status_code", answer) for answer in answers} == {303}
    assert len({answer.headers["Location"] for answer in answers if isinstance(answer, requests.Response)}) == 1
    assert len(live.world.meetings) == before + 1


def test_a_link_that_joins_without_end_costs_nothing_more_and_keeps_nobody_out(live: Live, browser: Browser) -> None:
    ready, fresh = live.book("suri"), live.book("suri")
    there = joined(browser, live.join_token(ready)).headers["Location"]
    for appointment, kind in (ready, "join"), (fresh, "join"), (fresh, "speed"):
        what = f"{kind}.{visit_key(live.scope(), live.connection_id(), appointment)}"
        for _ in range(flood.MOST):  # in another process
            flood.within(live.scope(), what)
    reads, meetings = live.world.requests["cerner", "Appointment.read"], len(live.world.meetings)
    answer = joined(browser, live.join_token(ready))
    assert (answer.status_code, answer.headers["Location"]) == (303, there)
    answer = joined(browser, live.join_token(fresh))
    assert answer.status_code == 503 and PHONE in answer.text
    assert browser.get(f"/j/{live.join_token(fresh)}/speed").status_code == 429
    assert (live.world.requests["cerner", "Appointment.read"], len(live.world.meetings)) == (reads, meetings)


# the EHR is down, or says something odd


def test_without_the_ehr_a_meeting_that_is_ready_still_lets_the_patient_in(live: Live, browser: Browser) -> None:
    token = live.join_token(live.book("suri"))
    there = joined(browser, token).headers["Location"]
    with live.down("cerner"):
        page = shown(browser, token)
        assert 'id="join"' in page and "We cannot check the time" in page
        answer = joined(browser, token)
    assert (answer.status_code, answer.headers["Location"]) == (303, there)


def test_with_everybody_down_who_has_a_meeting_still_gets_in_and_others_get_the_telephone(
    live: Live, browser: Browser
) -> None:
    ready, fresh = (live.join_token(live.book("suri")) for _ in range(2))
    there = joined(browser, ready).headers["Location"]
    with live.down("cerner", "graph"):
        assert joined(browser, ready).headers["Location"] == there
        refused(browser, fresh, 503, "We cannot look up your visit right now", PHONE)


def test_what_previews_a_link_changes_nothing_and_meets_no_error(live: Live, browser: Browser) -> None:
    token = live.join_token(live.book("suri"))
    agents = ("facebookexternalhit/1.1", "WhatsApp/2.24", "Slackbot-LinkExpanding 1.0", "Mozilla/5.0 (SafeLinks)", "")
    with live.nothing_stored():
        for agent in agents:
            for path in "", "/test", "/stop", "/calendar":
                answer = browser.get(f"/j/{token}{path}", headers={"User-Agent": agent, "Purpose": "prefetch"})
                assert answer.status_code == 200, answer.text
                assert HARBOR.clinicians[0].family not in answer.text and "Dhawanika" not in answer.text


def test_without_the_ehr_a_ready_meeting_keeps_its_times(live: Live, browser: Browser) -> None:
    over = live.book("suri", in_minutes=-80)  # ends within the hour in which the link still joins
    token = live.join_token(over)
    assert joined(browser, token).status_code == 303
    appointments.move(live.world, "harbor", over, live.world.now())
    key = visit_key(live.scope(), live.connection_id(), over)
    row = live.table("Visits").get_entity(live.connection_id(), f"o.{key}")
    live.table("Visits").update_entity({**row, "end": (live.world.now() - timedelta(hours=2)).isoformat()})
    with live.down("cerner"):
        refused(browser, token, 200, "This visit is over")


def test_without_the_ehr_and_a_meeting_there_is_the_clinics_phone(live: Live, browser: Browser) -> None:
    token = live.join_token(live.book("suri"))
    with live.down("cerner"), live.nothing_stored():
        refused(browser, token, 503, "We cannot look up your visit right now", PHONE)
    assert joined(browser, token).status_code == 303


@contextmanager
def spoiled(live: Live, appointment: str, **fields: Any) -> Iterator[None]:
    kept = live.world.resources[HARBOR.ehr_tenant]
    right = kept["Appointment", appointment]
    kept["Appointment", appointment] = copy.deepcopy(right) | fields
    try:
        yield
    finally:
        kept["Appointment", appointment] = right


@pytest.mark.parametrize("fields", [{"status": ["booked"]}, {"status": "dancing"}, {"id": "1"}, {"id": None},
                                    {"resourceType": "Patient"}, {"participant": "none", "status": None}])
def test_an_appointment_that_can_not_be_read_is_not_guessed_at(
    live: Live, browser: Browser, fields: dict[str, Any]
) -> None:
    appointment = live.book("suri")
    with spoiled(live, appointment, **fields), live.nothing_stored():
        refused(browser, live.join_token(appointment), 503, PHONE)


def test_a_visit_that_was_missed_is_over_and_not_cancelled(live: Live, browser: Browser) -> None:
    appointment = live.book("suri")
    with spoiled(live, appointment, status="noshow"), live.nothing_stored():
        refused(browser, live.join_token(appointment), 200, "This visit is over", "Did you miss it", PHONE)


@pytest.mark.parametrize("fields", [{"start": None}, {"start": 17}, {"start": "soon"}])
def test_an_appointment_without_a_start_waits_for_one(live: Live, browser: Browser, fields: dict[str, Any]) -> None:
    appointment = live.book("suri")
    with spoiled(live, appointment, **fields), live.nothing_stored():
        refused(browser, live.join_token(appointment), 200, "has not set a time")


def test_an_answer_cut_in_the_middle(live: Live, browser: Browser, token: str) -> None:
    with live.mischief("malformed_json"), live.nothing_stored():
        refused(browser, token, 503, PHONE)


# the meeting cannot be made


def test_no_url_leaves_before_the_lobby_is_proven(live: Live, browser: Browser, lobby_left: LobbyLeft) -> None:
    token = live.join_token(live.book("suri"))
    with lobby_left():
        answer = joined(browser, token)
    assert answer.status_code == 503 and NO_VIDEO in answer.text and PHONE in answer.text
    assert "http" not in answer.text and "Location" not in answer.headers
    with live.down("cerner"):
        refused(browser, token, 503, PHONE)
    assert joined(browser, token).status_code == 303


def test_teams_that_does_not_answer(live: Live, browser: Browser) -> None:
    token = live.join_token(live.book("suri"))
    with live.down("graph"):
        answer = joined(browser, token)
    assert answer.status_code == 503 and NO_VIDEO in answer.text and PHONE in answer.text
    assert joined(browser, token).status_code == 303


@pytest.fixture
def configured(live: Live) -> Iterator[Callable[..., None]]:
    """Change the connection, for this test only."""
    before = tenants.connection(live.scope(), live.connection_id()).value

    def change(**fields: Any) -> None:
        present = tenants.connection(live.scope(), live.connection_id())
        tenants.change_connection(live.scope(), present.value.id, present.etag, ConnectionPatch(**fields), ACTOR)

    yield change
    change(organizers=before.organizers, clinic_name=before.clinic_name)


def test_a_connection_without_organizers_sends_the_patient_to_the_telephone(
    live: Live, browser: Browser, configured: Callable[..., None]
) -> None:
    token = live.join_token(live.book("suri"))
    configured(organizers=[])
    with live.nothing_stored():
        answer = joined(browser, token)
    assert answer.status_code == 503 and NO_VIDEO in answer.text and PHONE in answer.text


def test_what_an_administrator_typed_is_text_and_no_markup(
    live: Live, browser: Browser, token: str, configured: Callable[..., None]
) -> None:
    configured(clinic_name='<script>alert(1)</script>"')
    page = shown(browser, token)
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page


def test_an_open_page_costs_one_point_read_a_poll_and_is_counted_once(
    live: Live, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    appointment = live.book("suri", in_minutes=10)
    token, own = live.join_token(appointment), {"Sec-Fetch-Site": "same-origin"}
    made = func.FunctionApp()
    made.register_functions(visits.patient_blueprint(lambda: live.services))
    poll = next(f.get_user_function() for f in made.get_functions() if f.get_function_name() == "patient_presence")
    asked = func.HttpRequest("POST", "/", headers=own, route_params={"token": token}, body=b'{"browser": "fit"}')
    first = json.loads(poll(asked).get_body())
    key = visit_key(live.scope(), live.connection_id(), appointment)
    row = live.table("Visits").get_entity(live.connection_id(), f"p.{key}")
    assert row["opened_at"] and row["end"] > live.world.now().isoformat() and "browser" not in row
    operations: list[str] = []
    real = tables.Tables._run
    monkeypatch.setattr(tables.Tables, "_run", lambda self, table, w: operations.append(table) or real(self, table, w))
    reads = live.world.requests["cerner", "Appointment.read"]
    assert json.loads(poll(asked).get_body()) == first == {"look": first["look"], "in_call": False}
    assert operations == ["Visits"] and live.world.requests["cerner", "Appointment.read"] == reads


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"browser": ["old"]}', b'{"result": "fine"}',
                                  b'{"result": ["ok"]}', b'{"result": {}}', b"\xff"])
def test_odd_reports_of_a_page_store_nothing(live: Live, browser: Browser, body: bytes) -> None:
    token = live.join_token(live.book("suri", in_minutes=100))
    with live.nothing_stored():
        assert browser.post(f"/j/{token}/test", data=body).status_code in (400, 422)
        for path in "test", "presence":
            assert browser.send("POST", f"/j/{token}/{path}", data=b'{"result": "ok"}').status_code == 403
