"""The one-time state between authorization request and callback (RFC 6749 section 10.12, RFC 7636).

The state names its connection, so that the callback finds the right region. What the token request needs is sealed
under the launch page's own secret: the row alone reveals nothing, and a callback without the secret gets nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass
from typing import Literal

from connector.adapters.tables import Row, RowChanged
from connector.errors import RefusedError
from connector.keys import BearerBox, NotOpened, fingerprint, secret
from connector.tenants import TenantScope

SESSIONS = "Sessions"
LIFETIME_S = 600
Persona = Literal["provider", "patient"]


@dataclass(frozen=True)
class Launch:
    """A launch on its way: made by `begin`, given back once by `take`."""

    state: str
    secret: str
    persona: Persona
    code_verifier: str
    nonce: str

    @property
    def code_challenge(self) -> str:
        digest = hashlib.sha256(self.code_verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def begin(scope: TenantScope, connection_id: str, persona: Persona) -> Launch:
    launch = Launch(f"{connection_id}.{persona}.{secrets.token_urlsafe(24)}", secret(), persona, secret(), secret())
    sealed = BearerBox(launch.secret).seal(
        json.dumps([launch.code_verifier, launch.nonce]).encode(), context=launch.state
    )
    scope.tables.insert(
        SESSIONS,
        Row(
            connection_id,
            _key(launch.state),
            {
                "secret_hash": fingerprint(launch.secret),
                "persona": persona,
                "sealed": sealed,
                "expires": int(time.time()) + LIFETIME_S,
            },
        ),
    )
    return launch


def take(scope: TenantScope, connection_id: str, state: str, page_secret: str | None) -> Launch:
    """The launch, once. Raises RefusedError; a wrong secret takes nothing, so a stranger can't spend the state."""
    row = scope.tables.get(SESSIONS, connection_id, _key(state))
    if row is None:
        raise _gone()
    if not page_secret or not hmac.compare_digest(row.text("secret_hash"), fingerprint(page_secret)):
        raise RefusedError(
            "launch.no_secret",
            "This sign-in did not start in this window. Close it and open the visit from the patient's chart again.",
            status=403,
            title="Please open it from the chart again",
        )
    try:
        scope.tables.delete(SESSIONS, row)
    except RowChanged:
        raise _gone() from None
    if row.number("expires") < time.time():
        raise _gone()
    try:
        code_verifier, nonce = json.loads(BearerBox(page_secret).open(row.text("sealed"), context=state))
    except NotOpened:
        raise _gone() from None
    persona: Persona = "patient" if row.text("persona") == "patient" else "provider"
    return Launch(state, page_secret, persona, code_verifier, nonce)


def connection_of(state: str) -> str:
    """The connection that a state names; its existence is checked by whoever looks it up."""
    connection_id, dot, rest = state.partition(".")
    if not dot or not rest or len(state) > 80:
        raise _gone()
    return connection_id


def persona_of(state: str) -> Persona:
    """For whom a page is written before the launch is taken: the row has the last word."""
    return "patient" if state.split(".")[1:2] == ["patient"] else "provider"


def _key(state: str) -> str:
    return f"launch.{fingerprint(state)}"


def _gone() -> RefusedError:
    return RefusedError(
        "launch.state_unknown",
        "This sign-in was already used or took longer than ten minutes. Close it and open the "
        "visit from the patient's chart again.",
        status=400,
        title="Please open it from the chart again",
    )
