"""Teams tells who waits: through the running app, its queue and simulated Graph; and nobody else can tell it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import requests

from connector import clock, tenants
from connector.adapters.tables import Row, Write
from connector.messages import discover
from connector.tenants import Connection, TenantScope
from connector.visits import ahead
from connector.visits.meeting import Meeting, provision, stored, visit_key
from connector.visits.presence import put_presence
from sandbox import entra_tokens, graph_subscriptions, teams
from sandbox.cast import HARBOR, NORDLYS
from sandbox.cerner import appointments
from sandbox.graph_subscriptions import Subscription
from sandbox.world import Json
from tests.running import Live
from tests.sandbox.host_process import eventually
from tests.tenants.stamp import race
from tests.visits.test_meeting import appointment, connection


@pytest.fixture(autouse=True)
def trusts_the_sandbox(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", live.ca)


@pytest.fixture(autouse=True)
def business_time(live: Live) -> Iterator[None]:
    clock.install(live.world.now)
    yield
    clock.install(None)


class Visit:
    """A visit whose meeting is made and followed."""

    def __init__(self, sandbox: Live) -> None:
        self.live, self.scope = sandbox, sandbox.scope()
        self.connection = connection(sandbox)
        self.booked = appointment(sandbox.world.now() + timedelta(minutes=20))
        self.key = visit_key(self.scope, self.connection.id, self.booked.id)
        self.meeting = provision(sandbox.services, self.scope, self.connection, self.booked)
        self.graph_id = self.meeting.id

    def row(self, kind: str) -> Row | None:
        return self.scope.tables.get("Visits", self.connection.id, f"{kind}.{self.key}")

    @property
    def subscription(self) -> Subscription:
        (found,) = [one for one in self.live.world.subscriptions.values() if one.meeting == self.graph_id]
        return found  # type: ignore[no-any-return]

    def counts(self) -> tuple[int, int, int]:
        row = self.row("p")
        return (row.number("lobby"), row.number("guests"), row.number("staff")) if row else (0, 0, 0)

    def join(self, oid: str | None = None) -> str:
        return teams.join(self.live.world, self.graph_id, "Pat", oid).id


@pytest.fixture
def visit(live: Live) -> Visit:
    return Visit(live)


def test_arrival_admission_and_leaving_are_seen_as_they_happen(visit: Visit) -> None:
    assert (visit.row("p") or Row("", "")).text("live") == "on"
    patient = visit.join()
    eventually(lambda: visit.counts() == (1, 0, 0))
    row = visit.row("p")
    assert row is not None and row.text("lobby_since") == row.text("roster_at")
    visit.join(HARBOR.clinicians[0].entra_oid)
    teams.admit(visit.live.world, visit.graph_id, None)
    eventually(lambda: visit.counts() == (0, 1, 1))
    teams.leave(visit.live.world, visit.graph_id, patient)
    eventually(lambda: visit.counts() == (0, 0, 1))
    row = visit.row("p")
    assert row is not None and "Pat" not in repr(row) and HARBOR.clinicians[0].entra_oid not in repr(row)


def test_twenty_who_make_the_meeting_at_once_subscribe_once(live: Live) -> None:
    found, booked = connection(live), appointment(live.world.now() + timedelta(minutes=20))
    made = race([partial(provision, live.services, live.scope(), found, booked)] * 20)
    assert len({repr(one) for one in made}) == 1
    key = visit_key(live.scope(), found.id, booked.id)

    def subscribed() -> bool:
        row = live.scope().tables.get("Visits", found.id, f"g.{key}")
        return row is not None and bool(row.text("subscription"))

    eventually(subscribed)
    (one,) = [s for s in live.world.subscriptions.values() if s.meeting == next(iter(made)).id]  # type: ignore[attr-defined]
    row = live.scope().tables.get("Visits", found.id, f"g.{key}")
    assert row is not None and row.text("subscription") == one.body["id"]


# what does not count


def item(visit: Visit, changed: Json | None = None, **inside: Any) -> Json:
    """One true item that says that somebody waits, then changed."""
    plain = {"eventType": "rosterUpdated", "eventDateTime": visit.live.world.now().isoformat(),
             "participants@delta": [{"id": "x1", "isInLobby": True, "info": {"identity": {"guest": {"id": "g"}}}}],
             **inside}
    found = visit.subscription
    made = {"subscriptionId": found.body["id"], "clientState": found.body["clientState"], "changeType": "updated",
            "tenantId": found.tid, "resource": found.body["resource"],
            "encryptedContent": graph_subscriptions.encrypt(json.dumps(plain).encode(), found.body)}
    return made | (changed or {})


def token(visit: Visit, tenant_id: str, **claims: Any) -> str:
    return graph_subscriptions.validation_token(visit.live.world, tenant_id, **claims)


def post(visit: Visit, items: Any, tokens: list[str] | None = None, path: str = "/webhooks/graph") -> int:
    delivery = {"value": items, "validationTokens": [token(visit, HARBOR.tid)] if tokens is None else tokens}
    return requests.post(visit.live.app + path, json=delivery, timeout=30).status_code


def test_the_true_item_counts_once_however_often_it_comes(visit: Visit) -> None:
    true = item(visit)
    for _ in range(3):
        assert post(visit, [true, true]) == 202
    assert visit.counts() == (1, 0, 0)
    row = visit.row("p")
    assert post(visit, [true]) == 202
    assert visit.row("p") == row


def test_keys_in_pascal_case_are_understood(visit: Visit) -> None:
    found = visit.subscription
    plain = {"EventType": "RosterUpdated", "EventDateTime": visit.live.world.now().isoformat(), "Participants@Delta": [
        {"Id": "x1", "IsInLobby": True, "Info": {"Identity": {"AzureCommunicationServicesUser": {"Id": "8:acs"}}}}]}
    sealed = graph_subscriptions.encrypt(json.dumps(plain).encode(), found.body)
    assert post(visit, [item(visit, {"encryptedContent": sealed})]) == 202
    assert visit.counts() == (1, 0, 0)


def _altered(visit: Visit, name: str, value: Any) -> Json:
    true = item(visit)
    return true | {"encryptedContent": true["encryptedContent"] | {name: value}}


FALSE: dict[str, Callable[[Visit], tuple[Any, list[str] | None]]] = {
    "a forged signature": lambda v: ([_altered(v, "dataSignature", base64.b64encode(b"0" * 32).decode())], None),
    "other content under the signature": lambda v: ([_altered(v, "data", base64.b64encode(b"0" * 64).decode())], None),
    "a key for somebody else": lambda v: ([_altered(v, "dataKey", base64.b64encode(b"1" * 256).decode())], None),
    "an unknown certificate": lambda v: ([_altered(v, "encryptionCertificateId", "f" * 64)], None),
    "no base64": lambda v: ([_altered(v, "data", "§§§")], None),
    "numbers for texts": lambda v: ([_altered(v, "dataKey", 7)], None),
    "another secret": lambda v: ([item(v, {"clientState": v.subscription.body["clientState"][:-3] + "AAA"})], None),
    "no secret": lambda v: ([item(v, {"clientState": None})], None),
    "another visit's secret": lambda v: (
        [item(v, {"clientState": Visit(v.live).subscription.body["clientState"]})], None),
    "another subscription": lambda v: ([item(v, {"subscriptionId": "0" * 36})], None),
    "another tenant": lambda v: ([item(v, {"tenantId": NORDLYS.tid})], None),
    "no token": lambda v: ([item(v)], []),
    "another tenant's token": lambda v: ([item(v)], [token(v, NORDLYS.tid)]),
    "a token for another app": lambda v: (
        [item(v)], [token(v, HARBOR.tid, aud="another")]),
    "a token of another sender": lambda v: (
        [item(v)], [token(v, HARBOR.tid, appid=entra_tokens.ENTRA_CLIENT_ID)]),
    "an old token": lambda v: ([item(v)], [token(v, HARBOR.tid, exp=1)]),
    "a token of another issuer": lambda v: (
        [item(v)], [token(v, HARBOR.tid, iss="https://sts.windows.net/x/")]),
    "an unsigned token": lambda v: (
        [item(v)], [token(v, HARBOR.tid).rsplit(".", 1)[0] + "."]),
    "an unknown kind of event": lambda v: ([item(v, eventType="recordingStarted")], None),
    "no time": lambda v: ([item(v, eventDateTime="today")], None),
    "participants that are none": lambda v: ([item(v, **{"participants@delta": [7]})], None),
    "garbage": lambda v: ("nothing", None),
    "garbage in the list": lambda v: ([None, 7, "x", []], None),
}


@pytest.mark.parametrize("name", FALSE)
def test_what_is_not_proven_leaves_nothing_and_is_answered_alike(visit: Visit, name: str) -> None:
    before = visit.row("p")
    items, tokens = FALSE[name](visit)
    assert post(visit, items, tokens) == 202
    assert visit.row("p") == before


def test_bodies_that_are_no_delivery_are_answered_alike(visit: Visit) -> None:
    for data in b"", b"{", b"[]", b'{"value": 3}', b'{"value": {}}', b"[" * 100_000:
        assert requests.post(f"{visit.live.app}/webhooks/graph", data=data, timeout=30).status_code == 202
    assert requests.post(f"{visit.live.app}/webhooks/graph", data=b" " * 300_000, timeout=30).status_code == 413


def test_a_huge_delivery_is_answered_in_time(visit: Visit) -> None:
    assert post(visit, [{"clientState": "x" * 500} for _ in range(400)]) == 202
    many = [item(visit, {"subscriptionId": str(n)}) for n in range(100)]
    assert post(visit, many) == 202
    assert visit.counts() == (0, 0, 0)
    assert post(visit, [*many, item(visit)]) == 202
    assert visit.counts() == (1, 0, 0)  # the true one is not lost behind a hundred others


def test_a_handshake_is_answered_with_the_token_as_plain_text(live: Live) -> None:
    for path in "/webhooks/graph", "/webhooks/graph/lifecycle":
        answer = requests.post(f"{live.app}{path}?validationToken=a%20%3Cb%3E%26c", timeout=30)
        assert (answer.status_code, answer.text) == (200, "a <b>&c")
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert requests.post(f"{live.app}{path}?validationToken={'x' * 3000}", timeout=30).status_code == 202


# what live status needs until the visit is over


def settled(sandbox: Live, scope: TenantScope, found: Connection, visit: str) -> Meeting | None:
    ahead.settle(sandbox.services, scope, found, visit, sandbox.world.now())
    return stored(sandbox.services, scope, found, visit)


def put(visit: Visit, **columns: str) -> None:
    visit.scope.tables.transact("Visits", [Write("merge", Row(visit.connection.id, f"g.{visit.key}", columns))])


def expire(visit: Visit) -> str:
    """Let the subscription be about to end; its id."""
    put(visit, expires="2020-01-01T00:00:00+00:00")
    return (visit.row("g") or Row("", "")).text("subscription")


def test_a_subscription_that_graph_lost_is_made_again(visit: Visit) -> None:
    first = expire(visit)
    visit.live.world.subscriptions.clear()
    settled(visit.live, visit.scope, visit.connection, visit.key)
    assert visit.subscription.body["id"] != first


def test_one_that_is_about_to_end_is_renewed(visit: Visit) -> None:
    first = expire(visit)
    settled(visit.live, visit.scope, visit.connection, visit.key)
    renewed = visit.row("g")
    assert renewed is not None and renewed.text("expires") > "2026" and renewed.text("subscription") == first


def test_one_whose_answer_was_lost_is_found_and_replaced(visit: Visit) -> None:
    first = visit.subscription.body["id"]
    row = visit.row("g")
    assert row is not None
    visit.scope.tables.delete("Visits", row)
    settled(visit.live, visit.scope, visit.connection, visit.key)
    assert visit.subscription.body["id"] != first
    assert (visit.row("g") or row).text("subscription") == visit.subscription.body["id"]


@pytest.mark.parametrize("event", ["reauthorizationRequired", "subscriptionRemoved", "missed"])
def test_lifecycle_events_renew_one_that_has_long_to_live(visit: Visit, event: str) -> None:
    visit.subscription.body["expirationDateTime"] = "as it was"
    asked = item(visit, {"lifecycleEvent": event, "encryptedContent": None})
    assert post(visit, [asked], [], "/webhooks/graph/lifecycle") == 202
    eventually(lambda: visit.subscription.body["expirationDateTime"] != "as it was")
    assert visit.counts() == (0, 0, 0)


def test_one_made_during_a_call_is_believed_when_it_has_told_something(visit: Visit) -> None:
    def live() -> str:
        return (visit.row("p") or Row("", "")).text("live")

    patient = visit.join()
    eventually(lambda: visit.counts() == (1, 0, 0))
    visit.live.world.subscriptions.clear()
    ahead.settle(visit.live.services, visit.scope, visit.connection, visit.key, visit.live.world.now(), doubted=True)
    assert (live(), visit.counts()) == ("off", (0, 0, 0))  # Teams will tell nothing of the call that goes on
    assert visit.subscription
    teams.leave(visit.live.world, visit.graph_id, patient)
    visit.join()
    eventually(lambda: visit.counts() == (1, 0, 0))
    assert live() == "on"


def test_a_meeting_that_is_made_anew_is_followed_instead_of_the_lost_one(visit: Visit) -> None:
    del visit.live.world.meetings[visit.graph_id]
    made = Row(visit.connection.id, f"o.{visit.key}", {"lobby_proven": "2020-01-01T00:00:00+00:00"})
    visit.scope.tables.transact("Visits", [Write("merge", made)])
    again = provision(visit.live.services, visit.scope, visit.connection, visit.booked)
    assert again.id != visit.graph_id
    eventually(lambda: [one for one in visit.live.world.subscriptions.values() if one.meeting == again.id])
    assert not [one for one in visit.live.world.subscriptions.values() if one.meeting == visit.graph_id]


def test_who_got_the_address_before_graph_subscribed_is_not_said_to_be_absent(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = live.services.subscriptions.create

    def slow(tenant_id: str, join_web_url: str, certificate: Any, *, client_state: str, until: Any) -> Any:
        connection_id, key, _ = client_state.split(".")
        put_presence(live.scope(), connection_id, key, end=None, joined_at=live.world.now().isoformat())
        return create(tenant_id, join_web_url, certificate, client_state=client_state, until=until)

    monkeypatch.setattr(live.services.subscriptions, "create", slow)
    visit = Visit(live)
    eventually(lambda: (visit.row("p") or Row("", "")).text("live") == "off")
    visit.join()
    eventually(lambda: visit.counts() == (1, 0, 0))
    assert (visit.row("p") or Row("", "")).text("live") == "on"


def test_a_renewal_that_failed_once_is_not_said_for_ever(visit: Visit) -> None:
    put(visit, expires="2020-01-01T00:00:00+00:00")
    with visit.live.down("graph"):
        settled(visit.live, visit.scope, visit.connection, visit.key)
    assert (visit.row("p") or Row("", "")).text("live") == "off"
    settled(visit.live, visit.scope, visit.connection, visit.key)
    assert (visit.row("p") or Row("", "")).text("live") == "on"


def test_after_the_visit_nothing_is_subscribed_any_more(visit: Visit) -> None:
    later = visit.live.world.now() + timedelta(hours=3)
    assert ahead.request(visit.live.services, visit.scope, visit.connection, later) >= 1
    ahead.settle(visit.live.services, visit.scope, visit.connection, visit.key, later)
    assert visit.row("g") is None
    assert all(one.meeting != visit.graph_id for one in visit.live.world.subscriptions.values())


def test_without_a_subscription_there_is_a_meeting_and_it_is_said_since_when_not(live: Live) -> None:
    live.world.subscription_quota = 0
    try:
        visit = Visit(live)
        row = visit.row("p")
        assert visit.meeting.join_web_url and row is not None and row.text("live") == "off" and row.text("live_at")
    finally:
        live.world.subscription_quota = 10_000
    eventually(lambda: (visit.row("g") or Row("", "")).text("claimed"))
    put(visit, claimed="2020-01-01T00:00:00+00:00")
    ahead.settle(live.services, visit.scope, visit.connection, visit.key, live.world.now())
    assert (visit.row("p") or Row("", "")).text("live") == "on"


def test_the_days_visits_have_their_meetings_an_hour_ahead(live: Live) -> None:
    scope, found = live.scope(), tenants.connection(live.scope(), live.connection_id()).value
    soon, later = live.book("hollis", in_minutes=55), live.book("suri", in_minutes=300)
    reader = live.services.ehr.reader(scope, found)
    discover.run(scope, found, reader, live.services.sealer, live.world.now())
    key = visit_key(scope, found.id, soon)
    assert ahead.request(live.services, scope, found, live.world.now()) >= 1
    made = eventually(lambda: stored(live.services, scope, found, key))
    assert made.browser_join_url
    assert stored(live.services, scope, found, visit_key(scope, found.id, later)) is None
    appointments.move(live.world, "harbor", soon, made.start + timedelta(minutes=2))
    ahead.settle(live.services, scope, found, key, live.world.now())
    moved = stored(live.services, scope, found, key)
    assert moved is not None and moved.start == made.start + timedelta(minutes=2)
    assert [m.external_id for m in live.world.meetings.values()].count(scope.index("meeting", found.id, soon)) == 1
