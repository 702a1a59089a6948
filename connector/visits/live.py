"""Live status of a visit's call: its subscription at Graph, and the counts that its events leave behind.

Row `g.{visit}` in Visits is the subscription, row `p.{visit}` what staff see: each is one point read. A subscription
that cannot be had never keeps anybody from the visit; staff then read that there is no live status, and since when.
"""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from time import sleep
from typing import TYPE_CHECKING

from connector import clock, logs
from connector.adapters.graph_notifications import CallEvent, Certificate, Notification
from connector.adapters.tables import Row, RowChanged, RowExists, Value, Write
from connector.errors import ConnectorError, PermanentError, TransientError
from connector.keys import CONNECTION_ID, fingerprint
from connector.tenants import Connection, TenantScope
from connector.visits.presence import VISITS, Presence, put_presence, read_presence
from connector.visits.roster import Change, Roster

if TYPE_CHECKING:
    from connector.bootstrap import Services

RENEW_BEFORE = timedelta(minutes=30)
PATIENCE = timedelta(minutes=1)
"""After this a claim counts as given up."""
_TRIES = 6
_STATE = re.compile(rf"({CONNECTION_ID.pattern})\.([0-9a-f]{{32}})\.[A-Za-z0-9_-]{{32}}")


@lru_cache(maxsize=4)
def certificates(pems: tuple[str, ...]) -> tuple[Certificate, ...]:
    """Newest first: the newest is subscribed with, all decrypt. Raises PermanentError."""
    return tuple(Certificate.from_pem(pem) for pem in pems)


def follow(
    services: Services,
    scope: TenantScope,
    connection: Connection,
    visit: str,
    join_web_url: str,
    end: datetime,
    *,
    doubted: bool = False,
) -> bool:
    """Subscribe to the meeting's call events, or renew what is there; whether there is a subscription now.

    Only calls that begin later are reported: call it before anybody gets a join URL. `doubted`: Graph said that
    something is wrong with the subscription, so it is renewed though it has long to live. Raises nothing of Graph.
    """
    if not services.settings.graph_notification_certificates:
        return False
    until = end + timedelta(minutes=connection.join_closes_minutes) + timedelta(hours=1)
    try:
        row = scope.tables.get(VISITS, connection.id, f"g.{visit}")
        if row is not None and row.text("subscription"):
            lasts = _time(row, "expires") > min(until - timedelta(hours=1), datetime.now(UTC) + RENEW_BEFORE)
            if lasts and not doubted:
                return True
            if _renewed(services, scope, row, until):
                _tell(scope, connection.id, visit, "on", end)
                return True
        claimed = _claimed(scope, connection.id, visit, row)
        if claimed is None:
            return _awaited(scope, connection.id, visit)
        unsure = _unsure(scope, connection.id, visit, end)
        _subscribe(services, scope, claimed, join_web_url, end, until)
    except ConnectorError as error:
        logs.event("live.unavailable", connection=connection.id, visit=visit, code=error.code)
        _tell(scope, connection.id, visit, "off", end)
        return False
    now = read_presence(scope, connection.id, visit)
    if not unsure and not now.text("roster"):  # somebody may have got the address while Graph took its time
        _tell(scope, connection.id, visit, "off" if _handed_out(now) else "on", end)
    return True


def live_counts(scope: TenantScope, connection_id: str) -> tuple[int, int]:
    """Of the visits of today and yesterday whose meetings are made: how many have a live status, and how many do not
    though it was asked for."""
    rows = list(scope.tables.query(VISITS, connection_id, start="g.", end="g/"))
    asked = [row for row in rows if not row.text("subscription")]
    refused = [row for row in asked if datetime.now(UTC) - _time(row, "claimed") > PATIENCE]
    return len(rows) - len(asked), len(refused)


def _claimed(scope: TenantScope, connection_id: str, visit: str, row: Row | None) -> Row | None:
    """The g row, if it is for us to subscribe: of twenty who make a meeting at once, one does."""
    values: dict[str, Value] = {"claimed": datetime.now(UTC).isoformat()}
    try:
        if row is None:
            return scope.tables.insert(VISITS, Row(connection_id, f"g.{visit}", values))
        if row.text("claimed") and datetime.now(UTC) - _time(row, "claimed") < PATIENCE:
            return None
        return scope.tables.update(VISITS, replace(row, values=values))
    except (RowExists, RowChanged):
        return None


def _awaited(scope: TenantScope, connection_id: str, visit: str) -> bool:
    """Whether somebody else's subscription is there within two seconds: before that nobody should get a join URL."""
    for _ in range(8):
        sleep(0.25)
        row = scope.tables.get(VISITS, connection_id, f"g.{visit}")
        if row is None or row.text("subscription"):
            break
    return row is not None and bool(row.text("subscription"))


def _renewed(services: Services, scope: TenantScope, row: Row, until: datetime) -> bool:
    try:
        renewed = services.subscriptions.renew(scope.tenant_id, row.text("subscription"), until)
    except PermanentError as error:
        if error.code == "graph.not_found":
            return False
        raise
    changed = Row(row.partition, row.key, {"expires": renewed.expires.isoformat()})
    scope.tables.transact(VISITS, [Write("merge", changed)])
    return True


def _subscribe(
    services: Services, scope: TenantScope, row: Row, join_web_url: str, end: datetime, until: datetime
) -> None:
    """One whose answer was lost is found and replaced: its secret was lost with the answer."""
    state = f"{row.partition}.{row.key.removeprefix('g.')}.{secrets.token_urlsafe(24)}"
    certificate = certificates(services.settings.graph_notification_certificates)[0]
    create = partial(
        services.subscriptions.create, scope.tenant_id, join_web_url, certificate, client_state=state, until=until
    )
    try:
        made = create()
    except PermanentError as error:
        lost = services.subscriptions.find(scope.tenant_id, join_web_url) if error.vendor_status == 409 else None
        if lost is None:
            raise
        services.subscriptions.delete(scope.tenant_id, lost)
        made = create()
    values: dict[str, Value] = {
        "subscription": made.id, "client_state": fingerprint(state), "expires": made.expires.isoformat(),
        "end": end.isoformat(),
    }  # fmt: skip
    scope.tables.update(VISITS, replace(row, values=values))


def unfollow(services: Services, scope: TenantScope, connection_id: str, visit: str) -> None:
    """After the visit. Raises TransientError or PermanentError of Graph; the subscription ends by itself too."""
    row = scope.tables.get(VISITS, connection_id, f"g.{visit}")
    if row is None:
        return
    if row.text("subscription"):
        services.subscriptions.delete(scope.tenant_id, row.text("subscription"))
    try:
        scope.tables.delete(VISITS, row)
    except RowChanged:
        return


def named(client_state: str) -> tuple[str, str] | None:
    """Connection and visit that a client state of ours names, unproven."""
    match = _STATE.fullmatch(client_state)
    return (match[1], match[2]) if match else None


def subscribed(scope: TenantScope, connection_id: str, visit: str, notification: Notification) -> Row | None:
    """The visit's subscription, if the notification carries its secret."""
    row = scope.tables.get(VISITS, connection_id, f"g.{visit}")
    if row is None or row.text("subscription") != notification.subscription_id:
        return None
    known = hmac.compare_digest(row.text("client_state"), fingerprint(notification.client_state))
    return row if known else None


def record(scope: TenantScope, subscription: Row, event: CallEvent) -> None:
    """Add an event to the visit's counts; one that is known or older changes nothing. Raises TransientError."""
    partition, key = subscription.partition, f"p.{subscription.key.removeprefix('g.')}"
    changes = [Change(seen.id, seen.state, seen.staff) for seen in event.participants]
    for _ in range(_TRIES):
        row = scope.tables.get(VISITS, partition, key) or Row(partition, key)
        before = Roster.parse(row.text("roster"))
        after = before.after(event.at, changes, ended=event.ended)
        if after == before:
            return
        values: dict[str, Value] = {
            "end": subscription.text("end"), **row.values, "roster": after.text(), "roster_at": event.at.isoformat(),
            "lobby": after.lobby, "lobby_since": after.lobby_since.isoformat() if after.lobby_since else "",
            "guests": after.guests, "staff": after.staff, "live": "on",
        }  # fmt: skip
        if row.text("live") != "on":
            values["live_at"] = clock.now().isoformat()
        try:
            if row.etag is None:
                scope.tables.insert(VISITS, replace(row, values=values))
            else:
                scope.tables.update(VISITS, replace(row, values=values))
        except (RowExists, RowChanged):
            continue
        return
    raise TransientError("live.contended")


def _unsure(scope: TenantScope, connection_id: str, visit: str, end: datetime) -> bool:
    """Whether a call may go on already, of which a new subscription will not tell. Then what was counted counts no
    more, and nothing is known until the first event comes: `record` takes it as the proof."""
    before = read_presence(scope, connection_id, visit)
    if not (_handed_out(before) or before.text("roster")):
        return False
    nobody: dict[str, Value] = {"roster": "", "lobby": 0, "lobby_since": "", "guests": 0, "staff": 0}
    since = {} if before.text("live") == "off" else {"live_at": clock.now().isoformat()}
    put_presence(scope, connection_id, visit, end=end, live="off", **nobody, **since)
    return True


def _handed_out(presence: Presence) -> bool:
    return bool(presence.text("joined_at") or presence.text("staff_at"))


def _tell(scope: TenantScope, connection_id: str, visit: str, live: str, end: datetime) -> None:
    """Since when there is, or is not, live status: written when that changes."""
    if read_presence(scope, connection_id, visit).text("live") != live:
        put_presence(scope, connection_id, visit, end=end, live=live, live_at=clock.now().isoformat())


def _time(row: Row, name: str) -> datetime:
    return datetime.fromisoformat(row.text(name))
