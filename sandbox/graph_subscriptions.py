"""Simulated change notifications of Teams meetings: subscriptions, their handshake, encrypted call events.

Source: Microsoft Graph, "Get change notifications for Microsoft Teams meeting call updates" (beta), "Create
subscription", "Set up change notifications that include resource data".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import queue
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import quote, unquote

import flask
import requests as http
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.padding import PKCS7
from flask.typing import ResponseReturnValue
from urllib3.exceptions import HTTPError

from sandbox import entra_tokens, graph_access
from sandbox.stand_in import world
from sandbox.world import Json, Meeting, Participant, World

CHANGE_TRACKING = "0bf30f3b-4a52-48df-9a82-234910c4a086"
LONGEST = timedelta(minutes=4320)
_NEEDED = ("resource", "notificationUrl", "expirationDateTime", "encryptionCertificate", "encryptionCertificateId")
_RESOURCE = "communications/onlineMeetings(joinWebUrl='{}')/meetingCallEvents"
_LOG = logging.getLogger("sandbox.graph")
routes = flask.Blueprint("graph_subscriptions", __name__)


@dataclass
class Subscription:
    body: Json
    tid: str
    meeting: str
    made: datetime
    """Business time: only calls that begin later are told of."""


@routes.post("/beta/subscriptions")
def create_subscription() -> ResponseReturnValue:
    hospital = graph_access.authorized(("OnlineMeetings.Read.All",))
    body = graph_access.json_body()
    meeting = _meeting_of(hospital.tid, str(body.get("resource", "")))
    if meeting is None or not all(body.get(name) for name in _NEEDED) or body.get("includeResourceData") is not True:
        raise graph_access.GraphError(400, "InvalidRequest", "The subscription is not valid.")
    _check_expiry(str(body["expirationDateTime"]))
    held = [one for one in world.subscriptions.values() if one.tid == hospital.tid]
    if any(one.meeting == meeting.id for one in held):
        raise graph_access.GraphError(409, "Conflict", "The app has a subscription for this meeting.")
    if len(held) >= world.subscription_quota:
        raise graph_access.GraphError(403, "ExtensionError", "The tenant has reached its subscription quota.")
    for url in body["notificationUrl"], body.get("lifecycleNotificationUrl") or body["notificationUrl"]:
        _shake_hands(str(url))
    made = Subscription({**body, "id": str(uuid.uuid4())}, hospital.tid, meeting.id, world.now())
    with world.changing():
        world.subscriptions[made.body["id"]] = made
    return _shown(made), 201


@routes.get("/beta/subscriptions")
def list_subscriptions() -> ResponseReturnValue:
    hospital = graph_access.authorized(("OnlineMeetings.Read.All",))
    return {"value": [_shown(one) for one in world.subscriptions.values() if one.tid == hospital.tid]}


@routes.patch("/beta/subscriptions/<subscription_id>")
def renew_subscription(subscription_id: str) -> ResponseReturnValue:
    found = _own(subscription_id)
    expires = str(graph_access.json_body().get("expirationDateTime", ""))
    _check_expiry(expires)
    found.body["expirationDateTime"] = expires
    return _shown(found)


@routes.delete("/beta/subscriptions/<subscription_id>")
def delete_subscription(subscription_id: str) -> ResponseReturnValue:
    with world.changing():
        del world.subscriptions[_own(subscription_id).body["id"]]
    return "", 204


def tell(world: World, meeting: Meeting, changed: Sequence[Participant]) -> None:
    """Report a changed roster to whoever subscribed before the call began; delivered in order by a thread."""
    present = [person for person in meeting.participants if person.state != "left"]
    if meeting.call_began is None:
        meeting.call_began = world.now()
    kind = "rosterUpdated" if present else "callEnded"
    for found in list(world.subscriptions.values()):
        if found.meeting == meeting.id and found.made <= meeting.call_began:
            world.notices.put(partial(_until_taken, world, found, [event(world, found, kind, changed)]))
    if not present:
        meeting.call_began = None
    _start_postman(world)


def event(world: World, found: Subscription, kind: str, changed: Sequence[Participant]) -> Json:
    """One encrypted item, as documented."""
    plain = {
        "@odata.type": "#microsoft.graph.callevent",
        "id": uuid.uuid4().hex,
        "eventType": kind,
        "eventDateTime": world.now().isoformat().replace("+00:00", "Z"),
        "participants@delta": [_participant(found.tid, person) for person in changed],
    }
    return {
        "subscriptionId": found.body["id"],
        "clientState": found.body.get("clientState"),
        "subscriptionExpirationDateTime": found.body["expirationDateTime"],
        "changeType": "updated",
        "tenantId": found.tid,
        "resource": found.body["resource"],
        "resourceData": {"@odata.type": "#microsoft.graph.callevent", "id": plain["id"]},
        "encryptedContent": encrypt(json.dumps(plain).encode(), found.body),
    }


def deliver(world: World, found: Subscription, items: list[Json], url: str | None = None) -> int:
    """POST items with the tenant's validation token; the status of the answer, 0 for none."""
    delivery = {"value": items, "validationTokens": [validation_token(world, found.tid)]}
    with http.Session() as session:
        session.trust_env = False
        try:
            return session.post(url or found.body["notificationUrl"], json=delivery, timeout=10).status_code
        except (http.RequestException, HTTPError, OSError):  # an app that is killed in the midst
            return 0


def _until_taken(world: World, found: Subscription, items: list[Json]) -> int:
    """Graph tries for four hours to deliver what is not answered, or with a 5xx; here for three minutes."""
    until = time.monotonic() + 180
    while (status := deliver(world, found, items)) == 0 or status >= 500:
        if time.monotonic() > until or found.body["id"] not in world.subscriptions:
            break
        time.sleep(0.5)
    return status


def validation_token(world: World, tid: str, **claims: object) -> str:
    """A v1.0 token, as Change Tracking sends it to an app of the default token version."""
    now = int(time.time())
    return entra_tokens.sign({
        "iss": f"https://sts.windows.net/{tid}/", "aud": entra_tokens.ENTRA_CLIENT_ID, "tid": tid, "ver": "1.0",
        "appid": CHANGE_TRACKING, "oid": str(uuid.uuid5(uuid.UUID(tid), CHANGE_TRACKING)), "iat": now, "nbf": now,
        "exp": now + 3600,
    } | claims)  # fmt: skip


def encrypt(plain: bytes, subscription: Json) -> Json:
    certificate = x509.load_der_x509_certificate(base64.b64decode(subscription["encryptionCertificate"]))
    public = certificate.public_key()
    assert isinstance(public, rsa.RSAPublicKey)  # noqa: S101 - what Graph takes
    key = secrets.token_bytes(32)
    padder = PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(key[:16])).encryptor()
    data = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    oaep = padding.OAEP(padding.MGF1(SHA1()), SHA1(), None)  # noqa: S303 - Graph's scheme
    return {
        "data": base64.b64encode(data).decode(),
        "dataSignature": base64.b64encode(hmac.new(key, data, hashlib.sha256).digest()).decode(),
        "dataKey": base64.b64encode(public.encrypt(key, oaep)).decode(),
        "encryptionCertificateId": subscription["encryptionCertificateId"],
        "encryptionCertificateThumbprint": certificate.fingerprint(SHA1()).hex().upper(),  # noqa: S303
    }


def _participant(tid: str, person: Participant) -> Json:
    who: Json = (
        {"user": {"id": person.oid, "tenantId": tid, "displayName": person.name}}
        if person.oid
        else {"guest": {"id": person.id, "displayName": person.name}}
    )
    gone = {"removedState": {"reason": "Participant has left the meeting call."}} if person.state == "left" else {}
    return {"id": person.id, "isInLobby": person.state == "lobby", "info": {"identity": who}, **gone}


def _start_postman(world: World) -> None:
    with world.lock:
        if world.postman is None:
            world.postman = threading.Thread(target=_carry, args=(world.notices,), daemon=True)
            world.postman.start()


def _carry(notices: queue.SimpleQueue[Callable[[], int]]) -> None:
    while True:
        notice = notices.get()
        try:
            notice()
        except Exception:  # the next is carried all the same
            _LOG.exception("a notice of a call is lost")


def _meeting_of(tid: str, resource: str) -> Meeting | None:
    """The join URL is percent-encoded once more in the resource."""
    for meeting in world.meetings.values():
        if meeting.tid == tid and resource == _RESOURCE.format(quote(meeting.body["joinWebUrl"], safe="")):
            return meeting
    return None


def _check_expiry(text: str) -> None:
    try:
        expires = datetime.fromisoformat(text)
    except ValueError:
        expires = datetime.min.replace(tzinfo=UTC)
    if not timedelta() < expires - datetime.now(UTC) <= LONGEST:
        raise graph_access.GraphError(400, "ValidationError", "expirationDateTime is out of range.")


def _shake_hands(url: str) -> None:
    """Graph URL-encodes an opaque token; the answer is its plain text within ten seconds."""
    token = f"Validation: Testing client application. <{secrets.token_hex(8)}>"
    with http.Session() as session:
        session.trust_env = False
        try:
            answer = session.post(f"{url}?validationToken={quote(token, safe='')}", timeout=10)
            good = answer.ok and answer.headers["Content-Type"].startswith("text/plain") and answer.text == token
        except http.RequestException:
            good = False
    if not good:
        raise graph_access.GraphError(400, "InvalidRequest", f"Subscription validation failed for {unquote(url)}.")


def _own(subscription_id: str) -> Subscription:
    hospital = graph_access.authorized(("OnlineMeetings.Read.All",))
    found: Subscription | None = world.subscriptions.get(subscription_id)
    if found is None or found.tid != hospital.tid:
        raise graph_access.GraphError(404, "ResourceNotFound", "The object was not found.")
    return found


def _shown(found: Subscription) -> Json:
    return {name: value for name, value in found.body.items() if name not in ("clientState", "encryptionCertificate")}
