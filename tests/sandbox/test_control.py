"""The control API as sandbox/README.md documents it: every route, and a clear 400 for what makes no sense."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import requests
from flask import Flask
from werkzeug.serving import make_server

from sandbox import graph, home
from sandbox.cast import HOSPITALS
from sandbox.cerner import appointments
from sandbox.ports import free_ports
from sandbox.world import Meeting, Ports, Registration, SentEmail, SentMessage, World


class Api:
    """The control API of a served home page."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.base = f"{world.ports.url('home')}/_control"

    def ask(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = requests.request(method, self.base + path, json=body, timeout=30)
        assert answer.status_code == status, answer.text
        return answer.json()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    ports = Ports(*free_ports(11))
    world = World(HOSPITALS, ports, tmp_path / "clock")
    appointments.populate(world)
    with served(home.create_app(world), ports.home), served(graph.create_app(world), ports.graph):
        yield Api(world)


class served:
    """A vendor on its port for as long as the block lasts."""

    def __init__(self, app: Flask, port: int) -> None:
        self.server = make_server("127.0.0.1", port, app, threaded=True)

    def __enter__(self) -> None:
        self.thread = Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def add_meeting(world: World) -> Meeting:
    hospital = world.hospitals["harbor"]
    body = {
        "joinWebUrl": "http://127.0.0.1/l/meetup-join/t/0",
        "lobbyBypassSettings": {"scope": "organizationExcludingGuests"},
        "startDateTime": "2026-11-23T15:30:00.0000000Z",
        "chatInfo": {"threadId": "t"},
    }
    meeting = Meeting("m1", hospital.tid, hospital.organizers[0].oid, "x", body)
    world.meetings[meeting.id] = meeting
    return meeting


def test_a_body_needs_no_content_type(api: Api) -> None:
    answer = requests.post(f"{api.base}/clock", data='{"advance_s": 60}', timeout=30)
    assert answer.status_code == 200
    assert "object" in requests.post(f"{api.base}/clock", data="{", timeout=30).json()["error"]


def test_booking_moving_and_cancelling(api: Api) -> None:
    booked = api.ask("POST", "/appointments", {"hospital": "harbor", "patient": "mira", "in_minutes": 30})
    resource = api.world.resources[HOSPITALS[0].ehr_tenant]["Appointment", booked["id"]]
    assert "contained" in resource, "a native video visit unless asked otherwise"
    start = datetime.fromisoformat(booked["start"])
    assert timedelta(minutes=28) < start - api.world.now() <= timedelta(minutes=30)

    later = (start + timedelta(hours=1)).isoformat()
    name = {"hospital": "harbor", "id": booked["id"]}
    assert api.ask("PATCH", "/appointments", {**name, "start": later}) == {"id": booked["id"], "start": later}
    resource = api.world.resources[HOSPITALS[0].ehr_tenant]["Appointment", booked["id"]]
    assert datetime.fromisoformat(resource["start"]) == start + timedelta(hours=1)

    assert api.ask("PATCH", "/appointments", {**name, "cancel": True})["status"] == "cancelled"
    assert api.world.resources[HOSPITALS[0].ehr_tenant]["Appointment", booked["id"]]["status"] == "cancelled"


def test_the_clock_moves_and_reset_returns_to_the_beginning(api: Api, tmp_path: Path) -> None:
    now = datetime.fromisoformat(api.ask("POST", "/clock", {"advance_s": 900})["now"])
    assert now - datetime.now(UTC) > timedelta(seconds=890)
    assert float((tmp_path / "clock").read_text()) == 900
    api.ask("POST", "/appointments", {"hospital": "nordlys", "patient": "jens", "in_minutes": 5})
    before = len(api.world.resources[HOSPITALS[1].ehr_tenant])
    api.ask("POST", "/faults", {"vendor": "graph", "kind": "429"})
    api.ask("POST", "/reset")
    assert float((tmp_path / "clock").read_text()) == 0
    assert len(api.world.resources[HOSPITALS[1].ehr_tenant]) == before - 1
    assert not api.world.faults


def test_faults_hit_the_next_requests_and_requests_are_counted(api: Api) -> None:
    api.ask("POST", "/faults", {"vendor": "graph", "kind": "500", "next": 2})
    organization = f"{api.world.ports.url('graph')}/v1.0/organization"
    answers = [requests.get(organization, timeout=30).status_code for _ in range(3)]
    assert answers == [500, 500, 401]
    assert sum(api.ask("GET", "/requests")["graph"].values()) == 3


def test_a_launch_url_carries_iss_and_a_fresh_launch(api: Api) -> None:
    body = {"persona": "provider", "hospital": "harbor", "user": "okafor", "patient": "mira"}
    assert "not configured" in api.ask("POST", "/launch", body, 400)["error"]
    app = api.world.ports.url("app")
    api.world.registrations["harbor"] = Registration(
        "a1", f"{app}/launch/a1/provider", f"{app}/launch/a1/patient", f"{app}/launch/callback"
    )
    first, second = (api.ask("POST", "/launch", body)["url"] for _ in range(2))
    assert first.startswith(f"{app}/launch/a1/provider?iss=http") and first != second
    patient = api.ask("POST", "/launch", {"persona": "patient", "hospital": "harbor", "patient": "mira"})[
        "url"
    ]
    assert patient.startswith(f"{app}/launch/a1/patient?iss=http")


def test_integration_records_are_entered_as_the_portal_gave_them(api: Api) -> None:
    app = api.world.ports.url("app")
    good = {"hospital": "harbor", "provider_launch_url": f" {app}/launch/a1/provider ",
            "patient_launch_url": f"{app}/launch/a1/patient", "redirect_uri": f"{app}/launch/callback"}
    for wrong in (
        {"provider_launch_url": f"{app}/launch/a1/patient"},
        {"provider_launch_url": "https://evil.example/launch/a1/provider"},
        {"patient_launch_url": f"{app}/launch/a2/patient"},
        {"redirect_uri": "https://evil.example/"},
        {"hospital": "nowhere"},
    ):
        assert api.ask("POST", "/registrations", good | wrong, 400)["error"]
    assert "harbor" not in api.world.registrations
    assert api.ask("POST", "/registrations", good) == {"connection": "a1"}
    launch = {"persona": "provider", "hospital": "harbor", "user": "okafor"}
    assert api.ask("POST", "/launch", launch)["url"].startswith(f"{app}/launch/a1/provider?iss=http")


def test_meeting_lobby_is_worked_from_outside(api: Api) -> None:
    add_meeting(api.world)
    guest = api.ask("POST", "/meetings/m1/join", {"name": "Guest"})
    clinician = HOSPITALS[0].clinicians[0].entra_oid
    assert guest["state"] == "lobby"
    assert api.ask("POST", "/meetings/m1/join", {"oid": clinician})["state"] == "connected"
    [seen] = api.ask("GET", "/meetings")
    assert (seen["hospital"], seen["lobby"], seen["connected"]) == ("harbor", 1, 1)
    assert api.ask("POST", "/meetings/m1/admit") == {"participants": [guest["participant"]]}
    assert api.ask("GET", "/meetings")[0]["connected"] == 2
    api.ask("POST", "/meetings/m1/leave", {"participant": guest["participant"]})
    api.ask("POST", "/meetings/m1/leave")
    assert api.ask("GET", "/meetings")[0]["connected"] == 0
    assert "no meeting" in api.ask("POST", "/meetings/m2/join", {}, 400)["error"]


def test_the_outbox_lists_what_was_accepted(api: Api) -> None:
    message = SentMessage(
        "i", "americas", "+18005550100", "+13125552348", "See https://a.example/j/x.", api.world.now()
    )
    api.world.outbox.append(message)
    [seen] = api.ask("GET", "/outbox")
    assert (seen["to"], seen["text"]) == (message.to, message.text)
    phone = requests.get(f"{api.world.ports.url('home')}/phone/harbor/mira", timeout=30).text
    assert '<a href="https://a.example/j/x"' in phone


def test_a_phone_can_answer_a_number(api: Api) -> None:
    home = api.world.ports.url("home")
    assert "Text to +18005550100" in requests.get(f"{home}/phone/harbor/mira", timeout=30).text
    assert "Text to" not in requests.get(f"{home}/phone/nordlys/jens", timeout=30).text
    answer = requests.post(f"{home}/phone/harbor/mira/reply", {"text": "C"}, timeout=40, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/phone/harbor/mira")


def test_mail_is_listed_and_shown_in_the_inbox(api: Api) -> None:
    body = '<p><a href="https://a.example/j/x">Join</a></p>'
    mira = HOSPITALS[0].patients[0]
    sent = SentEmail("i", "americas", "v@a.example", mira.email, "Visit <1>", "Join", body, {}, api.world.now())
    api.world.mail.append(sent)
    [seen] = api.ask("GET", "/mail")
    assert (seen["to"], seen["subject"], seen["text"]) == (mira.email, "Visit <1>", "Join")
    home = api.world.ports.url("home")
    assert "Visit &lt;1&gt;" in requests.get(f"{home}/phone/harbor/mira", timeout=30).text
    shown = requests.get(f"{home}/mail/i", timeout=30)
    assert 'href="https://a.example/j/x"' in shown.text
    assert "default-src 'none'" in shown.headers["Content-Security-Policy"]
    assert requests.get(f"{home}/mail/other", timeout=30).status_code == 404


def test_carriers_verify_a_number_that_was_bought(api: Api) -> None:
    api.world.owned_numbers["americas"] = {"18332040117": {}}
    api.world.unverified_senders.add("+18332040117")
    given = {"number": "+18332040117", "verified": True}
    assert api.ask("POST", "/numbers", given) == given and not api.world.unverified_senders
    api.ask("POST", "/numbers", given | {"verified": False})
    assert api.world.unverified_senders == {"+18332040117"}


@pytest.mark.parametrize(
    ("method", "path", "body", "word"),
    [
        ("POST", "/clock", {"advance_s": "soon"}, "advance_s"),
        ("POST", "/clock", {"advance_s": -1}, "backwards"),
        ("POST", "/clock", {"advance_s": 1e300}, "range"),
        ("POST", "/clock", [1], "object"),
        ("POST", "/faults", {"vendor": "teams", "kind": "500"}, "vendor"),
        ("POST", "/faults", {"vendor": "acs", "kind": "404"}, "kind"),
        ("POST", "/faults", {"vendor": "acs", "kind": "500", "next": 0}, "next"),
        ("POST", "/appointments", {"hospital": "elsewhere"}, "harbor, nordlys"),
        ("POST", "/appointments", {"hospital": "harbor", "patient": "jens", "in_minutes": 5}, "mira"),
        ("POST", "/appointments", {"hospital": "harbor", "patient": "mira"}, "in_minutes"),
        ("POST", "/appointments", {"hospital": "harbor", "patient": "mira", "start": "today"}, "ISO 8601"),
        (
            "POST",
            "/appointments",
            {"hospital": "harbor", "patient": "mira", "start": "2026-11-23T10:00"},
            "offset",
        ),
        (
            "POST",
            "/appointments",
            {"hospital": "harbor", "patient": "mira", "kind": "x", "in_minutes": 5},
            "native",
        ),
        ("PATCH", "/appointments", {"hospital": "harbor", "id": "1", "cancel": True}, "no appointment"),
        ("POST", "/numbers", {"number": "+18332040128"}, "bought"),
        ("POST", "/launch", {"persona": "nurse", "hospital": "harbor"}, "provider, patient"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(
    api: Api, method: str, path: str, body: Any, word: str
) -> None:
    assert word in api.ask(method, path, body, 400)["error"]
    assert api.world.now() - datetime.now(UTC) < timedelta(seconds=1)


def test_the_home_page_moves_the_same_world(api: Api) -> None:
    base = api.world.ports.url("home")
    page = requests.post(f"{base}/_home/clock", data={"advance_s": "3600"}, timeout=30)
    assert page.status_code == 200 and "Time moved on" in page.text
    assert api.world.offset == timedelta(hours=1)
    page = requests.post(f"{base}/_home/book", data={"hospital": "harbor", "patient": "x"}, timeout=30)
    assert "That did not work" in page.text
    add_meeting(api.world)
    assert "0 in the lobby" in requests.get(base, timeout=30).text
    assert requests.get(f"{base}/phone/harbor/nobody", timeout=30).status_code == 404


def test_a_phone_shows_both_sides_of_the_conversation(api: Api) -> None:
    sent = SentMessage("i", "americas", "+18005550100", "+13125552348", "Come at nine.", api.world.now())
    api.world.outbox.append(sent)
    api.world.replies += [("+13125552348", "C", api.world.now()), ("+17736028194", "Not mine", api.world.now())]
    page = requests.get(f"{api.world.ports.url('home')}/phone/harbor/mira", timeout=10).text
    assert page.index("Come at nine.") < page.index('<div class="bubble">C</div>') and "Not mine" not in page


def test_whoever_follows_the_page_opens_the_chart_of_the_visit_that_was_booked(api: Api) -> None:
    base = api.world.ports.url("home")
    form = {"hospital": "harbor", "patient": "suri", "clinician": "lindqvist", "in_minutes": "30"}
    page = requests.post(f"{base}/_home/book", data=form, timeout=30).text
    booking, chart = page[page.index('id="visit"') :], page[page.index('id="powerchart"') :]
    assert booking.index('role="status">Booked.') < booking.index("</section>")
    assert 'value="odette" selected' in booking[: booking.index("</form>")]
    for chosen in ("suri", "lindqvist"):
        assert f'value="{chosen}" selected' in chart[: chart.index("</form>")]
