"""Simulated Key Vault, as far as one key's versions and signing go, and the managed identity that asks it.

Source: Key Vault REST API "Get Key", "Get Key Versions", "Sign"; "Authentication, requests and responses"; "Azure Key
Vault throttling guidance"; the recordings of azure-sdk-for-js (keyvault-keys); App Service, "REST endpoint reference"
of managed identities. Lists come in pages; no order of theirs is documented.
"""

from __future__ import annotations

import base64
import time
import uuid
from dataclasses import dataclass, field

import flask
import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from flask import request
from flask.typing import ResponseReturnValue
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from sandbox import entra_tokens, stand_in
from sandbox.world import Json, World

VERSIONS = ("7.4", "7.5", "7.6", "2025-07-01")
NAME = "smart"
HEADER = "sandbox-identity-header"
_PAGE = 2


@dataclass
class Version:
    private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    created: int
    enabled: bool = True
    exportable: bool = False
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


class VaultError(Exception):
    def __init__(self, status: int, code: str, message: str, inner: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.inner = status, code, message, inner

    def answer(self) -> ResponseReturnValue:
        error: Json = {"code": self.code, "message": self.message}
        if self.inner:
            error["innererror"] = {"code": self.inner}
        headers = {"x-ms-request-id": str(uuid.uuid4()), "x-ms-keyvault-region": "westeurope"}
        if self.status == 401:
            home = f"https://login.microsoftonline.com/{entra_tokens.HOME_TENANT}"
            headers["WWW-Authenticate"] = f'Bearer authorization="{home}", resource="{entra_tokens.VAULT}"'
        return {"error": error}, self.status, headers


class Vault:
    """One vault with one key; `actions` are what the identity's roles on that key allow."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.versions: list[Version] = []
        self.actions = {"read", "sign"}
        self.firewall = False

    def add(self, *, age_s: int = 0, size: int = 0) -> Version:
        """A new version of the key, made `age_s` ago: EC P-384, or RSA of `size` bits."""
        private = rsa.generate_private_key(65537, size) if size else ec.generate_private_key(ec.SECP384R1())
        made = Version(private, int(time.time()) - age_s)
        self.versions.append(made)
        return made

    def require(self, action: str, name: str) -> None:
        """Version, token and roles, in the order in which the vault looks at them."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            if scheme != "Bearer":
                raise VaultError(401, "Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.")
            caller = entra_tokens.check_identity(self.world, token, entra_tokens.VAULT)
        except jwt.InvalidTokenError:
            raise VaultError(401, "Unauthorized", "AKV10022: Invalid audience or signature.") from None
        if request.args.get("api-version") not in VERSIONS:
            raise VaultError(400, "BadParameter", "The specified version is not recognized.")
        if self.firewall:
            raise VaultError(403, "Forbidden", "Client address is not authorized and caller is not a trusted service.",
                             "ForbiddenByFirewall")  # fmt: skip
        if action not in self.actions:
            raise VaultError(403, "Forbidden", "Caller is not authorized to perform action on resource.\r\n"
                             f"Caller: oid={caller}\r\nAction: 'Microsoft.KeyVault/vaults/keys/{action}'",
                             "ForbiddenByRbac")  # fmt: skip
        if name != NAME or not self.versions:
            raise VaultError(404, "KeyNotFound", f"A key with (name/id) {name} was not found in this key vault.")

    def version(self, id_: str) -> Version:
        for one in self.versions:
            if one.id == id_:
                return one
        raise VaultError(404, "KeyNotFound", f"A key with (name/id) {NAME}/{id_} was not found in this key vault.")


def create_app(vault: Vault) -> flask.Flask:
    app = stand_in.make(vault.world, "vault", refusal=_failing)
    app.register_error_handler(VaultError, VaultError.answer)

    @app.get("/msi/token")
    def identity_token() -> ResponseReturnValue:
        if request.headers.get("X-IDENTITY-HEADER") != HEADER or request.args.get("api-version") != "2019-08-01":
            return {"statusCode": 400, "message": "Invalid header or version."}, 400
        resource = request.args["resource"]
        token = entra_tokens.managed_identity_token(vault.world, resource)
        ends = str(int(time.time()) + entra_tokens.LIFETIME_S)
        return {"access_token": token, "expires_on": ends, "resource": resource, "token_type": "Bearer",
                "client_id": request.args.get("client_id", "")}  # fmt: skip

    @app.get("/keys/<name>/versions")
    def key_versions(name: str) -> ResponseReturnValue:
        vault.require("read", name)
        listed = list(vault.versions)
        start = int(request.args.get("$skiptoken", "0"))
        page: Json = {"value": [{"kid": _kid(one), "attributes": _attributes(one)} for one in listed[start:][:_PAGE]]}
        more = start + _PAGE < len(listed)
        asked = f"{request.base_url}?api-version={request.args['api-version']}&$skiptoken={start + _PAGE}"
        return page | {"nextLink": asked if more else None}

    @app.get("/keys/<name>/<version>")
    def key(name: str, version: str) -> ResponseReturnValue:
        vault.require("read", name)
        found = vault.version(version)
        public: Json = (
            RSAAlgorithm.to_jwk(found.private.public_key(), as_dict=True)
            if isinstance(found.private, rsa.RSAPrivateKey)
            else ECAlgorithm.to_jwk(found.private.public_key(), as_dict=True)
        )
        return {"key": {**public, "kid": _kid(found), "key_ops": ["sign"]}, "attributes": _attributes(found)}

    @app.post("/keys/<name>/<version>/sign")
    def sign(name: str, version: str) -> ResponseReturnValue:
        vault.require("sign", name)
        found, asked = vault.version(version), request.get_json(silent=True) or {}
        if not found.enabled:
            raise VaultError(403, "Forbidden", "Operation sign is not allowed on a disabled key.", "KeyDisabled")
        try:
            text = asked["value"]
            digest = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            return {"kid": _kid(found), "value": _signature(found.private, asked["alg"], digest)}
        except (KeyError, TypeError, ValueError):
            raise VaultError(400, "BadParameter", "Property has invalid value.") from None

    return app


def _signature(private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, algorithm: str, digest: bytes) -> str:
    """Of a SHA-384 digest; ValueError when algorithm, key and digest do not belong together."""
    hashed = utils.Prehashed(hashes.SHA384())
    if isinstance(private, rsa.RSAPrivateKey) and algorithm == "RS384":
        return _base64url(private.sign(digest, padding.PKCS1v15(), hashed))
    if isinstance(private, ec.EllipticCurvePrivateKey) and algorithm == "ES384":
        r, s = utils.decode_dss_signature(private.sign(digest, ec.ECDSA(hashed)))
        return _base64url(r.to_bytes(48, "big") + s.to_bytes(48, "big"))
    raise ValueError(algorithm)


def _kid(version: Version) -> str:
    return f"{request.host_url}keys/{NAME}/{version.id}"


def _attributes(version: Version) -> Json:
    return {"enabled": version.enabled, "created": version.created, "updated": version.created,
            "recoveryLevel": "Recoverable", "recoverableDays": 90, "exportable": version.exportable}  # fmt: skip


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _failing(status: int) -> ResponseReturnValue:
    if status == 429:
        return VaultError(429, "Throttled", "Request was not processed: too many requests were received.").answer()
    return VaultError(500, "InternalServerError", "The server failed.").answer()
