"""The two consents to text patients, in versioned words: who gave them, and when. None is ever overwritten; what was
taken back (withdrawal.py) stays in the history."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from connector import clock
from connector.adapters.tables import Row, RowExists, Write
from connector.errors import RefusedError
from connector.tenants.audit import Actor, audit_write, stored
from connector.tenants.scope import CONFIGURATION, TenantScope

ConsentKind = Literal["send_sms", "patients_agreed"]


class ConsentText(BaseModel):
    kind: ConsentKind
    version: str
    text: str


class Consent(ConsentText):
    """A consent as it was given."""

    by: str
    """Entra object id."""
    at: datetime


class ConsentState(BaseModel):
    given: list[Consent]
    """Newest first."""
    missing: list[ConsentText]
    """In their present words; none: numbers may be generated and messages switched on."""


CONSENTS: dict[ConsentKind, ConsentText] = {
    text.kind: text
    for text in (
        ConsentText(
            kind="send_sms",
            version="1",
            text="We allow this service to send text messages to patients in the name of our organization.",
        ),
        ConsentText(
            kind="patients_agreed",
            version="1",
            text="We make sure that everybody who is texted has agreed to send and receive these text messages.",
        ),
    )
}
"""Other words need another version: what was agreed to before then no longer counts for what is switched on anew."""


def consents(scope: TenantScope) -> list[Consent]:
    """Every consent that is on record, newest first."""
    rows = scope.tables.query(CONFIGURATION, scope.tenant_id, start="consent.", end="consent/")
    found = [Consent.model_validate_json(row.text("body"), extra="ignore") for row in rows]
    return sorted(found, key=lambda consent: consent.at, reverse=True)


def give_consents(scope: TenantScope, versions: dict[ConsentKind, str], actor: Actor) -> list[Consent]:
    """Record what was agreed to, by the version of the words that were read; all that is now on record.

    Giving one again changes nothing. Raises RefusedError (409) when the words have changed since.
    """
    old = {str(kind): "has other words now" for kind, version in versions.items() if version != CONSENTS[kind].version}
    if old:
        raise RefusedError(
            "consent.other_version",
            "The words of the consent have changed since you read them. Read them again, then agree.",
            status=409,
            title="Read it again",
            details=old,
        )
    present = {(consent.kind, consent.version) for consent in consents(scope)}
    for kind, version in versions.items():
        if (kind, version) in present:
            continue
        given = Consent(**CONSENTS[kind].model_dump(), by=actor.object_id, at=clock.now())
        row = Row(scope.tenant_id, _key(CONSENTS[kind]), {"schema": 1, "body": stored(given)})
        audit = audit_write(scope, actor, "consent.given", kind, after=given)
        try:
            scope.tables.transact(CONFIGURATION, [Write("insert", row), audit])
        except RowExists:
            continue  # somebody else gave it at this moment
    return consents(scope)


def missing_consents(scope: TenantScope) -> dict[ConsentKind, ConsentText]:
    """The consents, in their present words, that nobody has given yet."""
    given = {(consent.kind, consent.version) for consent in consents(scope)}
    return {kind: text for kind, text in CONSENTS.items() if (kind, text.version) not in given}


def still_given(scope: TenantScope) -> list[Write]:
    """To write with what needs the consents: it fails when one is taken back at the same moment."""
    return [Write("merge", Row(scope.tenant_id, _key(text), {"schema": 1})) for text in CONSENTS.values()]


def consent_state(scope: TenantScope) -> ConsentState:
    return ConsentState(given=consents(scope), missing=list(missing_consents(scope).values()))


def require_consents(scope: TenantScope) -> None:
    """Before a number is generated or messages are switched on. Raises RefusedError (422)."""
    missing = missing_consents(scope)
    if missing:
        raise RefusedError(
            "consent.missing",
            "Nobody has yet agreed to the two conditions for text messages. An administrator of your organization "
            "does so under SMS notifications.",
            status=422,
            title="Consent is missing",
            details={f"consents.{kind}": "agree to this first" for kind in missing},
        )


def _key(text: ConsentText) -> str:
    return f"consent.{text.kind}.{text.version}"
