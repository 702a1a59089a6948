"""Where a patient stands, by the clock, the zone and the presence row; and links that are forged or used too often."""

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from connector import clock, flood
from connector.errors import RefusedError
from connector.join_link import open_join_link
from connector.keys import JoinToken, Sealer
from connector.messages import limits
from connector.regions import Region
from connector.settings import Key
from connector.tenants import Connection
from connector.visits.calendar import calendar_entry
from connector.visits.doorway import Doorway, Link, Threshold, stage_of
from connector.visits.presence import Presence
from tests.running import Live

CLINIC = Connection(id="aabcdefgh", name="x", environment="production", fhir_base_url="https://fhir.example/r4/t",
                    clinic_name="Clinic", contact_phone="+13122346700", join_opens_minutes=30, join_closes_minutes=60)
START = datetime(2026, 11, 24, 17, tzinfo=UTC)
END = START + timedelta(minutes=20)


@pytest.fixture(autouse=True)
def own_clock() -> Iterator[None]:
    yield
    clock.install(None)


def stage(now: datetime, start: datetime | None = START, end: datetime | None = END, **seen: Any) -> str:
    clock.install(lambda: now)
    token: Any = None
    return stage_of(Threshold(token, token, "v", Presence(seen), CLINIC), start, end)


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [(-30.001, "early"), (-30, "open"), (0, "open"), (20, "open"), (80, "open"), (80.001, "over"), (-3000, "early")],
)
def test_the_door_opens_and_closes_to_the_second(minutes: float, expected: str) -> None:
    assert stage(START + timedelta(minutes=minutes)) == expected


@pytest.mark.parametrize("night", [datetime(2026, 3, 8), datetime(2026, 11, 1)])  # noqa: DTZ001 - made aware below
def test_the_night_when_clocks_change_moves_no_door(night: datetime) -> None:
    chicago = ZoneInfo("America/Chicago")
    for hour, fold in (0, 0), (1, 0), (1, 1), (2, 0), (3, 0):
        start = night.replace(hour=hour, minute=30, tzinfo=chicago, fold=fold).astimezone(UTC)
        assert stage(start - timedelta(minutes=31), start, None) == "early"
        assert stage(start - timedelta(minutes=29), start, None) == "open"
        assert stage(start + timedelta(minutes=59), start, None) == "open"
        assert stage(start + timedelta(minutes=61), start, None) == "over"


def test_without_a_start_it_is_early_and_without_an_end_the_start_counts() -> None:
    assert stage(START, None, None) == "early"
    assert stage(START + timedelta(minutes=61), end=None) == "over"


def ago(minutes: float) -> str:
    return (START - timedelta(minutes=minutes)).isoformat()


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ({"joined_at": ago(5)}, "waiting"),
        ({"joined_at": ago(5), "live": "on", "lobby": 1}, "waiting"),
        ({"joined_at": ago(5), "live": "on"}, "outside"),
        ({"joined_at": ago(5), "live": "on", "guests": 1}, "in_call"),
        ({"joined_at": ago(5), "live": "off", "guests": 1}, "waiting"),
        ({"live": "on", "guests": 1}, "in_call"),
        ({"joined_at": ago(5), "ended": "closed", "ended_at": ago(1)}, "over"),
        # of an earlier time of a visit that was moved
        ({"joined_at": ago(600), "ended": "closed", "ended_at": ago(590)}, "open"),
    ],
)
def test_what_happened_in_the_visit_decides_within_its_time(seen: dict[str, Any], expected: str) -> None:
    assert stage(START, **seen) == expected
    assert stage(START - timedelta(days=1), **seen) == "early"
    assert stage(START + timedelta(days=1), **seen) == "over"


def test_an_open_page_looks_again_when_something_changed_and_only_then() -> None:
    token: Any = None

    def look(**seen: Any) -> str:
        return Link(token, token, "v", Presence(seen)).look

    waiting = {"joined_at": ago(5), "live": "on", "lobby": 1, "lobby_since": ago(4)}
    changes: list[dict[str, Any]] = [
        {}, {"joined_at": ago(5)}, waiting, waiting | {"guests": 1}, waiting | {"live": "off"},
        waiting | {"late_minutes": 10, "late_at": ago(1)}, waiting | {"ended": "closed"},
    ]  # fmt: skip
    assert len({look(**seen) for seen in changes}) == len(changes)
    assert look(**waiting) == look(**waiting, opened_at=ago(9), test="ok", tested_at=ago(8), roster="{}", staff=1)


def test_how_late_is_of_this_time_of_the_visit_only() -> None:
    token: Any = None

    def expected(said: datetime) -> datetime | None:
        seen = Presence({"late_minutes": 20, "late_at": said.isoformat()})
        zone = ZoneInfo("America/Chicago")
        return Doorway(token, token, "v", seen, CLINIC, "open", START, END, zone).expected

    for said in START - timedelta(hours=4), START + timedelta(minutes=5):
        assert expected(said) == START + timedelta(minutes=20)
    assert expected(START - timedelta(days=1)) is None  # it was moved since


# links

SEALER = Sealer((Key("s2", b"1" * 32), Key("s1", b"0" * 32)))
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def test_of_a_hundred_thousand_changed_links_none_opens_and_none_is_an_error() -> None:
    right = [JoinToken("aabcdefgh", "51502301").seal(SEALER), JoinToken("eabcdefgh", "A-1.b", 3).seal(SEALER)]
    chance = random.Random(11)  # noqa: S311 - repeatable, no secret
    began = time.process_time()
    for n in range(100_000):
        letters = list(right[n % 2])
        at = chance.randrange(len(letters))
        kind = n % 5
        if kind == 0:
            letters[at] = chance.choice(LETTERS)
        elif kind == 1:
            del letters[at:]
        elif kind == 2:
            letters[at:at] = chance.choices(LETTERS, k=chance.randrange(1, 4))
        elif kind == 3:
            letters = [*"aep"[n % 3], *chance.choices(LETTERS, k=len(letters) - 1)]
        else:
            other = chance.randrange(len(letters))
            letters[at], letters[other] = letters[other], letters[at]
        mutant = "".join(letters)
        if mutant not in right:
            with pytest.raises(RefusedError) as refused:
                open_join_link(mutant, SEALER)
            assert (refused.value.code, refused.value.status) == ("visit.wrong_link", 404)
    assert time.process_time() - began < 60  # some 5 s


def test_a_link_of_one_region_or_key_opens_nothing_elsewhere() -> None:
    token = JoinToken("aabcdefgh", "51502301").seal(SEALER)
    assert open_join_link(token, SEALER).appointment_id == "51502301"
    moved = [region.letter + token[1:] for region in Region if region.letter != token[0]]
    for wrong, sealer in [(one, SEALER) for one in moved] + [(token, Sealer((Key("s2", b"2" * 32),)))]:
        with pytest.raises(RefusedError):
            open_join_link(wrong, sealer)


def test_a_flood_through_one_link_stops_and_troubles_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flood, "time", SimpleNamespace(monotonic=lambda: 60.0))
    for _ in range(flood.PER_MINUTE):
        flood.reserve("flooded")
    with pytest.raises(RefusedError) as refused:
        flood.reserve("flooded")
    assert refused.value.status == 429
    flood.reserve("another")


def test_what_costs_is_counted_for_all_processes_and_again_a_quarter_of_an_hour_later(live: Live) -> None:
    scope, now, what = live.scope(), datetime(2020, 5, 4, 10, tzinfo=UTC), "join.0123"  # a day of this test's own
    elsewhere = live.twin().directory.scope(scope.tenant_id)
    assert all(flood.within(one, what, now=now) for one in [scope, elsewhere] * (flood.MOST // 2))
    assert not flood.within(scope, what, now=now) and not flood.within(elsewhere, what, now=now)
    assert flood.within(elsewhere, "join.0124", now=now) and flood.within(elsewhere, "test.0123", now=now)
    assert flood.within(scope, what, now=now + timedelta(minutes=15, seconds=1))
    limits.purge(scope, now + timedelta(days=3))
    assert list(scope.tables.query("Limits", f"{scope.tenant_id}.20200504.links")) == []


# the calendar


def entry(**changes: Any) -> str:
    values: dict[str, Any] = {"title": "Video visit", "note": "Join here:", "link": "https://v.example/j/" + "x" * 39,
                              "start": START, "end": END, "now": START - timedelta(days=3)}
    return calendar_entry(**values | changes)


def test_a_calendar_entry_says_when_and_where_and_no_more() -> None:
    lines = entry().replace("\r\n ", "").split("\r\n")
    assert "DTSTART:20261124T170000Z" in lines and "DTEND:20261124T172000Z" in lines
    assert "SUMMARY:Video visit" in lines and "URL:https://v.example/j/" + "x" * 39 in lines
    assert "Clinic" not in entry() and "TRIGGER:-PT15M" in lines and lines[-1] == ""


def test_a_moved_visit_replaces_its_entry() -> None:
    first, later = entry(), entry(start=START + timedelta(days=1), now=START - timedelta(days=2))
    def of(text: str, name: str) -> str:
        return next(line for line in text.split("\r\n") if line.startswith(name))
    assert of(first, "UID") == of(later, "UID")
    assert int(of(first, "SEQUENCE").partition(":")[2]) < int(of(later, "SEQUENCE").partition(":")[2])


def test_lines_are_short_in_every_alphabet_and_nothing_breaks_out() -> None:
    text = entry(title="زيارة" * 30, note="a;b,c\\d\nBEGIN:VALARM")
    assert max(len(line.encode()) for line in text.split("\r\n")) <= 75
    assert "a\\;b\\,c\\\\d\\nBEGIN:VALARM" in text.replace("\r\n ", "")
    assert text.count("\r\nBEGIN:VALARM") == 1
