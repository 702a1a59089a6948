"""A visit outlives the EHR's access token: renewal without a sound, with and without a new refresh token."""

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from connector.ehr import EhrTokens, EhrUser
from connector.errors import PermanentError, RefusedError, TransientError
from connector.launch import open_session, session
from connector.launch.session import VisitSession
from sandbox.azurite import Azurite
from tests.running import Browser, Live, Session
from tests.tenants.stamp import connected, pinned, race

USER = EhrUser("https://authorization.example/tenants/t/oidc/idsps/i/", "Practitioner/12994107")


class Server:
    """An authorization server that takes each refresh token once, or again and again."""

    def __init__(self, *, rotates: bool) -> None:
        self.rotates, self.good, self.asked = rotates, {"refresh-0"}, 0

    def refresh(self, held: str) -> EhrTokens:
        self.asked += 1
        if held not in self.good:
            raise PermanentError("cerner.invalid_grant")
        fresh = f"refresh-{self.asked}" if self.rotates else None
        self.good = {fresh} if fresh else self.good
        time.sleep(0.05)
        return EhrTokens(f"access-{self.asked}", 570, frozenset(), refresh_token=fresh)


@pytest.fixture
def page(azurite: Azurite) -> Callable[[], VisitSession]:
    """Opens the page's session, as each of its requests does; its access token is about to end."""
    services, scope = pinned(azurite)
    tokens = EhrTokens("access-0", 30, frozenset(), refresh_token="refresh-0")
    started = session.start(scope, connected(services, scope).value, "provider", USER, tokens)
    return lambda: open_session(services.directory, *started)


@pytest.mark.parametrize("rotates", [False, True])
def test_requests_at_once_renew_once_and_lose_nothing(page: Callable[[], VisitSession], rotates: bool) -> None:
    server = Server(rotates=rotates)
    sessions = [page() for _ in range(6)]
    work = [lambda s=one: s.access_token(server.refresh) for one in sessions[:4]]
    work += [lambda s=one: s.remember("51502301") for one in sessions[4:]]
    outcomes = race(work)
    assert not [one for one in outcomes if isinstance(one, BaseException)]
    kept = page().context
    assert kept.appointment_id == "51502301"
    assert kept.refresh_token in server.good
    assert server.asked <= 4
    again = page()
    again.context = replace(again.context, access_expires=0)
    assert again.access_token(server.refresh, renew=True).startswith("access-")


def test_a_refused_token_is_renewed_and_an_ended_session_says_so(page: Callable[[], VisitSession]) -> None:
    server, opened = Server(rotates=True), page()
    assert opened.access_token(server.refresh) == "access-1"
    assert opened.access_token(server.refresh) == "access-1"
    assert opened.access_token(server.refresh, renew=True) == "access-2"
    assert page().access_token(server.refresh) == "access-2"
    server.good = set()
    with pytest.raises(RefusedError) as refused:
        page().access_token(server.refresh, renew=True)
    assert refused.value.code == "visit.session_over" and server.asked == 3


def test_an_ehr_that_does_not_answer_ends_nothing(page: Callable[[], VisitSession]) -> None:
    def down(_: str) -> EhrTokens:
        raise TransientError("outgoing.unavailable")

    with pytest.raises(TransientError):
        page().access_token(down)
    assert page().access_token(Server(rotates=False).refresh) == "access-1"


# through the running app


def end_access(live: Live, kind: str = "access") -> None:
    with live.world.lock:
        for value in [v for v, grant in live.world.grants.items() if grant.user == "marwood" and grant.kind == kind]:
            del live.world.grants[value]


@pytest.mark.parametrize("quirk", ["rotate_refresh", ""])
def test_a_visit_of_half_an_hour_renews_without_a_sound(live: Live, quirk: str) -> None:
    live.book("suri")
    browser = Browser(live)
    visit = browser.launch(user="marwood", patient="suri")
    browser.visit(visit)
    with live.mischief(quirk):
        for _ in range(4):  # 570 seconds each
            end_access(live)
            assert browser.ask("GET", visit, "page").status_code == 200
            assert browser.ask("GET", visit, "status").status_code == 200
    end_access(live)
    end_access(live, "refresh")
    over = browser.ask("GET", visit, "page")
    assert over.status_code == 401 and over.json()["title"] == "Please open it from the chart again"
    again = browser.launch(user="marwood", patient="suri")
    assert browser.ask("GET", again, "page").status_code == 200


def test_two_charts_open_at_once_never_mix(live: Live) -> None:
    live.book("suri")
    live.book("hollis")
    browser = Browser(live)  # one browser, so one jar of cookies and one session storage
    first = browser.begin(live.launch_url(user="marwood", patient="suri"))
    second = browser.begin(live.launch_url(user="marwood", patient="hollis"))
    back = {one.state: browser.authorized(one) for one in (second, first)}
    sessions = {}
    for one in first, second:
        answer = browser.finish(back[one.state]).json()
        sessions[one.state] = Session(answer["session"], answer["bearer"])
    wrong = browser.finish({**back[first.state], "secret": second.secret})
    assert wrong.status_code == 400
    for one, name, other in (first, "Dhawanika", "Vanterpoole"), (second, "Vanterpoole", "Dhawanika"):
        shown = browser.visit(sessions[one.state])
        assert name in shown and other not in shown
    mixed = Session(sessions[first.state].id, sessions[second.state].bearer)
    assert browser.ask("GET", mixed, "page").status_code == 401
