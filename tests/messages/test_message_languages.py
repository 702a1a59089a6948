"""Texts and e-mails in each language: in the patient's where the clinic offers it, at the price of its alphabet."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from connector.languages import OFFERED
from connector.messages.email_text import compose_email
from connector.messages.text import Words, compose, language_for, segments
from connector.tenants import MessageSettings

LINK = "https://visits.harborvalley.example/j/" + "a" * 39
RULES = ["confirmation.new", "reminder.1440", "change.moved", "change.reinstated", "change.rebooked",
         "cancellation.cancelled", "cancellation.not_video", "link", "late.20"]  # fmt: skip
SEGMENTS = {"en": 1, "es": 1, "fr": 1, "zh-Hans": 2, "ko": 3, "vi": 3, "ar": 3}
"""At most, with a link of 77 characters; docs/architecture.md states them."""


def words(**changes: Any) -> Words:
    given = {"clinic": "Harbor Valley Health", "start": datetime(2026, 11, 18, 17, 30, tzinfo=UTC), "link": LINK,
             "zone": "America/Chicago", "phone": "+13122346700", "answered": True}  # fmt: skip
    return Words(**(given | changes))


@pytest.mark.parametrize("tag", OFFERED["patient"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("answered", [True, False])
def test_a_text_says_when_and_where_in_few_segments(tag: str, rule: str, answered: bool) -> None:
    text = compose(rule, words(answered=answered), MessageSettings(languages=["en", tag]), tag)
    assert segments(text) <= SEGMENTS[tag], text
    assert "Harbor Valley Health" in text and "11:30" in text and "CST" in text
    assert ("18" in text and "11月" in text) == (tag == "zh-Hans" and not rule.startswith("late"))
    assert (LINK in text.replace(f"{LINK}/stop", "")) == (not rule.startswith("cancellation"))
    assert ("STOP" in text) == answered
    assert tag == "en" or text != compose(rule, words(answered=answered), MessageSettings(), "en")


@pytest.mark.parametrize(("minutes", "said"), [(5, "5 دقائق"), (10, "10 دقائق"), (15, "15 دقيقة"), (60, "60 دقيقة")])
def test_arabic_counts_few_minutes_in_another_form(minutes: int, said: str) -> None:
    only = MessageSettings(languages=["ar"])
    assert said in compose(f"late.{minutes}", words(), only, "ar")
    assert said in compose_email(f"late.{minutes}", words(), only, "https://stop.example/", "ar").text


@pytest.mark.parametrize("tag", OFFERED["patient"])
@pytest.mark.parametrize("rule", ["reply.confirmed", "reply.call", "reply.help"])
def test_an_answer_to_a_reply_is_in_the_language_too(tag: str, rule: str) -> None:
    text = compose(rule, words(), MessageSettings(languages=[tag], replies=True), tag)
    assert segments(text) <= SEGMENTS[tag], text
    assert ("11:30" if rule == "reply.confirmed" else "+13122346700") in text


def test_letters_that_the_alphabet_lacks_are_written_plainly_where_that_saves_a_segment() -> None:
    spanish = MessageSettings(languages=["es"])
    text = compose("cancellation.not_video", words(clinic="Clínica Ángel"), spanish, "es")
    assert text.startswith("Clinica Angel") and segments(text) == 1
    assert "mié" in compose("confirmation.new", words(), spanish, "es")  # what the alphabet has stays
    assert "buổi khám" in compose("confirmation.new", words(), MessageSettings(languages=["vi"]), "vi")


@pytest.mark.parametrize(
    ("wanted", "offered", "tag"),
    [
        ("es-US", ["en", "es"], "es"),
        ("es", ["en"], "en"),
        ("zh-CN", ["en", "zh-Hans"], "zh-Hans"),
        ("zh-TW", ["en", "zh-Hans"], "en"),
        (None, ["fr", "en"], "fr"),
        ("da", ["da"], "en"),
        ("../../x", ["en"], "en"),
    ],
)
def test_the_patients_language_where_the_clinic_offers_it(wanted: str | None, offered: list[str], tag: str) -> None:
    assert language_for(wanted, offered) == tag


@pytest.mark.parametrize("tag", OFFERED["patient"])
@pytest.mark.parametrize("rule", RULES)
def test_an_email_is_whole_in_every_language(tag: str, rule: str) -> None:
    stop = f"{LINK}/stop?e={'b' * 44}"
    email = compose_email(rule, words(), MessageSettings(languages=[tag]), stop, tag)
    assert "\n" not in email.subject and "Harbor Valley Health" in email.subject
    named = re.findall(r'<a href="([^"]+)"[^>]*>([^<]+)</a>', email.html)
    assert [address for address, _ in named] == [LINK, stop][rule.startswith("cancellation"):]
    assert all(text.strip() and not text.startswith("http") for _, text in named)
    assert "2026" in email.text and "11:30" in email.text and email.html.count("<h1") == 1
    assert f'<html lang="{tag}" dir="{"rtl" if tag == "ar" else "ltr"}">' in email.html
