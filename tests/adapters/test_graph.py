"""Graph: one meeting per visit, a lobby that is proven, and what each refusal means."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import flask
import pytest

from connector.adapters import microsoft
from connector.adapters.entra import Entra
from connector.adapters.graph import Graph, Lobby
from connector.adapters.graph_http import GraphHttp
from connector.errors import PermanentError, TransientError
from sandbox.cast import HARBOR, NORDLYS
from sandbox.world import World
from tests.adapters.serving import listening, raw, shown
from tests.adapters.simulated import settings, vendors, without_waiting

TENANT, ORGANIZER = HARBOR.tid, HARBOR.organizers[0].oid
START = datetime(2031, 3, 4, 9, 30, tzinfo=timezone(timedelta(hours=-6)))
END = START + timedelta(minutes=30)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with vendors(tmp_path_factory.mktemp("graph")) as world:
        yield world


@pytest.fixture(scope="module")
def tokens(running: World) -> Entra:
    return Entra(settings(running))


@pytest.fixture
def world(running: World) -> World:
    running.reset()
    return running


@pytest.fixture
def graph(world: World, tokens: Entra) -> Graph:
    http = GraphHttp(world.ports.url("graph"), tokens.app_token)
    without_waiting(http)
    return Graph(http)


def made(graph: Graph, external_id: str = "visit-1") -> str:
    meeting = graph.create_or_get(
        TENANT, ORGANIZER, external_id=external_id, subject="Video visit", start=START, end=END
    )
    return meeting.id


def test_same_visit_has_one_meeting(world: World, graph: Graph) -> None:
    assert made(graph) == made(graph) != made(graph, "visit-2")
    assert len(world.meetings) == 2
    body = world.meetings[made(graph)].body
    assert (body["startDateTime"], body["subject"]) == ("2031-03-04T15:30:00Z", "Video visit")


def test_a_deleted_meeting_is_gone_and_deleting_it_again_is_no_fault(world: World, graph: Graph) -> None:
    meeting = made(graph)
    graph.delete(TENANT, ORGANIZER, meeting)
    assert world.meetings == {}
    graph.delete(TENANT, ORGANIZER, meeting)


def test_lobby_is_protected_and_proven(world: World, graph: Graph) -> None:
    meeting = made(graph)
    assert not graph.lobby(TENANT, ORGANIZER, meeting).holds_patients
    later = START + timedelta(hours=1)
    graph.protect_lobby(TENANT, ORGANIZER, meeting, start=later, end=later + timedelta(hours=1))
    assert graph.lobby(TENANT, ORGANIZER, meeting) == Lobby("organizationExcludingGuests", False)
    assert graph.lobby(TENANT, ORGANIZER, meeting).holds_patients
    body = world.meetings[meeting].body
    assert body["allowedPresenters"] == "organization"
    assert (body["startDateTime"], body["endDateTime"]) == ("2031-03-04T16:30:00Z", "2031-03-04T17:30:00Z")


@pytest.mark.parametrize(("scope", "dial_in", "holds"), [
    ("organizationExcludingGuests", False, True),
    ("organizer", False, True),
    ("organizationExcludingGuests", True, False),
    ("organizer", True, False),
    ("invited", False, False),
    ("organization", False, False),
    ("organizationAndFederated", False, False),
    ("everyone", False, False),
    ("unknownFutureValue", False, False),
    ("None", False, False),
])
def test_which_lobbies_hold_patients(scope: str, dial_in: bool, holds: bool) -> None:
    assert Lobby(scope, dial_in).holds_patients is holds


def test_browser_join_url_is_a_best_effort(world: World, graph: Graph) -> None:
    url = graph.browser_join_url(TENANT, ORGANIZER, made(graph))
    assert url is not None and url.startswith(world.ports.url("teams"))
    assert graph.browser_join_url(TENANT, ORGANIZER, "no-such-meeting") is None


def test_missing_access_policy(world: World, graph: Graph) -> None:
    world.access_policy.clear()
    with pytest.raises(PermanentError) as refused:
        made(graph)
    assert (refused.value.code, refused.value.vendor_status) == ("graph.no_application_access", 403)
    assert ORGANIZER not in shown(refused.value)


def test_missing_meeting_and_stranger_organizer(graph: Graph) -> None:
    for organizer, meeting in ((ORGANIZER, "gone/../x?y"), (NORDLYS.organizers[0].oid, "gone")):
        with pytest.raises(PermanentError) as refused:
            graph.lobby(TENANT, organizer, meeting)
        assert refused.value.code in ("graph.not_found", "graph.refused")
    with pytest.raises(PermanentError, match=r"graph.not_found"):
        graph.lobby(TENANT, ORGANIZER, "gone")


def test_refused_token(world: World) -> None:
    with pytest.raises(PermanentError) as refused:
        made(Graph(GraphHttp(world.ports.url("graph"), lambda _: "no-token")))
    assert (refused.value.code, refused.value.vendor_code) == ("graph.token_refused", "InvalidAuthenticationToken")


def test_retries_make_no_second_meeting(world: World, graph: Graph) -> None:
    world.add_fault("graph", "429", 1)
    world.add_fault("graph", "500", 1)
    assert made(graph) and len(world.meetings) == 1
    world.add_fault("graph", "500", 3)
    with pytest.raises(TransientError, match=r"graph.unavailable"):
        made(graph)


def test_answer_lost_after_the_meeting_was_made(world: World, graph: Graph) -> None:
    world.patience_s = 0.2
    world.add_fault("graph", "timeout_after_accept", 1)
    assert made(graph) and len(world.meetings) == 1


def test_no_answer_at_all_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microsoft, "TIMEOUT_S", (3.05, 0.2))
    with raw(lambda connection, over: over.wait(10) and None) as port:
        graph = Graph(GraphHttp(f"http://127.0.0.1:{port}", lambda _: "bearer-secret"))
        without_waiting(graph._http)
        with pytest.raises(TransientError, match=r"graph.timed_out"):
            made(graph)


class Scripted:
    """Answers every request with one status, headers and body, and keeps the paths."""

    def __init__(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        self.paths: list[str] = []
        self.flask = flask.Flask("scripted")

        @self.flask.route("/<path:path>", methods=["GET", "POST", "PATCH"])
        def answer(path: str) -> Any:
            self.paths.append(flask.request.environ["RAW_URI"])
            return flask.make_response(flask.jsonify(body) if body is not None else "<p>", status, headers or {})


def ask(script: Scripted, call: Any) -> None:
    with listening(script.flask) as port:
        graph = Graph(GraphHttp(f"http://127.0.0.1:{port}", lambda _: "bearer-secret"))
        without_waiting(graph._http)
        call(graph)


def test_errors_carry_the_reference_and_no_text() -> None:
    body = {"error": {"code": "Forbidden", "message": "App is not authorized on behalf of visits1@harbor"}}
    with pytest.raises(PermanentError) as refused:
        ask(Scripted(403, body, {"request-id": "c0ffee-1"}), made)
    error = refused.value
    assert (error.code, error.vendor_code, error.vendor_reference) == (
        "graph.no_application_access", "Forbidden", "c0ffee-1",
    )
    for secret in ("harbor", "bearer-secret", "127.0.0.1"):
        assert secret not in shown(error)


def test_missing_consent_is_told_from_missing_policy() -> None:
    with pytest.raises(PermanentError, match=r"graph.not_consented"):
        ask(Scripted(403, {"error": {"code": "Authorization_RequestDenied"}}), made)


def test_long_retry_after_is_left_to_the_caller() -> None:
    script = Scripted(429, {}, {"Retry-After": "90"})
    with pytest.raises(TransientError) as failed:
        ask(script, made)
    assert (failed.value.code, failed.value.retry_after_s, len(script.paths)) == ("graph.throttled", 90.0, 1)


def test_ids_are_quoted_into_the_path() -> None:
    script = Scripted(404, {})
    with pytest.raises(PermanentError):
        ask(script, lambda graph: graph.lobby(TENANT, "o/../1", "MSpz?x=1#/../é"))
    assert script.paths == ["/v1.0/users/o%2F..%2F1/onlineMeetings/MSpz%3Fx%3D1%23%2F..%2F%C3%A9"]


@pytest.mark.parametrize("body", [None, [], {}, {"id": 1, "joinWebUrl": "x"}, {"id": "m", "joinWebUrl": ""}])
def test_unreadable_answers(body: Any) -> None:
    for call in (made, lambda graph: graph.lobby(TENANT, ORGANIZER, "m")):
        with pytest.raises(PermanentError, match=r"graph.unreadable_answer"):
            ask(Scripted(200, body), call)


def test_lobby_without_a_plain_false_lets_callers_in() -> None:
    settings = {"lobbyBypassSettings": {"scope": "organizer", "isDialInBypassEnabled": None}}
    ask(Scripted(200, settings), lambda graph: held(graph.lobby(TENANT, ORGANIZER, "m")))


def held(lobby: Lobby) -> None:
    assert not lobby.holds_patients


def test_times_are_sent_in_utc(world: World, graph: Graph) -> None:
    meeting = made(graph)
    assert world.meetings[meeting].body["endDateTime"] == END.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
