"""One text without a patient, to the number that an admin typed: the last link of the self-test.

The number is used once and not kept; the limits keep its keyed hash for two days, as of every number that is texted.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Literal

from connector import clock
from connector.errors import AmbiguousError, PermanentError, TransientError
from connector.messages import ledger, limits, optouts
from connector.messages.phone import country_of_number, typed_mobile
from connector.tenants import Actor, Connection, Sender, TenantScope, missing_consents, sender

if TYPE_CHECKING:
    from connector.bootstrap import Services

Outcome = Literal[
    "sent", "uncertain", "no_consent", "no_sender", "blocked", "not_a_number", "not_listed", "country", "opted_out",
    "limit", "refused", "unanswered",
]  # fmt: skip
_TEXT = "{clinic}: this is a test of text messages about video visits. No patient was involved."


def send_test(services: Services, scope: TenantScope, connection: Connection, typed: str, actor: Actor) -> Outcome:
    """Send it, under the same rules and limits as a patient's; `sent` is accepted, not yet delivered.

    Sent at most once, whatever Azure answers. Raises TransientError only when storage fails: then nothing was sent.
    """
    by = sender(scope, connection.sender_id) if connection.sender_id else None
    if missing_consents(scope):
        return "no_consent"
    if by is None:
        return "no_sender"
    if by.verification is not None and by.verification.state != "verified":
        return "blocked"
    number = typed_mobile(typed, country_of_number(connection.contact_phone))
    if number is None:
        return "not_a_number"
    return _refusal(scope, connection, by, number, actor) or _sent(services, scope, connection, by, number)


def _refusal(scope: TenantScope, connection: Connection, by: Sender, number: str, actor: Actor) -> Outcome | None:
    if connection.environment == "test" and number not in connection.messages.allowed_numbers:
        return "not_listed"
    if not limits.reaches(by, number):
        return "country"
    if optouts.opted_out(scope, by.id, [number]):
        return "opted_out"
    ask = limits.Ask("m.self-test..test.0", number, actor.object_id)
    return "limit" if limits.reserve(scope, [ask], clock.now()) else None


def _sent(services: Services, scope: TenantScope, connection: Connection, by: Sender, number: str) -> Outcome:
    try:
        services.sms(scope.region).send(
            sender=by.value, to=number, text=_TEXT.format(clinic=connection.clinic_name), tag=connection.id,
            repeatability_id=str(uuid.uuid4()), first_sent=ledger.real_now(),
        )  # fmt: skip
    except AmbiguousError:
        return "uncertain"
    except TransientError:
        return "unanswered"
    except PermanentError:
        return "refused"
    return "sent"
