"""Who is in a call, from events that come doubled and in any order."""

from datetime import datetime, timedelta, timezone
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from connector.visits.roster import Change, Roster

NOON = datetime(2027, 3, 2, 12, tzinfo=timezone(timedelta(hours=-6)))
PATIENT = "a1"


def at(minutes: int) -> datetime:
    return NOON + timedelta(minutes=minutes)


def guest(state: str, who: str = PATIENT) -> Change:
    return Change(who, state, staff=False)  # type: ignore[arg-type]


def counts(roster: Roster) -> tuple[int, int, int]:
    return roster.lobby, roster.guests, roster.staff


def test_a_patient_waits_is_let_in_and_leaves() -> None:
    waiting = Roster().after(at(0), [guest("lobby")])
    assert (counts(waiting), waiting.lobby_since) == ((1, 0, 0), at(0))
    still = waiting.after(at(3), [guest("lobby")])
    assert still.lobby_since == at(0)
    inside = still.after(at(4), [guest("connected"), Change("s1", "connected", staff=True)])
    assert (counts(inside), inside.lobby_since) == ((0, 1, 1), None)
    assert counts(inside.after(at(9), [guest("gone")])) == (0, 0, 1)


def test_who_drops_out_and_comes_back_waits_anew() -> None:
    roster = Roster()
    for minute, state in (0, "lobby"), (2, "gone"), (5, "lobby"):
        roster = roster.after(at(minute), [guest(state)])
    assert roster.lobby_since == at(5)


def test_the_end_of_a_call_leaves_nobody_and_events_from_before_it_count_no_more() -> None:
    ended = Roster().after(at(0), [guest("lobby")]).after(at(10), [], ended=True)
    assert counts(ended) == (0, 0, 0)
    assert ended.after(at(9), [guest("lobby", "late")]) == ended
    assert counts(ended.after(at(11), [guest("lobby", "again")])) == (1, 0, 0)


def test_any_order_and_any_repetition_give_the_same_roster() -> None:
    events = [(at(0), [guest("lobby")], False), (at(1), [guest("lobby", "b2")], False),
              (at(2), [guest("connected")], False), (at(3), [guest("gone", "b2")], False)]
    expected = None
    for order in permutations(events):
        roster = Roster()
        for moment, changes, ended in (*order, *order):
            roster = roster.after(moment, changes, ended=ended)
        expected = expected or counts(roster)
        assert counts(roster) == expected == (0, 1, 0)


@given(st.lists(st.tuples(st.integers(0, 60), st.sampled_from("abc"), st.sampled_from(["lobby", "connected", "gone"]),
                          st.booleans())))  # fmt: skip
def test_what_is_stored_is_read_back_and_counts_never_exceed_the_people(
    events: list[tuple[int, str, str, bool]]
) -> None:
    roster = Roster()
    for minute, who, state, ended in events:
        roster = roster.after(at(minute), [] if ended else [guest(state, who)], ended=ended)
        assert Roster.parse(roster.text()) == roster
        assert 0 <= sum(counts(roster)) <= 3


def test_a_flood_of_entries_is_capped_and_those_present_are_kept() -> None:
    roster = Roster().after(at(0), [guest("lobby")])
    for n in range(400):
        roster = roster.after(at(1 + n), [guest("gone", f"x{n}")])
    assert roster.lobby == 1
    assert len(roster.text()) < 32_000
