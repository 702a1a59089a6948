"""Change notifications with resource data from Microsoft Graph: read, decrypted, in our own words.

Nothing here proves who sent a notification: `Entra.notification_tenants` does, by its validation tokens.
Source: Microsoft Graph, "Set up change notifications that include resource data", "Get change notifications for
Microsoft Teams meeting call updates".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from connector.errors import PermanentError

_LONGEST_EVENT = 512 * 1024
_MOST_PARTICIPANTS = 500


class NotReadable(Exception):
    """Not a notification that was encrypted for us, or not one we understand."""


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate that subscriptions are made with; `id` is the SHA-256 of its DER form."""

    id: str
    der_base64: str
    private_key: rsa.RSAPrivateKey = field(repr=False, compare=False)

    @classmethod
    def from_pem(cls, pem: str) -> Certificate:
        """Of a private key and its certificate in one PEM text. Raises PermanentError `graph.bad_certificate`."""
        try:
            key = load_pem_private_key(pem.encode(), password=None)
            found = x509.load_pem_x509_certificate(pem[pem.index("-----BEGIN CERTIFICATE-----") :].encode())
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise PermanentError("graph.bad_certificate") from None
        if not isinstance(key, rsa.RSAPrivateKey) or found.public_key() != key.public_key():
            raise PermanentError("graph.bad_certificate")
        der = found.public_bytes(Encoding.DER)
        return cls(hashlib.sha256(der).hexdigest(), base64.b64encode(der).decode(), key)


@dataclass(frozen=True)
class Notification:
    """One item of a delivery, unproven."""

    subscription_id: str
    tenant_id: str
    client_state: str
    lifecycle_event: str | None
    """Such as `reauthorizationRequired`; None for a change."""
    encrypted: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Seen:
    """One participant of a call. `id` is a hash of Graph's id, which names one entry into one call."""

    id: str
    state: Literal["lobby", "connected", "gone"]
    staff: bool
    """Somebody of the tenant's directory. A patient is whoever is not."""


@dataclass(frozen=True)
class CallEvent:
    at: datetime
    ended: bool
    """The call is over: nobody is left."""
    participants: tuple[Seen, ...]
    """Those that changed."""


def read(body: bytes, *, most: int) -> tuple[list[Notification], list[str]]:
    """The items of a delivery, at most `most`, and its validation tokens. Raises NotReadable."""
    try:
        delivery = json.loads(body)
        items, tokens = delivery["value"], delivery.get("validationTokens") or []
        if not isinstance(items, list) or not isinstance(tokens, list):
            raise NotReadable
        return [_notification(item) for item in items[:most]], [str(token) for token in tokens[:most]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise NotReadable from None


def _notification(item: Any) -> Notification:
    encrypted = item.get("encryptedContent")
    return Notification(
        str(item.get("subscriptionId", ""))[:64],
        str(item.get("tenantId", ""))[:64].lower(),
        str(item.get("clientState", ""))[:128],
        str(item["lifecycleEvent"])[:64] if item.get("lifecycleEvent") else None,
        encrypted if isinstance(encrypted, dict) else {},
    )


def call_event(notification: Notification, certificates: Sequence[Certificate]) -> CallEvent:
    """What a meetingCallEvents notification tells. Raises NotReadable.

    The signature is checked before anything is decrypted, and a certificate is chosen by the id we gave it.
    """
    encrypted = notification.encrypted
    chosen = next((c for c in certificates if c.id == encrypted.get("encryptionCertificateId")), None)
    if chosen is None:
        raise NotReadable
    try:
        event = json.loads(_decrypted(encrypted, chosen.private_key))
        return _event(_folded(event), notification.tenant_id)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        raise NotReadable from None


def _decrypted(encrypted: Mapping[str, Any], private_key: rsa.RSAPrivateKey) -> bytes:
    """RSA-OAEP(SHA-1) for the key, HMAC-SHA256 over the ciphertext, AES-CBC with PKCS #7 and the key's first 16 bytes
    as IV: Graph's choices."""
    data = _bytes(encrypted["data"])
    oaep = padding.OAEP(padding.MGF1(SHA1()), SHA1(), None)  # noqa: S303 - Graph's scheme; OAEP does not need more
    symmetric = private_key.decrypt(_bytes(encrypted["dataKey"]), oaep)
    signature = hmac.new(symmetric, data, hashlib.sha256).digest()
    if not hmac.compare_digest(signature, _bytes(encrypted["dataSignature"])):
        raise NotReadable
    decryptor = Cipher(algorithms.AES(symmetric), modes.CBC(symmetric[:16])).decryptor()
    unpadder = PKCS7(128).unpadder()
    padded = decryptor.update(data) + decryptor.finalize()
    return unpadder.update(padded) + unpadder.finalize()


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str) or len(value) > _LONGEST_EVENT:
        raise NotReadable
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        raise NotReadable from None


def _folded(value: Any) -> Any:
    """With the names of all members in lower case: documented in camelCase, seen in PascalCase."""
    if isinstance(value, dict):
        return {str(name).lower(): _folded(member) for name, member in value.items()}
    return [_folded(member) for member in value] if isinstance(value, list) else value


def _event(event: Mapping[str, Any], tenant_id: str) -> CallEvent:
    kind = str(event.get("eventtype", "")).lower()
    if kind not in ("callstarted", "callended", "rosterupdated"):
        raise NotReadable
    at = datetime.fromisoformat(str(event["eventdatetime"]))
    changed = event.get("participants@delta") or event.get("participants") or []
    if not isinstance(changed, list) or len(changed) > _MOST_PARTICIPANTS or at.tzinfo is None:
        raise NotReadable
    return CallEvent(at.astimezone(UTC), kind == "callended", tuple(_seen(who, tenant_id) for who in changed))


def _seen(participant: Mapping[str, Any], tenant_id: str) -> Seen:
    """An identity of another kind than `user` (guest, application, a communication service's) is no staff."""
    identity = (participant.get("info") or {}).get("identity") or {}
    user = identity.get("user") or {}
    state: Literal["lobby", "connected", "gone"] = "lobby" if participant.get("isinlobby") else "connected"
    return Seen(
        hashlib.sha256(str(participant["id"]).encode()).hexdigest()[:16],
        "gone" if participant.get("removedstate") else state,
        str(user.get("tenantid") or "").lower() == tenant_id,
    )
