"""A tenant's own credentials with its EHR: written by administrators, read by `ehr_access` alone, never shown.

The secret is one row of its own, wrapped, under a name that the server makes of connection and persona; what may be
shown of it is part of the connection, and changes in the same transaction.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from connector import clock
from connector.adapters.cerner import SigningKey, new_signing_key
from connector.adapters.tables import Row, Write
from connector.errors import RefusedError
from connector.keys import NotOpened
from connector.tenants.audit import Actor
from connector.tenants.models import Connection, Credential, CredentialInput, Persona
from connector.tenants.scope import CONFIGURATION, TenantScope
from connector.tenants.store import Versioned, change, connection


@dataclass(frozen=True)
class OwnCredential:
    """What the EHR's token endpoint is shown: a secret, or a private key in PEM."""

    client_id: str
    secret: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)


def set_credential(
    scope: TenantScope, connection_id: str, etag: str, persona: Persona, wanted: CredentialInput, actor: Actor
) -> Versioned[Connection]:
    """Enter or replace the credentials of one persona; private_key_jwt makes a new key. Raises RefusedError as any
    change."""
    held: dict[str, str] = {"client_id": wanted.client_id}
    public = None
    if wanted.client_secret is not None:
        held["secret"] = wanted.client_secret.get_secret_value()
    else:
        held["private_key"] = new_signing_key()
        public = SigningKey.from_pem(held["private_key"]).public.jwk
    shown = Credential(client_id=wanted.client_id, method=wanted.method, changed_at=clock.now(), public_jwk=public)
    name = _name(connection_id, persona)
    wrapped = scope.wrap(json.dumps(held).encode(), name)
    also = [Write("upsert", Row(scope.tenant_id, name, {"wrapped": wrapped}))]
    present = connection(scope, connection_id).value.credentials
    changes = {"credentials": present | {persona: shown}}
    return change(scope, connection_id, etag, changes, actor, "connection.credentials_set", also=also)


def remove_credential(
    scope: TenantScope, connection_id: str, etag: str, persona: Persona, actor: Actor
) -> Versioned[Connection]:
    """From now on the operator's credentials are used, where the base is listed."""
    present = connection(scope, connection_id).value.credentials
    left = {name: shown for name, shown in present.items() if name != persona}
    also = [Write("delete", Row(scope.tenant_id, _name(connection_id, persona)))] if persona in present else []
    return change(
        scope, connection_id, etag, {"credentials": left}, actor, "connection.credentials_removed", also=also
    )


def own_credential(scope: TenantScope, found: Connection, persona: Persona) -> OwnCredential:
    """Raises RefusedError (409) when it cannot be opened: the operator dropped the key that wrapped it."""
    name = _name(found.id, persona)
    row = scope.tables.get(CONFIGURATION, scope.tenant_id, name)
    try:
        held: dict[str, str] = json.loads(scope.unwrap(row.text("wrapped") if row else "", name))
    except NotOpened:
        raise RefusedError(
            "connection.credentials_lost",
            "The credentials of this connection can no longer be read. An administrator has to enter them again.",
            status=409,
            title="Enter the credentials again",
        ) from None
    return OwnCredential(**held)


def _name(connection_id: str, persona: Persona) -> str:
    return f"credential.{connection_id}.{persona}"
