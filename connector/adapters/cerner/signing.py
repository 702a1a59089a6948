"""Keys of private_key_jwt: who signs our client assertions, and what `/.well-known/jwks.json` publishes.

A key in the vault is the way in production; a private key in PEM can be copied, and is for the sandbox, for a tenant's
own credentials, and for operators who choose it. Source: SMART App Launch 2.2, "Client authentication: asymmetric".
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from connector.adapters.vault import KeyVersion, VaultKey
from connector.errors import PermanentError

SETTLED_S = 24 * 3600
"""How long a new version of the vault's key is published before it signs, for an EHR may remember our keys."""
_MEMBERS = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y")}
"""Of a public JWK, in the order of its thumbprint (RFC 7638 3.2)."""

Jwk = dict[str, str]
Claims = Mapping[str, str | int]


class Signer(Protocol):
    """Two that are equal sign in the same name."""

    def jws(self, claims: Claims) -> str:
        """The claims, signed, in compact form (RFC 7515 7.1)."""


@dataclass(frozen=True)
class PublicKey:
    kid: str
    """The JWK's thumbprint (RFC 7638): the same wherever and however often it is read."""
    algorithm: str
    jwk: Jwk = field(repr=False, compare=False)
    """What is published."""

    @classmethod
    def of(cls, members: Mapping[str, str]) -> PublicKey:
        """RSA of 2048 bits or more signs RS384, EC P-384 signs ES384; ValueError for any other key."""
        kind = members.get("kty", "").removesuffix("-HSM")
        if not ((kind == "RSA" and _bits(members.get("n", "")) >= 2048) or members.get("crv") == "P-384"):
            raise ValueError("a signing key must be RSA (2048 bits or more) or EC P-384")
        public = {name: members[name] for name in _MEMBERS[kind]} | {"kty": kind}
        canonical = json.dumps(public, sort_keys=True, separators=(",", ":")).encode()
        kid, algorithm = _encoded(hashlib.sha256(canonical).digest()), {"RSA": "RS384", "EC": "ES384"}[kind]
        return cls(kid, algorithm, {**public, "kid": kid, "alg": algorithm, "use": "sig"})


@dataclass(frozen=True)
class SigningKey:
    """A private key that this process holds."""

    public: PublicKey
    private_key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = field(repr=False, compare=False)

    @classmethod
    def from_pem(cls, pem: str | bytes) -> SigningKey:
        """ValueError as `PublicKey.of`."""
        key = load_pem_private_key(pem.encode() if isinstance(pem, str) else pem, password=None)
        if isinstance(key, rsa.RSAPrivateKey):
            return cls(PublicKey.of(RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)), key)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return cls(PublicKey.of(ECAlgorithm.to_jwk(key.public_key(), as_dict=True)), key)
        raise ValueError("a signing key must be RSA or EC")

    def jws(self, claims: Claims) -> str:
        headers = {"typ": "JWT", "kid": self.public.kid}
        return jwt.encode(dict(claims), self.private_key, algorithm=self.public.algorithm, headers=headers)


def new_signing_key() -> str:
    """A fresh EC P-384 private key, in PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    made = ec.generate_private_key(ec.SECP384R1())
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class VaultSigner:
    """Signs with a key of the vault; which version does follows from when each was made, so all instances agree.

    Methods raise what `VaultKey` raises, and PermanentError `vault.unusable_key`: it is neither RSA nor EC P-384.
    """

    def __init__(self, vault: VaultKey, former: tuple[SigningKey, ...] = ()) -> None:
        """`former` keys are published too, and the first signs until the vault's key has been published for a day."""
        self.vault = vault
        self._former = former

    def jws(self, claims: Claims) -> str:
        signing, _ = self.chosen()
        if isinstance(signing, SigningKey):
            return signing.jws(claims)
        try:
            return self._signed(signing, claims)
        except PermanentError:
            other, _ = self.chosen(again=True)  # an operator has switched that version off meanwhile
            if other == signing:
                raise
        return other.jws(claims) if isinstance(other, SigningKey) else self._signed(other, claims)

    def published(self) -> list[Jwk]:
        _, versions = self.chosen()
        return [_public(one).jwk for one in versions] + [key.public.jwk for key in self._former]

    def chosen(self, *, again: bool = False) -> tuple[KeyVersion | SigningKey, tuple[KeyVersion, ...]]:
        """What signs now; and the versions published: those to come, the one that signs, and the one before it."""
        versions = self.vault.versions(again=again)
        settled = [at for at, one in enumerate(versions) if one.created <= time.time() - SETTLED_S]
        if settled:
            return versions[settled[0]], versions[: settled[0] + 2]
        if self._former:
            return self._former[0], versions
        if versions:
            return versions[-1], versions
        raise PermanentError("vault.key_missing")

    def _signed(self, version: KeyVersion, claims: Claims) -> str:
        public = _public(version)
        header = {"typ": "JWT", "alg": public.algorithm, "kid": public.kid}
        parts = (json.dumps(part, separators=(",", ":")).encode() for part in (header, dict(claims)))
        signed = ".".join(map(_encoded, parts))
        digest = hashlib.sha384(signed.encode()).digest()
        return f"{signed}.{_encoded(self.vault.sign(version, public.algorithm, digest))}"


def _public(version: KeyVersion) -> PublicKey:
    try:
        return PublicKey.of(version.public)
    except (KeyError, ValueError):
        raise PermanentError("vault.unusable_key") from None


def _bits(n: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(n + "=" * (-len(n) % 4))).bit_length()


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
