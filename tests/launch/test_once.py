"""What must happen once happens once, however many try: a launch's state, a user link, a session's own bearer."""

import time
from dataclasses import replace

import pytest

from connector.ehr import EhrTokens, EhrUser
from connector.errors import RefusedError
from connector.keys import fingerprint
from connector.launch import links, open_session, session, state
from connector.regions import Region
from sandbox.azurite import Azurite
from tests.tenants.stamp import build, connected, pinned, race, tenant_id

USER = EhrUser("https://authorization.example/tenants/t/oidc/idsps/i/", "Practitioner/12994107")
TOKENS = EhrTokens("access", 570, frozenset(), refresh_token="refresh", patient_id="13207741")
STATE = "abcdefgh2"


def test_of_eight_who_bring_the_state_and_its_secret_one_gets_it(azurite: Azurite) -> None:
    _, scope = pinned(azurite)
    begun = state.begin(scope, STATE, "provider")
    outcomes = race([lambda: state.take(scope, STATE, begun.state, begun.secret)] * 8)
    assert [one for one in outcomes if isinstance(one, state.Launch)] == [begun]
    assert [one.code for one in outcomes if isinstance(one, RefusedError)] == ["launch.state_unknown"] * 7


def test_a_stranger_can_not_spend_the_state(azurite: Azurite) -> None:
    _, scope = pinned(azurite)
    begun = state.begin(scope, STATE, "patient")
    for wrong in None, "", "x", begun.state, begun.secret[:-1], begun.secret + "\ud800":
        with pytest.raises(RefusedError) as refused:
            state.take(scope, STATE, begun.state, wrong)
        assert refused.value.code == "launch.no_secret"
    assert state.take(scope, STATE, begun.state, begun.secret) == begun


def test_a_state_ends_after_ten_minutes_and_is_taken_away(azurite: Azurite) -> None:
    _, scope = pinned(azurite)
    began = int(time.time())
    begun = state.begin(scope, STATE, "provider")
    row = scope.tables.get(state.SESSIONS, STATE, f"launch.{fingerprint(begun.state)}")
    assert row is not None and began + 600 <= row.number("expires") <= time.time() + 600
    scope.tables.update(state.SESSIONS, replace(row, values={**row.values, "expires": int(time.time()) - 1}))
    with pytest.raises(RefusedError):
        state.take(scope, STATE, begun.state, begun.secret)
    assert scope.tables.get(state.SESSIONS, STATE, row.key) is None


def test_what_is_stored_of_a_launch_and_a_session_opens_nothing(azurite: Azurite) -> None:
    services, scope = pinned(azurite)
    made = connected(services, scope).value
    begun = state.begin(scope, made.id, "provider")
    identity, bearer = session.start(scope, made, "provider", USER, TOKENS)
    rows = [dict(row.values) for row in scope.tables.query(state.SESSIONS, made.id)]
    text = repr(rows)
    assert len(rows) == 2
    for secret in (begun.secret, begun.state, begun.code_verifier, begun.nonce, bearer, "access", "refresh", "13207741",
                   "12994107"):
        assert secret not in text
    opened = open_session(services.directory, identity, bearer)
    assert (opened.context.access_token, opened.context.patient_id) == ("access", "13207741")


@pytest.mark.parametrize("wrong", [None, "", "x", "own id"])
def test_a_session_opens_by_its_own_bearer_alone(azurite: Azurite, wrong: str | None) -> None:
    services, scope = pinned(azurite)
    made = connected(services, scope).value
    (mine, bearer), (_, other) = (session.start(scope, made, "provider", USER, TOKENS) for _ in range(2))
    for tried in (mine if wrong == "own id" else wrong), other, bearer + "x":
        with pytest.raises(RefusedError) as refused:
            open_session(services.directory, mine, tried)
        assert refused.value.status == 401
    assert open_session(services.directory, mine, bearer).id == mine


def test_of_eight_accounts_one_becomes_the_users_link(azurite: Azurite) -> None:
    fresh = tenant_id()
    build(azurite, fresh).directory.pin(fresh, Region.EMEA)
    workers = [build(azurite, fresh).directory.scope(fresh) for _ in range(8)]
    outcomes = race(
        [lambda s=scope, n=n: links.add_link(s, STATE, USER, f"oid-{n}") for n, scope in enumerate(workers)])
    won = [one for one in outcomes if isinstance(one, links.UserLink)]
    assert won == [links.find_link(workers[0], STATE, USER)]
    assert [one.status for one in outcomes if isinstance(one, RefusedError)] == [409] * 7


def test_a_link_is_made_again_without_harm_and_never_to_another_account(azurite: Azurite) -> None:
    _, scope = pinned(azurite)
    first = links.add_link(scope, STATE, USER, "oid-1")
    assert links.add_link(scope, STATE, USER, "oid-1") == first
    with pytest.raises(RefusedError):
        links.add_link(scope, STATE, USER, "oid-2")
    for somebody in replace(USER, fhir_user="Practitioner/1"), replace(USER, issuer="https://elsewhere.example/"):
        assert links.find_link(scope, STATE, somebody) is None
    assert links.find_link(scope, "abcdefgh3", USER) is None
