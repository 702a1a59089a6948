"""Which language a reader gets, and what a page does with it."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import azure.functions as func
import pytest

from connector import web
from connector.errors import RefusedError, TransientError
from connector.languages import OFFERED, Language, accepted, pick
from connector.visits import times


def asked(query: str = "", **headers: str) -> func.HttpRequest:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return func.HttpRequest("GET", f"https://visits.example/j/x{query}", headers=named, body=b"")


@pytest.mark.parametrize(
    ("request_", "record", "tag"),
    [
        (asked("?lang=vi", Cookie="language=ko", Accept_Language="fr"), "es", "vi"),
        (asked("?lang=tlh", Cookie="a=b; language=ko", Accept_Language="fr"), "es", "ko"),
        (asked(Cookie="language=nothing", Accept_Language="fr"), "es-MX", "es"),
        (asked(Accept_Language="de-CH, fr-CA;q=0.9, en;q=0.8"), None, "fr"),
        (asked(Accept_Language="de, *;q=0.5"), "tlh", "en"),
        (asked(), None, "en"),
    ],
)
def test_a_choice_then_the_record_then_the_browser(request_: func.HttpRequest, record: str | None, tag: str) -> None:
    assert web.language_of(request_, "patient", lambda: record).tag == tag


def test_the_record_is_not_read_when_the_reader_chose() -> None:
    def read() -> str:
        raise AssertionError("an EHR call too many")

    assert web.language_of(asked("?lang=ar"), "patient", read).direction == "rtl"
    assert web.language_of(asked(Cookie="language=ar"), "patient", read).tag == "ar"


@pytest.mark.parametrize(
    ("wanted", "tag"),
    [("zh", "zh-Hans"), ("zh-CN", "zh-Hans"), ("cmn-Hans-CN", "zh-Hans"), ("zh-TW", None), ("zh-Hant-HK", None),
     ("EN_us", "en"), ("es-419", "es"), ("", None), ("-", None), ("../en", None)],
)  # fmt: skip
def test_a_tag_finds_its_language(wanted: str, tag: str | None) -> None:
    assert pick("patient", [wanted]) == tag


def test_weights_order_what_a_browser_accepts() -> None:
    assert accepted("en;q=0.5, ko , fr;q=0.9, de;q=0, x;q=much,") == ["ko", "fr", "en"]


def test_a_choice_is_remembered_and_only_a_choice() -> None:
    chosen = web.page("patient_error.html", language=web.language_of(asked("?lang=ko"), "patient"), **ERROR)
    assert chosen.headers["Set-Cookie"].startswith("language=ko; Path=/; Max-Age=")
    browser = web.page("patient_error.html", language=web.language_of(asked(Accept_Language="ko"), "patient"), **ERROR)
    assert "Set-Cookie" not in browser.headers


ERROR = {"title": "Reference", "message": "<b>", "reference": "abc", "code": "x", "failed": False, "address": "/j/x"}


@pytest.mark.parametrize("tag", OFFERED["patient"])
def test_a_page_says_its_language_and_direction(tag: str) -> None:
    language = Language("patient", tag)
    page = web.render("patient_error.html", language, **ERROR)
    assert f'<html lang="{tag}" dir="{"rtl" if tag == "ar" else "ltr"}">' in page
    assert language.gettext("Reference") in page and "&lt;b&gt;" in page


def test_an_error_is_told_in_the_readers_language() -> None:
    @web.page_errors("patient", "patient_error.html")
    def refuses(req: func.HttpRequest) -> func.HttpResponse:
        raise TransientError("cerner.unavailable")

    @web.answers_with_page
    def for_staff(req: func.HttpRequest) -> func.HttpResponse:
        raise RefusedError("x", "Not in any catalogue: 100 %", title="Reference")

    french = refuses(asked(Accept_Language="fr")).get_body().decode()
    assert "Veuillez réessayer dans une minute" in french and 'href="/j/x"' in french
    assert "Not in any catalogue: 100 %" in for_staff(asked(Accept_Language="ko")).get_body().decode()


def test_words_are_no_markup_and_neither_is_what_stands_between_them() -> None:
    template = web._environment().from_string("{{ _('<b>%(clinic)s</b>', clinic='<i>') }}")
    assert template.render(language=Language("portal")) == "&lt;b&gt;&lt;i&gt;&lt;/b&gt;"


@pytest.mark.parametrize(
    ("tag", "zone", "text"),
    [
        ("en", "America/Chicago", "Sunday, November 1, 2026, 1:30 AM CST"),
        ("en", "Europe/Copenhagen", "Sunday, 1 November 2026, 08.30 CET"),
        ("es", "America/Chicago", "domingo, 1 de noviembre de 2026, 1:30 a.m. CST"),
        ("ko", "America/Chicago", "2026년 11월 1일 일요일 오전 1:30 CST"),
        ("zh-Hans", "America/Chicago", "2026年11月1日星期日 01:30 CST"),
        ("ar", "America/Chicago", "الأحد، 1 نوفمبر 2026، 1:30 ص CST"),
    ],
)
def test_dates_are_written_as_the_language_writes_them(tag: str, zone: str, text: str) -> None:
    at = datetime(2026, 11, 1, 7, 30, tzinfo=UTC)
    plain = str.maketrans({"\u202f": " ", "\u00a0": " ", "\u200f": ""})
    assert times.day_and_time(at, ZoneInfo(zone), tag).translate(plain) == text
