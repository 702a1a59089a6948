"""What every HTTP answer has in common: security headers, one error page, problem+json, a reference id, cookies."""

from __future__ import annotations

import functools
import json
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import azure.functions as func

from connector import logs
from connector.errors import ConnectorError, RefusedError, TransientError
from connector.languages import ENGLISH, N_, Domain, Language, accepted, pick

Handler = Callable[[func.HttpRequest], func.HttpResponse]

BODY_LIMIT = 256 * 1024
"""Largest request body that any route reads, in bytes."""

_HEADERS = {
    "Cache-Control": "no-store",
    # not no-referrer: that turns the Origin of our own forms into null, and browsers without Fetch metadata need it
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "Cross-Origin-Opener-Policy": "same-origin-allow-popups",
    "Permissions-Policy": "geolocation=(), payment=(), usb=()",
}
_MICROSOFT = frozenset({"entra", "graph", "sms", "email", "numbers", "vault"})
"""How codes of errors begin that came from Microsoft; all others that a vendor gave are the EHR's."""
_TEMPLATES = Path(__file__).parent / "templates"
_LANGUAGE = "language"
"""Cookie: the language that the reader chose."""


def content_security_policy(
    *, framed_by: tuple[str, ...] | None = None, form_action: str | None = "'self'"
) -> str:
    """Own scripts and styles only. Framed by nobody (None), by these origins, or (empty) by whom the EHR's embeddable
    library trusts: it forbids the directive (cerner-smart-embeddable-lib, README)."""
    parts = [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
    ]
    if framed_by != ():
        parts.append("frame-ancestors " + (" ".join(framed_by) if framed_by else "'none'"))
    if form_action:
        parts.append(f"form-action {form_action}")
    return "; ".join(parts)


@functools.lru_cache(maxsize=1)
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
    from markupsafe import Markup, escape

    environment: Any = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )

    # The language is the page's, not the process's. Words are escaped like values: a catalogue can bring no markup.
    @pass_context
    def gettext(context: Any, message: str, /, **values: object) -> Markup:
        text = escape(context["language"].gettext(message))
        return text % values if values else text

    @pass_context
    def ngettext(context: Any, one: str, many: str, n: int, /, **values: object) -> Markup:
        return escape(context["language"].ngettext(one, many, n)) % ({"num": n} | values)

    environment.install_gettext_callables(gettext, ngettext, newstyle=False)
    environment.newstyle_gettext = True
    environment.policies["ext.i18n.trimmed"] = True
    return environment


def render(template: str, /, language: Language | None = None, **values: object) -> str:
    """The template in a language, of which it knows `language`; without one in the English of staff."""
    text: str = _environment().get_template(template).render(language=language or Language("portal"), **values)
    return text


def respond(
    body: str | bytes = b"",
    *,
    status: int = 200,
    mimetype: str = "text/html",
    headers: Mapping[str, str] | None = None,
    cookies: tuple[str, ...] = (),
    csp: str | None = None,
) -> func.HttpResponse:
    merged = {**_HEADERS, "Content-Security-Policy": csp or content_security_policy(), **(headers or {})}
    response = func.HttpResponse(body, status_code=status, mimetype=mimetype, charset="utf-8", headers=merged)
    for cookie in cookies:
        response.headers.add("Set-Cookie", cookie)
    return response


def page(
    template: str,
    *,
    status: int = 200,
    cookies: tuple[str, ...] = (),
    csp: str | None = None,
    language: Language | None = None,
    framed_by: tuple[str, ...] | None = None,
    **values: object,
) -> func.HttpResponse:
    """A page in the reader's language (`language_of`), which a choice made in this request is remembered by.

    `framed_by` as in `content_security_policy`, for templates that extend `framed.html`.
    """
    if language and language.chosen:
        cookies = (*cookies, cookie(_LANGUAGE, language.tag, max_age_s=365 * 24 * 3600))
    csp = csp or content_security_policy(framed_by=framed_by)
    return respond(render(template, language, framed_by=framed_by, **values), status=status, cookies=cookies, csp=csp)


def language_of(request: func.HttpRequest, domain: Domain, record: Callable[[], str | None] | None = None) -> Language:
    """The reader's language: chosen (`?lang=`, now or before), else of the record, else of the browser, else English.

    `record` is asked only when nothing was chosen.
    """
    if chosen := pick(domain, filter(None, [query_one(request, "lang")])):
        return Language(domain, chosen, chosen=True)
    if remembered := pick(domain, filter(None, [read_cookie(request, _LANGUAGE)])):
        return Language(domain, remembered)
    wanted = [(record and record()) or "", *accepted(request.headers.get("Accept-Language", ""))]
    return Language(domain, pick(domain, wanted) or ENGLISH)


def redirect(location: str, *, cookies: tuple[str, ...] = (), csp: str | None = None) -> func.HttpResponse:
    """303 See Other, so that a POST becomes a GET."""
    return respond(status=303, headers={"Location": location}, cookies=cookies, csp=csp)


def json_response(
    value: object, *, status: int = 200, headers: Mapping[str, str] | None = None, cookies: tuple[str, ...] = ()
) -> func.HttpResponse:
    return respond(json.dumps(value), status=status, mimetype="application/json", headers=headers, cookies=cookies)


def cookie(name: str, value: str, *, max_age_s: int, path: str = "/", same_site: str = "Lax") -> str:
    """A Set-Cookie value that Azure's host passes unchanged: plain characters, Path always, Max-Age and no Expires."""
    return f"{name}={value}; Path={path}; Max-Age={max_age_s}; Secure; HttpOnly; SameSite={same_site}"


def read_cookie(request: func.HttpRequest, name: str) -> str | None:
    for part in str(request.headers.get("Cookie", "")).split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return None


def query(request: func.HttpRequest) -> dict[str, list[str]]:
    """Repeated and empty parameters as they were sent: the host joins the first with commas and drops the second."""
    return _fields(urlsplit(request.url).query, at_most=50)


def query_one(request: func.HttpRequest, name: str) -> str | None:
    """A parameter that may be given once; twice counts as not given."""
    values = query(request).get(name, [])
    return values[0] if len(values) == 1 and values[0] else None


def form(request: func.HttpRequest) -> dict[str, str]:
    """The fields of a posted form, each given once."""
    fields = _fields(body(request).decode("utf-8", "replace"), at_most=200)
    return {name: values[0] for name, values in fields.items() if len(values) == 1}


def _fields(encoded: str, *, at_most: int) -> dict[str, list[str]]:
    try:
        return parse_qs(encoded, keep_blank_values=True, max_num_fields=at_most)
    except ValueError:
        raise RefusedError("web.too_many_fields", "The request has too many fields.", title="Too many fields") from None


def json_body(request: func.HttpRequest) -> Any:
    try:
        return json.loads(body(request))
    except (ValueError, RecursionError):
        raise RefusedError("web.not_json", "The request body is not JSON.", title="Not JSON") from None


def body(request: func.HttpRequest) -> bytes:
    """The request's body, of which no more than BODY_LIMIT is read. Raises RefusedError (413)."""
    sent: bytes = request.get_body()
    if len(sent) > BODY_LIMIT:
        raise RefusedError("web.too_large", "The request body is too large.", status=413, title="Too large")
    return sent


def require_same_origin(request: func.HttpRequest, public_url: str) -> None:
    """Refuse cross-site unsafe requests by Fetch metadata, else by Origin (W3C Fetch Metadata, RFC 6454)."""
    site = request.headers.get("Sec-Fetch-Site")
    if site in ("same-origin", "none"):
        return
    if site is None and request.headers.get("Origin") == public_url:
        return
    raise RefusedError(
        "web.cross_site",
        N_("This request did not come from one of our own pages."),
        status=403,
        title=N_("Not from our page"),
    )


def bearer(request: func.HttpRequest) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return str(token).strip() or None if scheme.lower() == "bearer" else None


def answers_with_page(handler: Handler) -> Handler:
    """Errors become the error page; nothing of the error but its own text and a reference id is shown."""
    return page_errors("portal")(handler)


def page_errors(domain: Domain, template: str = "error.html") -> Callable[[Handler], Handler]:
    """`answers_with_page`, in the reader's language of the domain where the error's text is in its catalogue."""

    def decorate(handler: Handler) -> Handler:
        @functools.wraps(handler)
        def wrapped(req: func.HttpRequest) -> func.HttpResponse:
            try:
                return handler(req)
            except Exception as error:
                shown = _shown(error)
                framed_by = getattr(error, "framed_by", None)
                answer = page(
                    template,
                    language=_language_of_refused(req, domain),
                    framed_by=framed_by,
                    address=urlsplit(req.url).path,
                    failed=shown["status"] >= 500,
                    **shown,
                )
                answer.headers.update(_retry(error))
                return answer

        return wrapped

    return decorate


def _language_of_refused(req: func.HttpRequest, domain: Domain) -> Language:
    """Also of a request whose parameters cannot be read."""
    try:
        return language_of(req, domain)
    except RefusedError:
        return Language(domain)


def answers_with_problem(handler: Handler) -> Handler:
    """Errors become RFC 9457 problem details."""

    @functools.wraps(handler)
    def wrapped(req: func.HttpRequest) -> func.HttpResponse:
        try:
            return handler(req)
        except Exception as error:
            return problem(error)

    return wrapped


def problem(error: Exception) -> func.HttpResponse:
    shown = _shown(error)
    body = {
        "type": "about:blank",
        "title": shown["title"],
        "status": shown["status"],
        "detail": shown["message"],
        "code": shown["code"],
        "reference": shown["reference"],
        "retry": shown["retry"],
    }
    body |= {name: shown[name] for name in ("vendor_code", "vendor_reference", "vendor_link") if shown[name]}
    if isinstance(error, RefusedError) and error.details:
        body["errors"] = error.details
    return respond(json.dumps(body), status=shown["status"], mimetype="application/problem+json", headers=_retry(error))


def _retry(error: Exception) -> dict[str, str]:
    after = error.retry_after_s if isinstance(error, (TransientError, RefusedError)) else None
    return {"Retry-After": str(int(after) + 1)} if after else {}


def _shown(error: Exception) -> dict[str, Any]:
    """What a person may see of an error, logged under the same reference id."""
    reference = secrets.token_hex(4)
    if isinstance(error, ConnectorError):
        logs.event(
            "request.refused" if isinstance(error, RefusedError) else "request.failed",
            reference=reference,
            code=error.code,
            vendor_status=error.vendor_status,
            vendor_code=error.vendor_code,
            vendor_reference=error.vendor_reference,
        )
    else:
        logs.failure("request.error", error, reference=reference)
    shown: dict[str, Any] = {
        "reference": reference,
        "vendor": "Microsoft" if getattr(error, "code", "").partition(".")[0] in _MICROSOFT else "EHR",
        "vendor_code": getattr(error, "vendor_code", None),
        "vendor_reference": getattr(error, "vendor_reference", None),
        "vendor_link": getattr(error, "vendor_link", None),
    }
    if isinstance(error, RefusedError):
        return shown | {
            "status": error.status,
            "title": error.title,
            "message": error.message,
            "code": error.code,
            "retry": bool(error.retry_after_s),
        }
    if isinstance(error, TransientError):
        return shown | {
            "status": 503,
            "title": N_("Please try again in a moment"),
            "code": error.code,
            "retry": True,
            "message": N_("A service we depend on did not answer. Nothing was changed. Please try again."),
        }
    if isinstance(error, ConnectorError):
        return shown | {
            "status": 502,
            "title": N_("We got an answer that we cannot use"),
            "code": error.code,
            "retry": False,
            "message": N_(
                "A service we depend on refused or gave an unexpected answer. "
                "Your administrator can find the cause with the reference below."
            ),
        }
    return shown | {
        "status": 500,
        "title": N_("Something went wrong on our side"),
        "code": "internal",
        "retry": False,
        "message": N_("This is our fault. Please give your administrator the reference below."),
    }
