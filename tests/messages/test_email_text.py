"""What an e-mail says, in both its forms, and whose address it goes to."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connector.ehr import ContactPoint
from connector.messages.contacts import Contact, email_addresses, normal_address
from connector.messages.email_text import compose_email
from connector.messages.text import Words
from connector.tenants import MessageSettings

LINK = "https://visits.harborvalley.example/j/" + "a" * 39
STOP = f"{LINK}/stop?e={'b' * 44}"
NOW = datetime(2026, 11, 23, 15, 30, tzinfo=UTC)
RULES = ["confirmation.new", "reminder.15", "change.moved", "change.reinstated", "cancellation.cancelled",
         "cancellation.not_video", "link", "late.20"]  # fmt: skip


def words(**changes: Any) -> Words:
    given = {"clinic": "Harbor Valley Health", "start": NOW, "zone": "America/Chicago", "link": LINK,
             "phone": "+1 312 234 6700", "answered": True}  # fmt: skip
    return Words(**(given | changes))


@pytest.mark.parametrize("rule", RULES)
def test_both_forms_say_who_when_where_and_how_to_stop(rule: str) -> None:
    email = compose_email(rule, words(), MessageSettings(), STOP)
    assert "\n" not in email.subject and email.subject.startswith("Harbor Valley Health: ")
    assert "Monday, November 23, 2026, 9:30 AM (CST)" in email.text.replace("\u202f", " ")
    for needed in ("Harbor Valley Health", "+1 312 234 6700", STOP):
        assert needed in email.text and needed in email.html
    assert (LINK in email.text.replace(STOP, "")) == (not rule.startswith("cancellation"))
    said = re.sub(r"<[^>]+>", " ", email.html.split("</head>")[1])
    plain = re.sub(r"https://\S+", "", email.text)
    assert re.findall(r"\w+", plain) == re.findall(r"\w+", said)
    assert email.html.count("<h1") == 1 and '<html lang="en"' in email.html
    assert email.headers == {"List-Unsubscribe": f"<{STOP}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
    assert email == compose_email(rule, words(), MessageSettings(), STOP), "a repetition is the same to the byte"


def test_a_link_in_the_html_is_named_by_what_it_does() -> None:
    html = compose_email("confirmation.new", words(), MessageSettings(), STOP).html
    assert re.findall(r'<a href="([^"]+)"[^>]*>([^<]+)</a>', html) == [
        (LINK, "Join your video visit"), (STOP, "Stop e-mails about video visits"),
    ]  # fmt: skip


def test_an_own_text_stands_in_place_of_ours_where_it_is_true() -> None:
    own = MessageSettings(texts={"confirmation": "{clinic} sees you {date}, {time} {zone}: {link}"})
    assert "Harbor Valley Health sees you Monday" in compose_email("confirmation.new", words(), own, STOP).text
    moved = MessageSettings(texts={"change": "{clinic} moved you to {date}, {time} {zone}: {link}"})
    assert "moved you" not in compose_email("change.reinstated", words(), moved, STOP).text


def test_names_cannot_bring_markup_or_a_second_subject_line() -> None:
    email = compose_email("confirmation.new", words(clinic="A <b>& Sons</b>"), MessageSettings(), STOP)
    assert "A &lt;b&gt;&amp; Sons&lt;/b&gt;" in email.html and "<b>" not in email.html
    assert email.subject.startswith("A <b>& Sons</b>:")


def point(
    value: str, use: str | None = "home", rank: int | None = 1, system: Any = "email", **period: Any
) -> ContactPoint:
    return ContactPoint(system, value, use, rank, period.get("since"), period.get("until"))


def test_the_address_is_a_valid_one_of_the_person_now() -> None:
    day = timedelta(days=1)
    found = [
        point("old@a.example", "old"), point("work@a.example", "work"), point("+13125552348", system="phone"),
        point("ended@a.example", until=NOW - day), point("later@a.example", since=NOW + day),
        point("no address", rank=1), point("two@a.example", rank=2), point(" First@A.Example ", None, 1),
    ]  # fmt: skip
    assert next(email_addresses(found, NOW)) == "first@a.example"
    assert list(email_addresses(found[:-2], NOW)) == []


@pytest.mark.parametrize("text", ["a@b", "a b@c.example", "a@b.example\nBcc: c@d.example", "<a@b.example>",
                                  '"a"@b.example', "a@b.example;c@d.example", "å@b.example", "a@-.",
                                  f"{'a' * 65}@b.example",
                                  f"a@{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 60}.{'f' * 60}.example"])  # fmt: skip
def test_what_is_not_plainly_one_address_is_none(text: str) -> None:
    assert normal_address(text) is None


def test_a_masked_contact_is_recognized_by_its_owner_only() -> None:
    assert Contact("sms", "+13125552348").masked == "+1••••••••48"
    assert Contact("email", "mirabelka.t84@patientmail.example").masked == "m•••@p•••.example"
