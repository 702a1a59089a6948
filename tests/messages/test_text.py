"""What the SMS says, when, and what it costs."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from connector import keys
from connector.messages.text import Words, answered, compose, preview, segments
from connector.regions import Region
from connector.settings import Key
from connector.tenants import MessageSettings, Sender
from connector.zones import country_of

LINK = "https://visits.harborvalley.example/j/" + "a" * 39


def say(
    start: str,
    zone: str,
    rule: str = "confirmation.new",
    *,
    clinic: str = "Harbor Valley Health",
    link: str = LINK,
    stop: bool = True,
    **settings: Any,
) -> str:
    words = Words(
        clinic,
        datetime.fromisoformat(start).replace(tzinfo=UTC),
        zone,
        link,
        "+13122346700",
        stop,
    )
    return compose(rule, words, MessageSettings(**settings), "en")


@pytest.mark.parametrize(
    ("start", "zone", "expected"),
    [
        ("2026-03-07T16:00", "America/Chicago", "Sat, Mar 7, 10:00 AM CST"),
        ("2026-03-09T15:00", "America/Chicago", "Mon, Mar 9, 10:00 AM CDT"),
        ("2026-11-01T06:30", "America/Chicago", "Sun, Nov 1, 1:30 AM CDT"),
        ("2026-11-01T07:30", "America/Chicago", "Sun, Nov 1, 1:30 AM CST"),
        ("2026-03-28T13:15", "Europe/Copenhagen", "Sat, 28 Mar, 14.15 CET"),
        ("2026-03-29T13:15", "Europe/Copenhagen", "Sun, 29 Mar, 15.15 CEST"),
        ("2026-10-25T00:30", "Europe/Copenhagen", "Sun, 25 Oct, 02.30 CEST"),
        ("2026-10-25T01:30", "Europe/Copenhagen", "Sun, 25 Oct, 02.30 CET"),
        ("2026-07-14T15:00", "America/Sao_Paulo", "12:00 GMT-0300"),
    ],
)
def test_time_is_the_departments_own_with_its_zone(start: str, zone: str, expected: str) -> None:
    assert expected in say(start, zone)


def test_a_typical_text_is_one_segment() -> None:
    text = say("2026-11-18T17:30", "America/Chicago")
    assert text == f"Harbor Valley Health: video visit Wed, Nov 18, 11:30 AM CST. {LINK} Reply STOP to opt out"
    assert segments(text) == 1


def test_where_there_is_room_the_link_is_introduced() -> None:
    assert f"CET. Join: {LINK}" in say("2026-11-18T17:30", "Europe/Copenhagen", clinic="Nordlys Klinik", stop=False)


def test_only_a_phone_number_asks_for_stop() -> None:
    assert "STOP" not in say("2026-11-18T17:30", "Europe/Copenhagen", stop=False)


def test_a_real_link_is_as_short_as_the_text_assumes() -> None:
    sealer = keys.Sealer((Key("s1", b"0" * 32),))
    assert len(keys.JoinToken("aabcdefgh", "51502301").seal(sealer)) <= 39


def test_typography_does_not_double_the_price() -> None:
    assert segments(say("2026-11-18T17:30", "America/Chicago", clinic="Mary\u2019s \u2013 Clinic")) == 1


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("[" * 80, 1),
        ("[" * 81, 2),
        ("a" * 152 + "[" + "a" * 153, 3),
        ("ł" * 70, 1),
        ("ł" * 71, 2),
        ("ł" * 134, 2),
        ("ł" * 135, 3),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
    ],
)
def test_segments_are_counted_as_the_carriers_bill_them(text: str, count: int) -> None:
    assert segments(text) == count


def test_country_of_a_zone() -> None:
    assert [country_of(zone) for zone in ("America/Chicago", "Europe/Copenhagen", "Etc/UTC")] == ["US", "DK", None]


RULES = [
    "confirmation.new",
    "reminder.1440",
    "change.moved",
    "change.reinstated",
    "change.rebooked",
    "cancellation.cancelled",
    "cancellation.not_video",
]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("stop", [True, False])
def test_every_text_is_one_segment_and_says_when_and_where(rule: str, stop: bool) -> None:
    text = say("2026-11-18T17:30", "America/Chicago", rule, stop=stop)
    assert segments(text) == 1
    assert "Harbor Valley Health" in text and "Nov 18" in text and "11:30 AM CST" in text
    assert (LINK in text) == (not rule.startswith("cancellation") or (not stop and "Stop: " in text))
    assert ("STOP to opt out" in text) == stop


def test_a_reply_is_asked_for_only_where_it_is_read() -> None:
    number = Sender(id="ab12", kind="phone_number", value="+448005550100", label="Main")
    name = number.model_copy(update={"kind": "alphanumeric", "value": "Nordlys"})
    assert [answered(number, region) for region in Region] == [region == "americas" for region in Region]
    assert not answered(name, Region.AMERICAS) and not answered(None, Region.AMERICAS)


def test_where_no_reply_is_read_the_stop_link_is_offered_where_it_fits() -> None:
    short = "https://v.example/j/abc"
    assert f"Stop: {short}/stop" in say("2026-11-18T17:30", "Europe/Copenhagen", stop=False, link=short)
    cancelled = say("2026-11-18T17:30", "Europe/Copenhagen", "cancellation.cancelled", stop=False)
    assert f"Stop: {LINK}/stop" in cancelled or segments(cancelled) == 1


def test_an_admins_own_text_takes_the_place_of_ours_where_it_is_true() -> None:
    own = {"change": "{clinic} moved you to {date} {time} {zone}: {link} {phone}"}
    text = say("2026-11-18T17:30", "America/Chicago", "change.moved", texts=own)
    assert text.startswith("Harbor Valley Health moved you to Wed, Nov 18 11:30 AM CST: https")
    assert text.endswith("STOP to opt out")
    assert "moved you" not in say("2026-11-18T17:30", "America/Chicago", "change.reinstated", texts=own)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{clinic} {date} {time} {zone}", "{link}"),
        ("{clinic} {date} {time} {zone} {link} {patient}", "may hold only"),
        ("{clinic} {date} {time} {zone} {link.__class__}", "may hold only"),
        ("{clinic!r} {date} {time} {zone} {link}", "only"),
        ("{clinic:>99} {date} {time} {zone} {link}", "only"),
        ("{clinic} {", "brace"),
        ("{} {0}", "only"),
        ("", "at least"),
        ("{clinic:{link}} {date} {time} {zone} {link}", "only"),
    ],
)
def test_placeholders_are_checked(text: str, fault: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(fault)):
        MessageSettings(texts={"reminder": text})


def test_a_preview_counts_what_is_billed() -> None:
    words = Words(
        "Klinik Ł", datetime(2026, 11, 18, 17, 30, tzinfo=UTC), "Europe/Copenhagen", LINK, "+4533", False
    )
    seen = preview("confirmation.new", words, MessageSettings())
    assert seen.length == len(seen.text) > 70 and seen.segments == 2


def test_an_unknown_language_falls_back_to_english() -> None:
    words = Words(
        "Nordlys", datetime(2026, 11, 18, 17, 30, tzinfo=UTC), "Europe/Copenhagen", LINK, "+45", False
    )
    settings = MessageSettings(languages=["da", "en"])
    assert "video visit" in compose("confirmation.new", words, settings, "da")
    assert "video visit" in compose("confirmation.new", words, settings, "../../x")
