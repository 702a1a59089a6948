"""Nobody is texted before both conditions were agreed to, in their present words; every agreement stays on record."""

import pytest

from connector import tenants
from connector.errors import RefusedError
from connector.tenants import CONSENTS, Actor, ConsentText
from sandbox.azurite import Azurite
from tests.tenants.stamp import ACTOR, agree, audit, pinned, race

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
