"""The portal's session: who signed in, in a sealed cookie that counts only while its row stands.

A sealed cookie cannot be taken back, so each session of an administrator has a row in the tenant's region: signing out
deletes it, half an hour without use ends it, and so do eight hours. The row holds no identity beyond the object id.
Whoever may see nothing, or whose tenant is not pinned to a region yet, has the cookie alone, for half an hour.

Roles are Entra's word in the ID token. A page is shown on a word of at most `ROLES_FRESH_S`, a change is made on one of
at most `ROLES_LAST_S`; older, the browser goes through a sign-in without prompts.
"""

from __future__ import annotations

import hmac
import json
import time
from dataclasses import asdict, dataclass, replace

import azure.functions as func

from connector import web
from connector.adapters.entra import SignedInUser
from connector.adapters.tables import Row, RowChanged, Write
from connector.keys import NotOpened, Sealer, decode, encode, fingerprint, secret
from connector.launch import SESSIONS
from connector.tenants import TenantScope

IDLE_S = 1800
LIFETIME_S = 8 * 3600
ROLES_FRESH_S = 1800
ROLES_LAST_S = 3600
CONFIRMED_S = 300
"""How long a repeated sign-in stands for buying or deleting."""
_SEEN_AGAIN_S = 60
"""Use is written down at most this often."""
_COOKIE = "__Host-portal"
_PURPOSE = "cookie.portal"


@dataclass(frozen=True)
class PortalSession:
    """Somebody whom Entra proved. Times are real, in seconds since the epoch."""

    id: str
    form: str
    """What our own forms carry against cross-site requests; outlives the session, so that a form opened before it
    ended can still be sent after signing in again."""
    tenant_id: str
    object_id: str
    name: str
    username: str
    roles: tuple[str, ...]
    directory_roles: tuple[str, ...]
    proven_at: int
    """When Entra last named the roles."""
    until: int
    stored: bool = False
    """Whether it has a row."""
    confirmed_at: int = 0
    """When the person last proved again who they are."""

    @property
    def confirmed(self) -> bool:
        return time.time() - self.confirmed_at < CONFIRMED_S

    @property
    def roles_age_s(self) -> float:
        return time.time() - self.proven_at

    def renewed(self, user: SignedInUser, *, confirmed: bool = False) -> PortalSession:
        """The same session with the roles that Entra names now."""
        return replace(
            self,
            roles=tuple(sorted(user.roles)),
            directory_roles=tuple(sorted(user.directory_roles)),
            proven_at=int(time.time()),
            confirmed_at=int(time.time()) if confirmed else self.confirmed_at,
        )

    def is_of(self, user: SignedInUser) -> bool:
        return (self.tenant_id, self.object_id) == (user.tenant_id, user.object_id)

    def accepts(self, form: str) -> bool:
        return hmac.compare_digest(self.form.encode(), form.encode())


def begin(user: SignedInUser, scope: TenantScope | None, before: PortalSession | None) -> PortalSession:
    """A new session; with a row when there is a scope. `before` is what the browser held until now."""
    now = int(time.time())
    made = PortalSession(
        id=secret(),
        form=before.form if before and before.is_of(user) else secret(),
        tenant_id=user.tenant_id,
        object_id=user.object_id,
        name=user.name[:120],
        username=user.username[:120],
        roles=tuple(sorted(user.roles)),
        directory_roles=tuple(sorted(user.directory_roles)),
        proven_at=now,
        until=now + IDLE_S,
    )
    return store(made, scope) if scope else made


def store(session: PortalSession, scope: TenantScope) -> PortalSession:
    """Give it a row in the tenant's region, and from then on its full lifetime."""
    now = int(time.time())
    made = replace(session, until=now + LIFETIME_S, stored=True)
    values: dict[str, str | int] = {"object_id": made.object_id, "seen": now, "expires": now + IDLE_S}
    scope.tables.insert(SESSIONS, Row(scope.tenant_id, _key(made), values))
    return made


def held(request: func.HttpRequest, sealer: Sealer) -> PortalSession | None:
    """What the browser's cookie says, if it is ours; whether it still counts is another question."""
    try:
        sealed = decode(web.read_cookie(request, _COOKIE) or "")
        value = json.loads(sealer.open(sealed, region=None, purpose=_PURPOSE))
        lists = {name: tuple(value[name]) for name in ("roles", "directory_roles")}
        return PortalSession(**{**value, **lists})
    except (NotOpened, TypeError, KeyError):
        return None


def counts(session: PortalSession, scope: TenantScope | None, *, used: bool = True) -> bool:
    """Whether the session is neither over nor signed out; being used keeps it from falling idle."""
    now = int(time.time())
    if session.until <= now or session.stored != (scope is not None):
        return False
    if scope is None:
        return True
    row = scope.tables.get(SESSIONS, scope.tenant_id, _key(session))
    if row is None or row.number("expires") <= now:
        return False
    if used and now - row.number("seen") > _SEEN_AGAIN_S:
        seen = {"seen": now, "expires": min(now + IDLE_S, session.until)}
        try:
            scope.tables.transact(SESSIONS, [Write("merge", Row(row.partition, row.key, seen))])
        except RowChanged:
            return False  # signed out at this moment
    return True


def end(session: PortalSession, scope: TenantScope | None, *, everywhere: bool = False) -> None:
    """Sign out, here or in every browser of the same person."""
    if scope is None or not session.stored:
        return
    rows = [Row(scope.tenant_id, _key(session))]
    if everywhere:
        mine = ("object_id", session.object_id, session.object_id + "!")
        rows = list(scope.tables.query(SESSIONS, scope.tenant_id, start="portal.", end="portal/", where=mine))
    for row in rows:
        try:
            scope.tables.transact(SESSIONS, [Write("delete", Row(row.partition, row.key))])
        except RowChanged:
            continue  # it was over already


def cookie(session: PortalSession | None, sealer: Sealer) -> str:
    """The Set-Cookie that keeps a session, or forgets it."""
    if session is None:
        return web.cookie(_COOKIE, "", max_age_s=0)
    sealed = sealer.seal(json.dumps(asdict(session)).encode(), region=None, purpose=_PURPOSE)
    return web.cookie(_COOKIE, encode(sealed), max_age_s=LIFETIME_S)


def _key(session: PortalSession) -> str:
    return f"portal.{fingerprint(session.id)}"
