"""The look at a page sees what it promises to see."""

import pytest
from html5lib.html5parser import ParseError

from connector import web
from tests.story.pages import check_html, header_faults

_GOOD = '<!doctype html><html lang="en"><head><title>Visit</title></head><body><p id="a">Hello</p></body></html>'


@pytest.mark.parametrize(
    "instead",
    [
        '<p id="a">Hello</div>',
        '<p id="a"><b>Hello</p>',
        '<p id="a">one</p><p id="a">two</p>',
        '<p style="color:red">Hello</p>',
        '<p onclick="go()">Hello</p>',
        "<script>go()</script>",
        '<a href="javascript:go()">go</a>',
    ],
)
def test_bad_html_is_seen(instead: str) -> None:
    good = '<p id="a">Hello</p>'
    check_html(_GOOD)
    check_html(good, fragment=True)
    with pytest.raises((AssertionError, ParseError)):
        check_html(_GOOD.replace(good, instead))
    with pytest.raises((AssertionError, ParseError)):
        check_html(instead, fragment=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("content-security-policy", ""),
        ("content-security-policy", web.content_security_policy(framed_by=("https://else.example",))),
        ("content-security-policy", web.content_security_policy().replace("script-src", "script-src 'unsafe-inline'")),
        ("cache-control", "private"),
        ("x-content-type-options", ""),
        ("referrer-policy", "unsafe-url"),
    ],
)
def test_bad_headers_are_seen(name: str, value: str) -> None:
    answer = web.respond("x")
    good = {key.lower(): text for key, text in answer.headers.items()}
    assert header_faults(good, {"https://chart.example"}) == []
    assert header_faults(good | {name: value}, {"https://chart.example"})
