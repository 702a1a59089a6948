"""Sealing, index keys and join tokens: what opens, and that nothing else does."""

import random
import secrets

import pytest

from connector.keys import (
    BearerBox,
    JoinToken,
    NotOpened,
    Sealer,
    Wrapper,
    decode,
    encode,
    fingerprint,
    index,
    new_connection_id,
    secret,
)
from connector.regions import Region, region_of
from connector.settings import Key

OLD, NEW = (Key(name, secrets.token_bytes(32)) for name in ("k1", "k2"))
PLACE = {"region": Region.EMEA, "purpose": "ref", "context": "visit 1"}
# The longest ids that Cerner gives out are decimal and have 9 digits or fewer.
TOKENS = [JoinToken("abcdefgh2", "51502301"), JoinToken("e7777aaaa", "999999999", 255), JoinToken("p22222222", "1")]


@pytest.mark.parametrize("plaintext", [b"", b"x", b"51502301", bytes(range(256)) * 40])
def test_a_box_opens_where_it_was_meant_to_and_says_nothing(plaintext: bytes) -> None:
    sealed = Sealer((OLD,)).seal(plaintext, **PLACE)
    assert Sealer((OLD,)).open(sealed, **PLACE) == plaintext
    assert len(plaintext) < 4 or plaintext not in sealed


@pytest.mark.parametrize(
    "other",
    [{"region": Region.APAC}, {"region": None}, {"purpose": "join"}, {"context": "visit 2"}, {"context": ""}],
)
def test_a_box_opens_nowhere_else(other: dict[str, object]) -> None:
    sealed = Sealer((OLD,)).seal(b"51502301", **PLACE)
    with pytest.raises(NotOpened):
        Sealer((OLD,)).open(sealed, **{**PLACE, **other})  # type: ignore[arg-type]


def test_a_key_opens_only_under_its_own_id_and_value() -> None:
    sealed = Sealer((OLD,)).seal(b"51502301", **PLACE)
    for keys in (NEW,), (Key("other", OLD.value),), (Key(OLD.id, NEW.value),), ():
        with pytest.raises(NotOpened):
            Sealer(tuple(keys)).open(sealed, **PLACE)
    with pytest.raises(NotOpened):
        Sealer((OLD,)).open(b"", **PLACE)


def test_rotation_seals_with_the_newest_and_opens_all_until_a_key_is_taken_away() -> None:
    before = Sealer((OLD,)).seal(b"1", **PLACE)
    both = Sealer((NEW, OLD))
    after = both.seal(b"2", **PLACE)
    assert (both.open(before, **PLACE), both.open(after, **PLACE)) == (b"1", b"2")
    assert Sealer((NEW,)).open(after, **PLACE) == b"2"
    with pytest.raises(NotOpened):
        Sealer((NEW,)).open(before, **PLACE)


@pytest.mark.parametrize("token", TOKENS, ids=lambda token: token.appointment_id)
def test_a_join_token_is_short_plain_and_comes_back_whole(token: JoinToken) -> None:
    sealed = token.seal(Sealer((OLD,)))
    assert JoinToken.open(sealed, Sealer((NEW, OLD))) == token
    assert len(sealed) <= 45
    assert sealed[0] == token.connection_id[0]
    assert sealed.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize("appointment", ["0", "007", "a.b-C", "x" * 64, "12345678901234567890"])
def test_any_id_of_any_server_fits_into_a_token(appointment: str) -> None:
    token = JoinToken("abcdefgh2", appointment)
    assert JoinToken.open(token.seal(Sealer((OLD,))), Sealer((OLD,))) == token


def test_no_mutation_of_a_join_token_opens_or_raises_anything_else() -> None:
    sealer, chance = Sealer((NEW, OLD)), random.Random(20261123)  # noqa: S311 - repeatable, no secret
    good = {token.seal(sealer) for token in TOKENS}
    alphabet = "ABCabc019-_aep.~%/=+ \0é\ud800\U0001f600"
    for _ in range(5_000):
        letters = list(chance.choice(sorted(good)))
        for _ in range(chance.randint(1, 4)):
            at, letter = chance.randrange(len(letters) + 1), chance.choice(alphabet)
            match chance.randrange(4):
                case 0:
                    letters[at : at + 1] = [letter]
                case 1:
                    letters[at:at] = [letter]
                case 2:
                    del letters[at : at + chance.randint(1, 8)]
                case _:
                    letters = letters[at:] + letters[:at]
        mutated = "".join(letters)
        if mutated not in good:
            with pytest.raises(NotOpened):
                JoinToken.open(mutated, sealer)


@pytest.mark.parametrize("text", ["A", "AA=", "AB", "A A", "A+/A", "é", "\ud800", "AAA\n"])
def test_only_the_one_spelling_of_base64url_is_read(text: str) -> None:
    with pytest.raises(NotOpened):
        decode(text)
    assert decode(encode(b"\xff\xfe\xfd")) == b"\xff\xfe\xfd"


def test_index_keys_are_wrapped_for_their_tenant_and_purpose_and_survive_a_rotation() -> None:
    wrapped = Wrapper((OLD,)).wrap(b"k" * 32, context="tenant|visit")
    assert Wrapper((NEW, OLD)).unwrap(wrapped, context="tenant|visit") == b"k" * 32
    for wrapper, context in (Wrapper((OLD,)), "tenant|meeting"), (Wrapper((NEW,)), "tenant|visit"):
        with pytest.raises(NotOpened):
            wrapper.unwrap(wrapped, context=context)


def test_index_names_are_stable_and_do_not_run_together() -> None:
    assert index(b"k" * 32, "a", "bc") == index(b"k" * 32, "a", "bc")
    names = {index(b"k" * 32, "a", "bc"), index(b"k" * 32, "ab", "c"), index(b"l" * 32, "a", "bc")}
    assert len(names) == 3
    assert all(len(name) == 32 for name in names)


def test_a_bearer_opens_its_own_box_only() -> None:
    mine, theirs = secret(), secret()
    sealed = BearerBox(mine).seal(b"tokens", context="session 1")
    assert BearerBox(mine).open(sealed, context="session 1") == b"tokens"
    for bearer, text, context in (
        (theirs, sealed, "session 1"),
        (mine, sealed, "session 2"),
        (mine, sealed[:-1], "session 1"),
        (mine, "", "session 1"),
        (mine, "not base64!", "session 1"),
    ):
        with pytest.raises(NotOpened):
            BearerBox(bearer).open(text, context=context)
    assert fingerprint(mine) != fingerprint(theirs)
    assert mine not in sealed


def test_connection_ids_name_their_region_and_nothing_else() -> None:
    ids = {new_connection_id(region) for region in Region for _ in range(50)}
    assert len(ids) == 150
    assert {region_of(name) for name in ids} == set(Region)
