"""Sealing, index keys and tokens.

Sealing (references, join tokens, cookies) is AES-SIV (RFC 5297) under HKDF keys for each region and purpose; the
version, the key id and the caller's context are associated data, so a box opens only where it was meant to.
Sealing keys rotate freely: the newest seals, all open.

Index keys name things (visit keys, meeting ids): random for each tenant and purpose, stored wrapped, never rotated
by rotating anything else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from connector.regions import Region, region_of
from connector.settings import Key

_VERSION = b"v1"
_CONNECTION_BYTES = 5
CONNECTION_ID = re.compile(r"[aep][a-z2-7]{8}")


class NotOpened(Exception):
    """Forged, damaged, meant for another place, or sealed by a key that is gone."""


def encode(raw: bytes) -> str:
    """base64url without padding (RFC 4648 section 5)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """Inverse of `encode`; raises NotOpened on anything that `encode` did not make."""
    try:
        raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except (ValueError, UnicodeEncodeError, binascii.Error):
        raise NotOpened from None
    if encode(raw) != text:
        raise NotOpened
    return raw


def secret() -> str:
    """A fresh 256-bit secret in base64url."""
    return secrets.token_urlsafe(32)


def fingerprint(value: str) -> str:
    """What storage keeps of a secret: its SHA-256 in hex. Only for values of 128 bits of entropy or more."""
    return hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()  # JSON may hold half a character


class Sealer:
    """Seals and opens under the stamp's sealing keys, newest first."""

    def __init__(self, sealing_keys: tuple[Key, ...]) -> None:
        self._keys = sealing_keys

    def seal(self, plaintext: bytes, *, region: Region | None, purpose: str, context: str = "") -> bytes:
        """`region` None is for what exists before a region is known (sign-in cookies)."""
        key = self._keys[0]
        box = _cipher(key, region, purpose).encrypt(plaintext, _associated(key, context))
        return _tag(key) + box

    def open(self, sealed: bytes, *, region: Region | None, purpose: str, context: str = "") -> bytes:
        """Raises NotOpened."""
        for key in self._keys:
            if sealed[:1] == _tag(key):
                try:
                    return _cipher(key, region, purpose).decrypt(sealed[1:], _associated(key, context))
                except (InvalidTag, ValueError):
                    continue
        raise NotOpened


def _tag(key: Key) -> bytes:
    return hashlib.sha256(key.id.encode()).digest()[:1]


def _associated(key: Key, context: str) -> list[bytes]:
    return [_VERSION, key.id.encode(), context.encode()]


@lru_cache(maxsize=256)
def _cipher(key: Key, region: Region | None, purpose: str) -> AESSIV:
    return AESSIV(_derive(key.value, f"connector|sealing|{region or 'stamp'}|{purpose}", 64))


def _derive(secret_value: bytes, info: str, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info.encode()).derive(secret_value)


class BearerBox:
    """Seals under a key that only the holder of a bearer has, so that storage alone reveals nothing."""

    def __init__(self, bearer: str) -> None:
        self._cipher = AESSIV(_derive(bearer.encode(), "connector|bearer", 64))

    def seal(self, plaintext: bytes, *, context: str) -> str:
        return encode(self._cipher.encrypt(plaintext, [_VERSION, context.encode()]))

    def open(self, sealed: str, *, context: str) -> bytes:
        """Raises NotOpened."""
        try:
            return self._cipher.decrypt(decode(sealed), [_VERSION, context.encode()])
        except (InvalidTag, ValueError):
            raise NotOpened from None


class Wrapper:
    """Wraps index keys and tenants' own credentials for storage under the stamp's wrapping keys, newest first."""

    def __init__(self, wrapping_keys: tuple[Key, ...]) -> None:
        self._keys = wrapping_keys

    def wrap(self, value: bytes, *, context: str) -> str:
        key = self._keys[0]
        box = AESSIV(_derive(key.value, "connector|wrapping", 64)).encrypt(value, _associated(key, context))
        return encode(_tag(key) + box)

    def unwrap(self, wrapped: str, *, context: str) -> bytes:
        """Raises NotOpened."""
        box = decode(wrapped)
        for key in self._keys:
            if box[:1] == _tag(key):
                try:
                    cipher = AESSIV(_derive(key.value, "connector|wrapping", 64))
                    return cipher.decrypt(box[1:], _associated(key, context))
                except (InvalidTag, ValueError):
                    continue
        raise NotOpened


def index(index_key: bytes, *parts: str) -> str:
    """The keyed name of a thing: 32 hex digits of HMAC-SHA-256 over the parts."""
    message = b"\0".join(part.encode() for part in parts)
    return hmac.new(index_key, message, hashlib.sha256).hexdigest()[:32]


def new_connection_id(region: Region) -> str:
    """An opaque id that begins with the region's letter: 1 + 8 characters of base32."""
    return region.letter + base64.b32encode(secrets.token_bytes(_CONNECTION_BYTES)).decode("ascii").lower()


Door = Literal["join", "staff"]
"""`/j/{token}` for patients, `/p/{token}` for clinicians: a token opens its own door only."""


@dataclass(frozen=True)
class JoinToken:
    """What a patient's link says: connection, appointment and the generation that lets staff revoke it."""

    connection_id: str
    appointment_id: str
    generation: int = 0

    def seal(self, sealer: Sealer, door: Door = "join") -> str:
        """The token of the patient's short URL, or of the clinician's: the region's letter and about 38 characters."""
        region = region_of(self.connection_id)
        plaintext = (
            base64.b32decode(self.connection_id[1:].upper())
            + self.generation.to_bytes(1, "big")
            + _pack(self.appointment_id)
        )
        return region.letter + encode(sealer.seal(plaintext, region=region, purpose=door))

    @classmethod
    def open(cls, token: str, sealer: Sealer, door: Door = "join") -> JoinToken:
        """Raises NotOpened, before any I/O, for every token that we did not seal for this door."""
        try:
            region = region_of(token)
        except Exception:
            raise NotOpened from None
        plaintext = sealer.open(decode(token[1:]), region=region, purpose=door)
        connection = region.letter + base64.b32encode(plaintext[:_CONNECTION_BYTES]).decode("ascii").lower()
        return cls(connection, _unpack(plaintext[_CONNECTION_BYTES + 1 :]), plaintext[_CONNECTION_BYTES])


def _pack(appointment_id: str) -> bytes:
    """Decimal ids as numbers: two and a half characters of the SMS for each byte saved."""
    if appointment_id.isdecimal() and appointment_id.isascii() and not appointment_id.startswith("0"):
        number = int(appointment_id)
        return b"\0" + number.to_bytes((number.bit_length() + 7) // 8, "big")
    return b"\1" + appointment_id.encode()


def _unpack(packed: bytes) -> str:
    return str(int.from_bytes(packed[1:], "big")) if packed[:1] == b"\0" else packed[1:].decode()
