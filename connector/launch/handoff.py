"""Microsoft sign-in by hand-off: in a window of its own, whose six-digit code is typed into the visit page.

Microsoft's sign-in cannot be framed, and a frame shares no cookies with a window. So the visit page makes a one-time
link; who signs in behind it gets a code, and only the page that made the link can redeem it, in three tries. A thief
of the link has a code and no page; who sends his link to somebody else has a page and no code, and the window names the
EHR user that the link is for. Row `handoff.{session}` in table Sessions; a new link replaces the one before.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from dataclasses import dataclass, replace
from typing import Any, Literal

from connector.adapters.entra import SignedInUser
from connector.adapters.tables import Row, RowChanged, Write
from connector.errors import RefusedError
from connector.keys import NotOpened, Sealer, decode, encode, fingerprint, secret
from connector.launch.session import SESSION_ID, VisitSession, connection_of_session
from connector.launch.state import SESSIONS
from connector.tenants import Directory, TenantScope

LIFETIME_S = 600
TRIES = 3
Purpose = Literal["link", "release"]


@dataclass(frozen=True)
class HandOff:
    """A link that nobody has signed in behind yet."""

    session_id: str
    scope: TenantScope
    purpose: Purpose
    ehr_name: str
    fhir_user: str
    row: Row


@dataclass(frozen=True)
class Account:
    """The Microsoft account that a redeemed code stands for; names are for show."""

    purpose: Purpose
    object_id: str
    name: str
    username: str


def begin_hand_off(sealer: Sealer, session: VisitSession, purpose: Purpose) -> str:
    """The link's token, good for ten minutes and one sign-in; an earlier link of this page is void."""
    held = secret()
    context = session.context
    box = {"purpose": purpose, "fhir_user": context.fhir_user, "ehr_name": context.ehr_name}
    row = Row(
        session.connection.id,
        _key(session.id),
        {"token_hash": fingerprint(held), "tries": 0, "expires": int(time.time()) + LIFETIME_S},
    )
    row = _sealed(sealer, session.scope, row, session.id, box)
    session.scope.tables.transact(SESSIONS, [Write("upsert", row)])
    return f"{session.id}.{held}"


def open_hand_off(directory: Directory, sealer: Sealer, token: str) -> HandOff:
    """Raises RefusedError for a link that is unknown, over, replaced, or behind which somebody signed in."""
    session_id, _, held = token.partition(".")
    if not SESSION_ID.fullmatch(session_id):
        raise _gone()
    scope = directory.scope_of_connection(connection_of_session(session_id))
    row = scope.tables.get(SESSIONS, connection_of_session(session_id), _key(session_id))
    if row is None or row.number("expires") < time.time():
        raise _gone()
    if not hmac.compare_digest(row.text("token_hash"), fingerprint(held)):
        raise _gone()
    box = _opened(sealer, scope, row, session_id)
    if "code" in box:
        raise _gone()
    return HandOff(session_id, scope, box["purpose"], box["ehr_name"], box["fhir_user"], row)


def sign_in_to(hand_off: HandOff, sealer: Sealer, user: SignedInUser) -> str:
    """Note who signed in; the code for the visit page. Raises RefusedError when somebody was faster."""
    if user.tenant_id != hand_off.scope.tenant_id:
        raise RefusedError(
            "link.other_tenant",
            "This Microsoft account belongs to another organization. Sign in with the account of this hospital.",
            status=403,
            title="Account of another organization",
        )
    code = f"{secrets.randbelow(10**6):06d}"
    box = {"purpose": hand_off.purpose, "code": code, "object_id": user.object_id}
    box |= {"name": user.name[:120], "username": user.username[:120]}
    try:
        hand_off.scope.tables.update(
            SESSIONS, _sealed(sealer, hand_off.scope, hand_off.row, hand_off.session_id, box)
        )
    except RowChanged:
        raise _gone() from None
    return code


def redeem_code(sealer: Sealer, session: VisitSession, typed: str) -> Account:
    """The account behind the code, once; after three wrong codes the link is void. Raises RefusedError.

    A try, right or wrong, counts only while the row is as it was read: guesses sent at one moment count one by one.
    """
    code = "".join(typed.split())
    if len(code) != 6 or not (code.isascii() and code.isdecimal()):
        raise RefusedError("handoff.no_code", "Type the six digits that the sign-in window shows.", title="Six digits")
    scope, key = session.scope, _key(session.id)
    while True:
        row = scope.tables.get(SESSIONS, session.connection.id, key)
        if row is None or row.number("expires") < time.time():
            raise _void()
        box = _opened(sealer, scope, row, session.id)
        if "code" not in box:
            raise RefusedError(
                "handoff.not_signed_in",
                "Nobody has signed in behind this page's link yet. Finish the sign-in in the other window first.",
                status=409,
                title="Sign in first",
            )
        tries = row.number("tries") + 1
        right = hmac.compare_digest(box["code"].encode(), code.encode())
        try:
            if right or tries >= TRIES:
                scope.tables.delete(SESSIONS, row)
            else:
                scope.tables.update(SESSIONS, replace(row, values={**row.values, "tries": tries}))
        except RowChanged:
            continue  # another try was counted first
        if right:
            return Account(box["purpose"], box["object_id"], box["name"], box["username"])
        if tries >= TRIES:
            raise _void()
        raise RefusedError(
            "handoff.wrong_code",
            "This is not the code that the sign-in window shows. Please check it.",
            status=403,
            title="Another code",
        )


def _key(session_id: str) -> str:
    return f"handoff.{session_id}"


def _sealed(sealer: Sealer, scope: TenantScope, row: Row, session_id: str, box: dict[str, Any]) -> Row:
    sealed = sealer.seal(json.dumps(box).encode(), region=scope.region, purpose="handoff", context=session_id)
    return replace(row, values={**row.values, "sealed": encode(sealed)})


def _opened(sealer: Sealer, scope: TenantScope, row: Row, session_id: str) -> dict[str, Any]:
    try:
        sealed = decode(row.text("sealed"))
        box: dict[str, Any] = json.loads(
            sealer.open(sealed, region=scope.region, purpose="handoff", context=session_id)
        )
    except NotOpened:
        raise _gone() from None
    return box


def _gone() -> RefusedError:
    return RefusedError(
        "handoff.gone",
        "This sign-in link was already used, replaced by a newer one, or is older than ten minutes. Go back to the "
        "visit in the chart and start the sign-in again. If you have not used it yourself, do not type any code.",
        status=400,
        title="Please start again from the chart",
    )


def _void() -> RefusedError:
    return RefusedError(
        "handoff.void",
        "This sign-in is over: three wrong codes, or more than ten minutes. Nothing was linked. Please start it again.",
        status=409,
        title="Please start the sign-in again",
    )
