"""What a clinician does about a visit: send, tell of a delay, revoke, end; and joining while something is down."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from connector import tenants
from connector.adapters.graph import app_url
from connector.tenants import ConnectionPatch
from connector.visits.presence import read_presence
from sandbox.cast import HARBOR
from tests.running import Browser, Live, Session
from tests.tenants.stamp import ACTOR

MOBILE = HARBOR.patients[4].mobile


class Visit:
    """A clinician's page on a visit of Suri's."""

    def __init__(self, live: Live) -> None:
        self.live, self.browser = live, Browser(live)
        self.appointment = live.book("suri", in_minutes=3, clinician_key="marwood")
        self.session: Session = self.browser.launch(user="marwood", patient="suri")
        self.browser.ask("GET", self.session, f"page?pick={live.pick(self.appointment)}")

    def do(self, what: str, status: int = 200, **body: Any) -> Any:
        answer = self.browser.ask("POST", self.session, what, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def patient(self, generation: int = 0) -> requests.Response:
        return Browser(self.live).get(f"/j/{self.live.join_token(self.appointment, generation=generation)}")

    def texts(self, to: str) -> list[str]:
        return [one.text for one in self.live.world.outbox if one.to == to]

    @property
    def presence(self) -> dict[str, Any]:
        visit = self.live.scope().index("visit", self.live.connection_id(), self.appointment)
        return dict(read_presence(self.live.scope(), self.live.connection_id(), visit).values)


@contextmanager
def channels(live: Live, *wanted: Any) -> Iterator[None]:
    """The connection sends by these, for a while."""

    def change(to: list[Any]) -> list[Any]:
        present = tenants.connection(live.scope(), live.connection_id())
        messages = present.value.messages.model_copy(update={"channels": to})
        patch = ConnectionPatch(messages=messages)
        tenants.change_connection(live.scope(), present.value.id, present.etag, patch, ACTOR)
        return list(present.value.messages.channels)

    before = change(list(wanted))
    try:
        yield
    finally:
        change(before)


@pytest.fixture
def visit(live: Live) -> Iterator[Visit]:
    live.world.outbox.clear()
    yield Visit(live)
    live.world.outbox.clear()


def test_the_link_goes_to_the_records_number_which_the_page_shows_masked(live: Live, visit: Visit) -> None:
    page = visit.browser.ask("GET", visit.session, "page").text
    assert f"{MOBILE[:2]}••" in page and MOBILE not in page.partition("Call instead")[0]
    masked = f"{MOBILE[:2]}{'•' * 8}{MOBILE[-2:]}"
    assert visit.do("send", channel="sms") == {"state": "sent", "to": masked, "again": False}
    assert visit.do("send", channel="sms")["again"] is True
    (text,) = visit.texts(MOBILE)
    assert f"/j/{live.join_token(visit.appointment)}" in text


def test_a_typed_number_is_used_once_and_not_kept(live: Live, visit: Visit) -> None:
    typed = "+1 (312) 555-7319"
    assert visit.do("send", channel="sms", typed=typed)["to"].endswith("19")
    assert len(visit.texts("+13125557319")) == 1
    stored = json.dumps([dict(row) for row in live.table("Visits").list_entities()], default=str)
    log = live.sandbox.app_log.read_text(encoding="utf-8")
    assert "5557319" not in stored and "5557319" not in log and "555-7319" not in log
    assert visit.do("send", 422, channel="sms", typed="soon")["code"] == "link.not_a_number"


def test_e_mail_where_the_hospital_wants_it(live: Live, visit: Visit) -> None:
    with channels(live, "sms", "email"):
        page = visit.browser.ask("GET", visit.session, "page").text
        address = HARBOR.patients[4].email
        assert "E-mail" in page and f"{address[0]}•••@" in page and address not in page
        assert visit.do("send", channel="email")["state"] == "sent"
        assert visit.do("send", channel="email", typed="Somebody@Elsewhere.example")["to"] == "s•••@e•••.example"
        assert [mail.to for mail in live.world.mail][-2:] == [address, "somebody@elsewhere.example"]
    with channels(live, "sms"):
        assert "E-mail" not in visit.browser.ask("GET", visit.session, "page").text
        assert visit.do("send", 409, channel="email")["code"] == "link.channel_off"


@pytest.mark.parametrize("body", [{}, {"channel": "fax"}, {"channel": ["sms"]}, {"channel": "sms", "typed": 1}])
def test_what_can_not_be_sent_is_refused(visit: Visit, body: dict[str, Any]) -> None:
    assert visit.do("send", 422, **body)["code"] == "visit.not_a_channel"
    assert visit.texts(MOBILE) == []


def test_running_late_is_on_the_patients_page_and_in_a_message_and_can_be_taken_back(visit: Visit) -> None:
    assert visit.do("late", minutes=15, channel="sms")["state"] == "sent"
    assert visit.presence["late_minutes"] == 15
    (text,) = visit.texts(MOBILE)
    assert "15" in text and "late" in text
    assert visit.do("late", minutes=0) == {"late_minutes": 0}
    assert not visit.presence["late_minutes"] and len(visit.texts(MOBILE)) == 1
    with channels(visit.live, "sms"):
        told = visit.do("late", minutes=20, channel="email")
    assert "no messages in this way" in told["not_sent"] and visit.presence["late_minutes"] == 20
    for wrong in 7, -5, "15", None, True:
        assert visit.do("late", 422, minutes=wrong)["code"] == "visit.not_minutes"


def test_a_revoked_link_stops_and_the_new_one_works(live: Live, visit: Visit) -> None:
    assert visit.patient(0).status_code == 200
    link = visit.do("revoke")["link"]
    assert visit.patient(0).status_code == 404 and visit.patient(1).status_code == 200
    assert link.endswith(live.join_token(visit.appointment, generation=1))
    assert link in visit.browser.ask("GET", visit.session, "page").text
    visit.do("send", channel="sms")
    assert link in visit.texts(MOBILE)[0]
    visit.do("revoke")
    assert visit.patient(1).status_code == 404 and visit.patient(2).status_code == 200


def test_an_ended_visit_closes_the_link_also_without_the_ehr_and_opens_again(live: Live, visit: Visit) -> None:
    assert "Join now" in visit.patient().text
    with live.down("cerner"):
        assert visit.do("end", how="closed")["ended"] == "closed"
    assert "Join now" not in visit.patient().text
    status = visit.browser.ask("GET", visit.session, "status").json()
    assert status["ended"] == "closed" and status["ended_at"]
    assert visit.do("end", how="phone")["ended"] == "phone"
    assert visit.do("end", how="open") == {"ended": "", "ended_at": ""}
    assert "Join now" in visit.patient().text
    assert visit.do("end", 422, how="never")["code"] == "visit.not_an_end"


def test_joining_while_the_ehr_or_teams_is_down(live: Live, visit: Visit) -> None:
    with live.down("cerner"):
        assert visit.do("join", 503)["retry"] is True
        refused = visit.browser.ask("GET", visit.session, "page")
        assert refused.status_code == 503 and "/board" in refused.json()["detail"]
    with live.down("graph"):
        refused_join = visit.do("join", 503)
        assert refused_join["retry"] is True and "Teams does not answer" in refused_join["detail"]
    there = visit.do("join")["join_url"]
    with live.down("cerner"):
        assert visit.do("join") == {"join_url": there, "app_url": None}
        page = visit.browser.ask("GET", visit.session, "page")
        assert page.status_code == 200 and "The EHR does not answer" in page.text and "Join in Teams" in page.text
        assert "Family Medicine" in page.text
        assert live.join_token(visit.appointment) in page.text and "Dhawanika" not in page.text
        assert visit.do("send", 503, channel="sms")["retry"] is True
    assert "Dhawanika" in visit.browser.ask("GET", visit.session, "page").text


@pytest.mark.parametrize("what", ["send", "late", "revoke", "end", "board"])
def test_no_foreign_page_acts_even_with_the_bearer(visit: Visit, what: str) -> None:
    for headers in {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {}:
        sent = {**visit.session.headers, **headers}
        answer = visit.browser.send("POST", f"/visits/{visit.session.id}/{what}", headers=sent, json={})
        assert (answer.status_code, answer.json()["code"]) == (403, "web.cross_site")


def test_the_apps_own_address_is_made_of_teams_addresses_alone() -> None:
    assert app_url("https://teams.microsoft.com/l/meetup-join/19%3ax/0?context=%7b%7d") == (
        "msteams:/l/meetup-join/19%3ax/0?context=%7b%7d")
    for other in "http://teams.microsoft.com/l/x?y", "https://teams.microsoft.com.evil.example/l/x?y", "https://visit.example/":
        assert app_url(other) is None
