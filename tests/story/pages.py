"""A visitor of the app who looks closely: status, title, valid HTML, headers, a silent console, and axe.

The Content-Security-Policy stays in force (axe is brought in by the debugger), so a violation is heard in the console.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import html5lib
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, expect

from tests.browser.chromium import PATIENCE_MS

_AXE = Path(__file__).parent.parent.parent / "node_modules" / "axe-core" / "axe.min.js"
_RUN_AXE = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations
  .filter(found => ["serious", "critical"].includes(found.impact))
  .map(found => `${found.id}: ${found.nodes.map(node => node.target.join(" ")).join(", ")}`)"""
_SAME_IDS = """() => [...document.querySelectorAll("[id]")].map(one => one.id)
  .filter((id, place, all) => all.indexOf(id) !== place)"""
_TOO_WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
_OUTAGE = re.compile(r"ERR_(CONNECTION_(REFUSED|RESET)|EMPTY_RESPONSE)|status of 503")
_SECRET_NAMES = frozenset({"code", "state", "launch", "nonce", "secret", "bearer", "code_challenge", "session_state"})
DESKTOP, FRAME, PHONE = 1280, 900, 375
EVERY_WIDTH = (DESKTOP, FRAME, PHONE)


@dataclass
class Heard:
    """What went between the browsers and the app: every URL, and every one-time or bearer value."""

    urls: set[str] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)


class Visitor:
    """One person's browser: a context of its own with one page."""

    def __init__(
        self,
        browser: Browser,
        app: str,
        framers: set[str],
        heard: Heard,
        *,
        width: int = DESKTOP,
        outages: bool = False,
        closely: bool = True,
    ) -> None:
        """`outages`: app or storage may be away for a moment, which the console may then say. `closely`: with axe."""
        self._app, self._framers, self._heard, self._outages, self._closely = app, framers, heard, outages, closely
        self._answers: list[Response] = []
        self._console: list[str] = []
        size: Any = {"width": width, "height": 800}
        self.context = browser.new_context(ignore_https_errors=True, viewport=size, has_touch=width == PHONE)
        self.context.set_default_timeout(PATIENCE_MS)
        self.context.on("request", self._asked)
        self.context.on("response", self._answered)
        self.context.on("console", self._said)
        self.context.on("weberror", lambda raised: self._console.append(str(raised.error)))
        self.page = self.context.new_page()

    def close(self) -> None:
        self._heard.secrets |= {cookie["value"] for cookie in self.context.cookies([self._app]) if cookie["value"]}
        self.context.close()

    def look(
        self,
        title: str | re.Pattern[str],
        *,
        status: int = 200,
        widths: tuple[int, ...] = (),
        page: Page | None = None,
    ) -> str:
        """Check the page that is shown, as it came and as it stands now; its text."""
        page = page or self.page
        expect(page).to_have_title(title)
        page.wait_for_load_state()
        shown = page.url.partition("#")[0]
        came = [one for one in self._answers if one.request.resource_type == "document" and one.url == shown]
        assert came, f"{urlsplit(shown).path} was not asked"
        assert came[-1].status == status
        check_html(came[-1].text())
        for answer in self._answers[self._answers.index(came[-1]) + 1 :]:
            ours = answer.status == 200 and answer.frame.page == page
            if ours and answer.headers.get("content-type", "").startswith("text/html"):
                text = answer.text()
                check_html(text, fragment=not text.lower().startswith("<!doctype"))  # a page may read itself again
        assert page.evaluate(_SAME_IDS) == []
        if self._closely:
            self._look_at_widths(page, widths)
        if status >= 400:  # the console names every answer that is an error
            self._console = [line for line in self._console if f"status of {status}" not in line]
        self.check_silent()
        return page.inner_text("body")

    def check_silent(self) -> None:
        """No error in the console, no script failed, no header was missing."""
        assert self._console == []

    def _look_at_widths(self, page: Page, widths: tuple[int, ...]) -> None:
        before = page.viewport_size or {"width": DESKTOP, "height": 800}
        page.evaluate(_axe())
        for width in widths or (before["width"],):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate(_RUN_AXE) == [], f"axe at {width} px"
            assert page.evaluate(_TOO_WIDE) <= 0, f"scrolls sideways at {width} px"
        page.set_viewport_size(before)

    def _asked(self, request: Request) -> None:
        self._hear(request.url)
        if request.url.startswith(self._app):
            self._heard.urls.add(request.url)
            scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
            if scheme == "Bearer":
                self._heard.secrets.add(bearer)
            if request.post_data and request.post_data.startswith("{"):
                self._heard.secrets |= {
                    str(value) for name, value in request.post_data_json.items() if name in _SECRET_NAMES
                }

    def _answered(self, response: Response) -> None:
        self._hear(response.headers.get("location", ""))
        if not response.url.startswith(self._app):
            return
        self._answers.append(response)
        path = urlsplit(response.url).path
        if not path.startswith("/static/"):
            self._console += [f"{path}: {fault}" for fault in header_faults(response.headers, self._framers)]

    def _hear(self, url: str) -> None:
        parameters = parse_qsl(urlsplit(url).query)
        self._heard.secrets |= {value for name, value in parameters if name in _SECRET_NAMES and len(value) > 15}

    def _said(self, message: ConsoleMessage) -> None:
        about_app = message.location["url"].startswith(self._app) or self._app in message.text
        if about_app and message.type in ("error", "warning"):
            if not (self._outages and _OUTAGE.search(message.text)):
                self._console.append(f"{urlsplit(message.location['url']).path}: {message.text}")


def header_faults(headers: dict[str, str], framers: set[str]) -> list[str]:
    """What is wrong with the security headers of an answer."""
    parts = [part.split() for part in headers.get("content-security-policy", "").split(";") if part]
    policy = {name: set(rest) for name, *rest in parts}
    sources = set[str]().union(*policy.values())
    wanted = {
        "default-src is 'none'": policy.get("default-src") == {"'none'"},
        "scripts and styles are our own": policy.get("script-src") == policy.get("style-src") == {"'self'"},
        "nothing is unsafe": not any(source.startswith("'unsafe") or source == "*" for source in sources),
        "nobody unknown frames": policy.get("frame-ancestors") in ({"'none'"}, framers),
        "nothing is stored": headers.get("cache-control") == "no-store",
        "types are not guessed": headers.get("x-content-type-options") == "nosniff",
        "addresses stay here": headers.get("referrer-policy") in ("no-referrer", "same-origin"),
    }
    return [f"not true that {rule}" for rule, kept in wanted.items() if not kept]


def check_html(text: str, *, fragment: bool = False) -> None:
    """Valid to the letter, ids unique, nothing inline."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    root: Any = parser.parseFragment(text, container="div") if fragment else parser.parse(text)
    elements = [element for element in root.iter() if isinstance(element.tag, str)]
    ids = [element.get("id") for element in elements if element.get("id")]
    assert len(ids) == len(set(ids))
    for element in elements:
        assert element.tag != "style", "inline style"
        assert element.tag != "script" or (element.get("src") and not (element.text or "").strip()), "inline script"
        inline = [name for name in element.attrib if name == "style" or name.startswith("on")]
        assert not inline, inline
        assert not element.get("href", "").lower().startswith("javascript:")


@lru_cache(maxsize=1)
def _axe() -> str:
    return _AXE.read_text(encoding="utf-8")
