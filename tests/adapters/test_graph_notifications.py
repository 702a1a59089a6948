"""Call events from Graph's wire form, whichever of our certificates they were encrypted with; else nothing."""

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.adapters.graph_notifications import (
    CallEvent,
    Certificate,
    Notification,
    NotReadable,
    Seen,
    call_event,
    read,
)
from connector.errors import PermanentError
from sandbox.certificates import notification_certificate
from sandbox.graph_subscriptions import encrypt

TENANT = "3f2b1c00-0000-4000-8000-000000000001"
OLD, NEW = (Certificate.from_pem(notification_certificate()) for _ in range(2))
EVENT = {"eventType": "rosterUpdated", "eventDateTime": "2027-03-02T09:00:00-06:00", "participants@delta": [
    {"id": "a", "isInLobby": True, "info": {"identity": {"guest": {"id": "1", "displayName": "Pat"}}}},
    {"id": "b", "isInLobby": False, "info": {"identity": {"user": {"id": "2", "tenantId": TENANT.upper()}}}},
    {"id": "c", "isInLobby": False, "info": {"identity": {"user": {"id": "3", "tenantId": "another"}}}},
    {"id": "d", "isInLobby": False, "removedState": {"reason": "left"}, "info": {"identity": None}}]}  # fmt: skip


def sealed(plain: object, certificate: Certificate = NEW) -> Notification:
    made = encrypt(json.dumps(plain).encode(),
                   {"encryptionCertificate": certificate.der_base64, "encryptionCertificateId": certificate.id})
    return Notification("s", TENANT, "state", None, made)


@pytest.mark.parametrize("certificate", [OLD, NEW])
def test_old_and_new_certificates_read_while_one_replaces_the_other(certificate: Certificate) -> None:
    event = call_event(sealed(EVENT, certificate), (NEW, OLD))
    assert (event.at, event.ended) == (datetime(2027, 3, 2, 15, tzinfo=UTC), False)
    assert [(seen.state, seen.staff) for seen in event.participants] == [
        ("lobby", False), ("connected", True), ("connected", False), ("gone", False)]
    assert len({seen.id for seen in event.participants}) == 4 and all(len(seen.id) == 16 for seen in event.participants)
    with pytest.raises(NotReadable):
        call_event(sealed(EVENT, certificate), tuple({NEW, OLD} - {certificate}))


def test_the_end_of_a_call() -> None:
    event = call_event(sealed({"eventType": "callEnded", "eventDateTime": "2027-03-02T15:00:00Z"}), (NEW,))
    assert event == CallEvent(datetime(2027, 3, 2, 15, tzinfo=UTC), True, ())
    assert Seen("x", "gone", staff=False) not in event.participants


JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(
                        st.sampled_from(["eventType", "eventDateTime", "participants@delta", "id", "info"]), inner))


@settings(max_examples=150, deadline=None)
@given(JSON)
def test_whatever_is_inside_is_an_event_or_refused(plain: object) -> None:
    try:
        call_event(sealed(plain), (NEW,))
    except NotReadable:
        return


@settings(max_examples=300, deadline=None)
@given(st.binary() | JSON.map(lambda value: json.dumps({"value": value}).encode()))
def test_whatever_is_delivered_is_read_or_refused(body: bytes) -> None:
    try:
        items, tokens = read(body, most=5)
    except NotReadable:
        return
    assert len(items) <= 5 and len(tokens) <= 5


def test_a_key_without_its_certificate_is_refused() -> None:
    one, other = notification_certificate(), notification_certificate()
    mark = "-----BEGIN CERTIFICATE-----"
    for pem in ("", "x", one.partition(mark)[0], one.partition(mark)[0] + mark + other.partition(mark)[2],
                one.replace("MII", "AAA", 1)):
        with pytest.raises(PermanentError) as refused:
            Certificate.from_pem(pem)
        assert refused.value.code == "graph.bad_certificate"
    assert "PRIVATE" not in repr(NEW) and base64.b64decode(NEW.der_base64)
