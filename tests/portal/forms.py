"""Forms of the portal as a browser without scripts sends them."""

from __future__ import annotations

import html
import re

import requests

from tests.running import Browser


def fields(page: str, at: str = "<form method=\"post\" action=\"/portal/", last: bool = True) -> dict[str, str]:
    """What a form holds as it stands on the page: of several the last with that beginning, or the first."""
    found = [part.partition("</form>")[0] for part in page.split("<form ") if f"<form {part}".startswith(at)]
    text = found[-1 if last else 0]
    sent: dict[str, str] = {}
    for tag in re.findall(r"<input[^>]*>", text):
        name, value = re.search(r'name="([^"]*)"', tag), re.search(r'value="([^"]*)"', tag)
        chosen = not re.search('type="(checkbox|radio)"', tag) or "checked" in tag
        if name and chosen and 'type="file"' not in tag:
            sent[name[1]] = html.unescape(value[1]) if value else "on"
    for name, value in re.findall(r'<textarea[^>]*name="([^"]*)"[^>]*>\n?(.*?)</textarea>', text, re.DOTALL):
        sent[name] = html.unescape(value)
    for name, options in re.findall(r'<select[^>]*name="([^"]*)"[^>]*>(.*?)</select>', text, re.DOTALL):
        chosen_option = re.search(r'value="([^"]*)" selected', options) or re.search(r'value="([^"]*)"', options)
        sent[name] = html.unescape(chosen_option[1]) if chosen_option else ""
    return sent


def send(browser: Browser, path: str, *, last: bool = True, **changes: str | None) -> requests.Response:
    """Open the page, change some fields (None: empty the box), send its last form, or the first."""
    page = browser.get(path)
    assert page.status_code == 200, page.text
    sent = {**fields(page.text, f'<form method="post" action="{path}', last), **changes}
    return browser.post(path, data={name: value for name, value in sent.items() if value is not None})


def wrong(page: requests.Response) -> dict[str, str]:
    """The message beside each field that is wrong."""
    found = re.findall(r'<p class="wrong" id="f-([^"]*)-wrong"><span[^>]*>.</span> ([^<]*)</p>', page.text)
    return {name: html.unescape(text) for name, text in found}
