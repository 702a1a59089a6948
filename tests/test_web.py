"""What every HTTP answer has in common: origin checks, cookies, problems, the error page, limits."""

import json
import re

import azure.functions as func
import pytest

from connector import web
from connector.errors import AmbiguousError, PermanentError, RefusedError, TransientError

PUBLIC = "https://visits.hospital.example"
PRIVATE = "Mirabelka Testonby"


def request(query: str = "", *, body: bytes = b"", **headers: str) -> func.HttpRequest:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return func.HttpRequest("POST", f"{PUBLIC}/x{query}", headers=named, body=body)


@pytest.mark.parametrize("headers", [{"Sec_Fetch_Site": "same-origin"}, {"Sec_Fetch_Site": "none"}, {"Origin": PUBLIC}])
def test_our_own_pages_may_post(headers: dict[str, str]) -> None:
    web.require_same_origin(request(**headers), PUBLIC)


@pytest.mark.parametrize("headers", [
    {}, {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}, {"Sec_Fetch_Site": ""},
    {"Sec_Fetch_Site": "cross-site", "Origin": PUBLIC}, {"Origin": "null"}, {"Origin": f"{PUBLIC}.evil.example"},
    {"Origin": PUBLIC.replace("https", "http")}, {"Referer": PUBLIC}])
def test_nobody_elses_pages_may_post(headers: dict[str, str]) -> None:
    with pytest.raises(RefusedError) as refused:
        web.require_same_origin(request(**headers), PUBLIC)
    assert refused.value.status == 403


def test_cookies_are_plain_and_closed() -> None:
    made = web.cookie("__Host-visit", "aZ09-_.~", max_age_s=600)
    assert made == "__Host-visit=aZ09-_.~; Path=/; Max-Age=600; Secure; HttpOnly; SameSite=Lax"
    sent = request(Cookie="a=1; __Host-visit=aZ09-_.~; b=x=y")
    assert web.read_cookie(sent, "__Host-visit") == "aZ09-_.~"
    assert web.read_cookie(sent, "b") == "x=y"
    assert web.read_cookie(sent, "Host-visit") is None
    assert web.read_cookie(request(), "a") is None


@pytest.mark.parametrize(("query", "value"), [("?iss=a", "a"), ("?iss=a&x=1", "a"), ("?iss=a%26b", "a&b"), ("", None),
                                              ("?iss=", None), ("?iss=a&iss=b", None), ("?iss=a&iss=a", None),
                                              ("?iss=&iss=a", None), ("?ISS=a", None)])
def test_a_parameter_counts_when_it_is_given_once(query: str, value: str | None) -> None:
    assert web.query_one(request(query), "iss") == value


def test_a_form_gives_fields_that_came_once() -> None:
    assert web.form(request(body=b"a=1&b=2&b=3&c=%C3%B8&d=")) == {"a": "1", "c": "ø", "d": ""}


@pytest.mark.parametrize("read", [lambda: web.query(request("?" + "a=1&" * 60)),
                                  lambda: web.form(request(body=b"a=1&" * 300))])
def test_too_many_fields_are_refused(read: object) -> None:
    with pytest.raises(RefusedError) as refused:
        read()  # type: ignore[operator]
    assert refused.value.status == 400


def test_an_oversized_body_is_refused_before_it_is_read() -> None:
    for read in web.json_body, web.form:
        with pytest.raises(RefusedError) as refused:
            read(request(body=b" " * (web.BODY_LIMIT + 1)))
        assert refused.value.status == 413
    assert web.json_body(request(body=b"1".rjust(web.BODY_LIMIT))) == 1


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"NaN,"])
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(RefusedError) as refused:
        web.json_body(request(body=body))
    assert refused.value.status == 400


@pytest.mark.parametrize(("headers", "token"), [
    ({"Authorization": "Bearer abc"}, "abc"), ({"Authorization": "bearer  abc "}, "abc"), ({}, None),
    ({"Authorization": "Bearer "}, None), ({"Authorization": "Basic abc"}, None), ({"Authorization": "abc"}, None)])
def test_a_bearer_token_is_read_from_its_scheme_only(headers: dict[str, str], token: str | None) -> None:
    assert web.bearer(request(**headers)) == token


REFUSED = RefusedError("x.refused", "Do this instead.", status=409, title="Not so", details={"name": "is missing"},
                       vendor_code="urn:cerner:error:x", vendor_reference="abc-1")


@pytest.mark.parametrize(("error", "status", "retry"), [
    (REFUSED, 409, False), (TransientError("x.busy", retry_after_s=2.4), 503, True),
    (AmbiguousError("x.silent"), 503, True), (PermanentError("x.odd", vendor_status=404), 502, False),
    (ValueError(PRIVATE), 500, False), (KeyError(PRIVATE), 500, False)])
def test_an_error_is_a_problem_or_a_page_with_a_reference_and_no_inner_text(
    error: Exception, status: int, retry: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_: func.HttpRequest) -> func.HttpResponse:
        raise error

    caplog.set_level("INFO")
    answer = web.answers_with_problem(fails)(request())
    told = json.loads(answer.get_body())
    assert (answer.status_code, told["status"], told["retry"]) == (status, status, retry)
    assert answer.mimetype == "application/problem+json"
    assert {"type", "title", "status", "detail", "code", "reference", "retry"} <= set(told)
    assert f"reference={told['reference']}" in caplog.text
    page = web.answers_with_page(fails)(request())
    reference = re.findall("<code>([0-9a-f]{8})</code>", page.get_body().decode())
    assert page.status_code == status
    assert page.mimetype == "text/html"
    assert len(reference) == 1 and f"reference={reference[0]}" in caplog.text
    assert told["title"] in page.get_body().decode()
    for text in (caplog.text, page.get_body().decode(), answer.get_body().decode()):
        assert "Mirabelka" not in text
    assert answer.headers.get("Retry-After") == ("3" if status == 503 and error.args[0] == "x.busy" else None)


def test_a_problem_carries_fields_and_the_vendors_codes() -> None:
    told = json.loads(web.problem(REFUSED).get_body())
    assert told["errors"] == {"name": "is missing"}
    assert (told["vendor_code"], told["vendor_reference"]) == ("urn:cerner:error:x", "abc-1")


@pytest.mark.parametrize("answer", [web.respond("x"), web.redirect("/portal"), web.json_response({}),
                                    web.problem(REFUSED), web.page("error.html", title="<b>", message="<script>",
                                                                   reference="1", vendor_code=None,
                                                                   vendor_reference=None)])
def test_every_answer_is_closed_to_caches_frames_and_foreign_content(answer: func.HttpResponse) -> None:
    headers = answer.headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["X-Content-Type-Options"] == "nosniff"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert b"<b>" not in answer.get_body() and b"<script>" not in answer.get_body()
