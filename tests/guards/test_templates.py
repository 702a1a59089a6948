"""Pages keep to the content security policy, ask nobody else for anything, and no template is missing or left over."""

import ast
import re
from pathlib import Path

import pytest

from connector.languages import OFFERED
from tests.guards.source import CONNECTOR, app_sources

TEMPLATES = CONNECTOR / "templates"
STATIC = CONNECTOR / "static"
_FORBIDDEN = {
    "a script in the page": r"<script(?![^>]*\bsrc=)|<script[^>]*>\s*[^\s<]",
    "a style in the page": r"<style\b|\sstyle\s*=",
    "an event handler in the page": r"<[^>]*\son[a-z]+\s*=",
    "a javascript: address": r"javascript:",
    "an unescaped value": r"\|\s*safe\b|autoescape\s+false",
}
_FOREIGN = r"""(?:https?:)?//[a-z0-9-]+(?:\.[a-z0-9-]+)+"""
_NAMESPACES = ("http://www.w3.org/",)
_VENDORED = "cerner-smart-embeddable-lib-"
"""The EHR's own library: it names the origins that it trusts."""


def breaches(text: str) -> list[str]:
    """What the policy of connector.web would block, or what would get around it."""
    return [what for what, pattern in _FORBIDDEN.items() if re.search(pattern, text, re.IGNORECASE)]


def foreign(text: str) -> list[str]:
    """Addresses of other hosts."""
    found = (match[0] for match in re.finditer(_FOREIGN, text, re.IGNORECASE))
    return [address for address in found if not f"{address}/".startswith(_NAMESPACES)]


def rendered_by(tree: ast.AST) -> set[str]:
    """Names of templates that stand in code."""
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {text for text in constants if isinstance(text, str) and re.fullmatch(r"[\w./-]+\.(html|txt)", text)}


def included(text: str) -> set[str]:
    return set(re.findall(r"{%-?\s*(?:extends|include|import|from)\s+\"([^\"]+)\"", text))


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text("utf-8") for path in folder.rglob("*") if path.is_file()}


def test_pages_keep_to_the_policy() -> None:
    templates = {name: text for name, text in files(TEMPLATES).items() if name.endswith(".html")}
    del templates["messages/email.html"]  # no page: mail programs know no policy, and no style sheet of ours
    pages = {name: breaches(text) for name, text in templates.items()}
    assert len(pages) > 5
    assert {name: found for name, found in pages.items() if found} == {}


def test_nothing_comes_from_elsewhere() -> None:
    everything = files(TEMPLATES) | {n: t for n, t in files(STATIC).items() if not n.startswith(_VENDORED)}
    assert {name: found for name, text in everything.items() if (found := foreign(text))} == {}


def test_templates_and_code_agree() -> None:
    texts = files(TEMPLATES)
    named = set().union(*(rendered_by(source.tree) for source in app_sources()), *map(included, texts.values()))
    full = {name if name in texts else f"messages/{name}" for name in named}
    english = {name for name in full if name.startswith("messages/") and name.endswith(".en.txt")}
    full |= {name.replace(".en.", f".{tag}.") for name in english for tag in OFFERED["patient"]}
    assert full == set(texts), "rendered without a file, or never rendered"


def test_static_files_and_pages_agree() -> None:
    kept = files(STATIC)
    texts = [*files(TEMPLATES).values(), *kept.values()]
    assert {name for text in texts for name in re.findall(r"/static/([\w.-]+)", text)} == set(kept)


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        '<script src="/static/a.js">alert(1)</script>',
        '<p style="color: red">',
        "<style>p {}</style>",
        '<button class="b" onclick="x()">',
        '<a href="javascript:x()">',
        "{{ name | safe }}",
    ],
)
def test_a_planted_breach_is_found(text: str) -> None:
    assert breaches(text)


@pytest.mark.parametrize("text", ['<img src="//cdn.example.net/a.png">', "fetch('https://example.net/x')"])
def test_a_planted_foreign_address_is_found(text: str) -> None:
    assert foreign(text)


def test_planted_templates_are_found() -> None:
    assert rendered_by(ast.parse("page('lost.html', title='no template here.html')")) == {"lost.html"}
    assert included('{% extends "gone.html" %}') == {"gone.html"}
