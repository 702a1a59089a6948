"""Nobody is texted before both conditions were agreed to, in their present words; every agreement stays on record."""

import pytest

from connector import tenants
from connector.errors import RefusedError
from connector.tenants import CONSENTS, Actor, ConsentText
from sandbox.azurite import Azurite
from tests.tenants.stamp import ACTOR, agree, audit, connected, pinned, race

WORDS = {kind: text.version for kind, text in CONSENTS.items()}


def test_both_are_needed_and_each_keeps_who_when_and_the_words(azurite: Azurite) -> None:
    _, scope = pinned(azurite)
    assert set(tenants.missing_consents(scope)) == {"send_sms", "patients_agreed"}
    tenants.give_consents(scope, {"send_sms": WORDS["send_sms"]}, ACTOR)
    with pytest.raises(RefusedError) as refused:
        tenants.require_consents(scope)
    assert (refused.value.status, list(refused.value.details)) == (422, ["consents.patients_agreed"])
    given = tenants.give_consents(scope, WORDS, Actor("second"))
    tenants.require_consents(scope)
    assert {one.kind: one.by for one in given} == {"send_sms": ACTOR.object_id, "patients_agreed": "second"}
    assert {one.kind: one.text for one in given} == {kind: text.text for kind, text in CONSENTS.items()}
    assert [one.action for one in tenants.history(scope).items] == ["consent.given"] * 2


def test_agreeing_again_or_at_once_records_it_once(azurite: Azurite) -> None:
    _, scope = pinned(azurite)
    outcomes = race([lambda n=n: tenants.give_consents(scope, WORDS, Actor(str(n))) for n in range(6)])  # type: ignore[misc]
    assert all(len(outcome) == 2 for outcome in outcomes if not isinstance(outcome, Exception))
    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    agree(scope)
    assert (len(tenants.consents(scope)), audit(scope)["consent.given"]) == (2, 2)


def test_other_words_must_be_agreed_to_anew_and_the_old_agreement_stays(
    azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, scope = pinned(azurite)
    agree(scope)
    monkeypatch.setitem(CONSENTS, "send_sms", ConsentText(kind="send_sms", version="next", text="Other words."))
    assert list(tenants.missing_consents(scope)) == ["send_sms"]
    with pytest.raises(RefusedError) as refused:
        tenants.give_consents(scope, WORDS, ACTOR)
    assert (refused.value.status, list(refused.value.details)) == (409, ["send_sms"])
    agree(scope)
    newest, *old = tenants.consents(scope)
    assert newest.text == "Other words." and len(old) == 2


def test_one_tenants_consent_is_no_others(azurite: Azurite) -> None:
    agree(pinned(azurite)[1])
    assert set(tenants.missing_consents(pinned(azurite)[1])) == {"send_sms", "patients_agreed"}


ADMIN = Actor("withdraws")
MINE = tenants.SenderInput(kind="alphanumeric", value="Harbor", label="x")
CARDIOLOGY = tenants.Department(name="Cardiology", location_ids=["1"], time_zone="Asia/Seoul")
ON = tenants.ConnectionPatch(messages_enabled=True)


def ready(azurite: Azurite) -> tuple[tenants.TenantScope, tenants.Versioned[tenants.Connection]]:
    """A connection that only waits to be switched on."""
    services, scope = pinned(azurite)
    agree(scope)
    made = connected(services, scope)
    made = tenants.set_departments(scope, made.value.id, made.etag, [CARDIOLOGY], ACTOR)
    sender = tenants.add_sender(scope, MINE, ACTOR)
    return scope, tenants.link_sender(scope, made.value.id, made.etag, sender.id, ACTOR)


def test_withdrawn_nothing_sends_until_both_are_given_and_messages_switched_on_anew(azurite: Azurite) -> None:
    scope, found = ready(azurite)
    tenants.change_connection(scope, found.value.id, found.etag, ON, ACTOR)
    assert tenants.withdrawal_consequences(scope).connections == 1
    (off,) = tenants.withdraw_consents(scope, ADMIN)
    now = tenants.connection(scope, found.value.id)
    assert off == now.value and not now.value.messages_enabled and not now.value.may_send
    assert (tenants.consents(scope), set(tenants.missing_consents(scope))) == ([], set(WORDS))
    with pytest.raises(RefusedError) as refused:
        tenants.change_connection(scope, found.value.id, now.etag, ON, ACTOR)
    assert set(refused.value.details) == {"consents.send_sms", "consents.patients_agreed"}
    assert tenants.withdraw_consents(scope, ADMIN) == [], "a second click changes nothing"
    changes = tenants.history(scope, limit=3).items
    assert {(one.action, one.actor) for one in changes} == {
        ("consent.withdrawn", "withdraws"), ("connection.changed", "withdraws")}
    words = {field.path: field.before for one in changes for field in one.fields if one.action == "consent.withdrawn"}
    assert words["by"] == ACTOR.object_id and words["text"], "the history keeps what was agreed to, and who did"
    agree(scope)
    now = tenants.connection(scope, found.value.id)
    assert tenants.change_connection(scope, found.value.id, now.etag, ON, ACTOR).value.messages_enabled


def test_switched_on_while_the_consents_are_withdrawn_it_is_off(azurite: Azurite) -> None:
    for _ in range(4):
        scope, found = ready(azurite)
        race([
            lambda scope=scope, found=found: tenants.change_connection(  # type: ignore[misc]
                scope, found.value.id, found.etag, ON, ACTOR),
            lambda scope=scope: tenants.withdraw_consents(scope, ADMIN),  # type: ignore[misc]
        ])
        assert set(tenants.missing_consents(scope)) == set(WORDS)
        assert not tenants.connection(scope, found.value.id).value.messages_enabled
