"""A visit session: what one launch may see. The page holds a 256-bit bearer; storage holds its hash and a sealed box.

The box (EHR tokens, launch context) opens only with the bearer, so storage alone reveals nothing.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from threading import Lock
from typing import Any

from connector.adapters.tables import Row, RowChanged
from connector.ehr import EhrTokens, EhrUser
from connector.errors import ConnectorError, RefusedError, TransientError
from connector.keys import BearerBox, NotOpened, fingerprint, secret
from connector.launch.state import SESSIONS, Persona
from connector.tenants import Connection, Directory, TenantScope
from connector.tenants import connection as read_connection

LIFETIME_S = 8 * 3600
"""A working day; the EHR's own session usually ends before."""
_RENEW_EARLY_S = 60
SESSION_ID = re.compile(r"[aep][a-z2-7]{8}-[A-Za-z0-9_-]{12}")


@dataclass(frozen=True)
class Context:
    """What the launch said; sealed under the bearer."""

    persona: Persona
    issuer: str
    fhir_user: str
    patient_id: str | None
    encounter_id: str | None
    need_patient_banner: bool
    access_token: str
    access_expires: int
    refresh_token: str | None
    appointment_id: str | None = None
    ehr_name: str = ""

    @property
    def user(self) -> EhrUser:
        return EhrUser(self.issuer, self.fhir_user, self.ehr_name)


@dataclass
class VisitSession:
    """An open session; `remember` and token renewal write it back."""

    id: str
    scope: TenantScope
    context: Context
    _box: BearerBox
    _row: Row
    _lock: Lock = field(default_factory=Lock)

    @property
    def connection_id(self) -> str:
        return connection_of_session(self.id)

    @cached_property
    def connection(self) -> Connection:
        """Read when first asked for: the page's status, every few seconds, needs none."""
        return read_connection(self.scope, self.connection_id).value

    def remember(self, appointment_id: str | None) -> None:
        """Keep the chosen appointment for the next request, sealed."""
        if appointment_id != self.context.appointment_id:
            self._save(appointment_id=appointment_id)

    def access_token(self, refresh: Callable[[str], EhrTokens], *, renew: bool = False) -> str:
        """The EHR user's access token, renewed when it is about to end.

        Raises RefusedError (401) when the EHR ended the session: only a new launch from the chart helps.
        """
        with self._lock:
            refused, tried = self.context.access_token if renew else "", None
            if self._good(refused):
                return self.context.access_token
            # another request of this page may be renewing, and servers that rotate take a refresh token once
            for pause in (0.0, 0.3, 0.7):
                time.sleep(pause)
                self._read()
                if self._good(refused):
                    return self.context.access_token
                if self.context.refresh_token in (None, tried):
                    continue
                tried = self.context.refresh_token
                try:
                    tokens = refresh(str(tried))
                except TransientError:
                    raise
                except ConnectorError:
                    continue
                self._save(
                    access_token=tokens.access_token,
                    access_expires=int(time.time()) + tokens.expires_in,
                    refresh_token=tokens.refresh_token or tried,
                )
                return self.context.access_token
            raise session_over()

    def _good(self, refused: str) -> bool:
        current = self.context
        return current.access_token != refused and current.access_expires - _RENEW_EARLY_S > time.time()

    def _read(self) -> None:
        row = self.scope.tables.get(SESSIONS, self._row.partition, self._row.key)
        if row is None:
            raise session_over()
        self._row, self.context = row, _unpack(self._box, row, self.id)

    def _save(self, **changes: Any) -> None:
        """Write changes of the context, on top of what other requests of the same page wrote meanwhile."""
        while True:
            context = replace(self.context, **changes)
            values = {**self._row.values, "sealed": self._box.seal(_pack(context), context=self.id)}
            try:
                self._row = self.scope.tables.update(SESSIONS, replace(self._row, values=values))
            except RowChanged:
                self._read()
                continue
            self.context = context
            return


def start(
    scope: TenantScope, connection: Connection, persona: Persona, user: EhrUser, tokens: EhrTokens
) -> tuple[str, str]:
    """A new session: its id (not secret) and its bearer (secret, given out once)."""
    session_id = f"{connection.id}-{secrets.token_urlsafe(9)}"
    bearer = secret()
    context = Context(
        persona=persona,
        issuer=user.issuer,
        fhir_user=user.fhir_user,
        patient_id=tokens.patient_id,
        encounter_id=tokens.encounter_id,
        need_patient_banner=tokens.need_patient_banner,
        access_token=tokens.access_token,
        access_expires=int(time.time()) + tokens.expires_in,
        refresh_token=tokens.refresh_token,
        ehr_name=user.name,
    )
    scope.tables.insert(
        SESSIONS,
        Row(
            connection.id,
            f"visit.{session_id}",
            {
                "bearer_hash": fingerprint(bearer),
                "sealed": BearerBox(bearer).seal(_pack(context), context=session_id),
                "expires": int(time.time()) + LIFETIME_S,
            },
        ),
    )
    return session_id, bearer


def open_session(directory: Directory, session_id: str, bearer: str | None) -> VisitSession:
    """Raises RefusedError (401) unless the bearer is this session's."""
    scope = directory.scope_of_connection(connection_of_session(session_id))
    connection_id = connection_of_session(session_id)
    if not SESSION_ID.fullmatch(session_id):
        raise session_over()
    row = scope.tables.get(SESSIONS, connection_id, f"visit.{session_id}")
    if row is None or row.number("expires") < time.time():
        raise session_over()
    if not bearer or not hmac.compare_digest(row.text("bearer_hash"), fingerprint(bearer)):
        raise session_over()
    box = BearerBox(bearer)
    context = _unpack(box, row, session_id)
    return VisitSession(session_id, scope, context, box, row)


def connection_of_session(session_id: str) -> str:
    return session_id.partition("-")[0]


def session_over() -> RefusedError:
    return RefusedError(
        "visit.session_over",
        "This visit page is no longer connected to the chart. Close it and open it from the patient's chart again.",
        status=401,
        title="Please open it from the chart again",
    )


def _unpack(box: BearerBox, row: Row, session_id: str) -> Context:
    try:
        return Context(**json.loads(box.open(row.text("sealed"), context=session_id)))
    except NotOpened:
        raise session_over() from None


def _pack(context: Context) -> bytes:
    return json.dumps(asdict(context), separators=(",", ":")).encode()
