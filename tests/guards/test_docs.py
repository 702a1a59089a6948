"""What the documents point to is there: tests that prove a promise, files, and sections of other documents."""

import ast
import re
from pathlib import Path

import pytest

from tests.guards.source import ROOT, Source, app_sources, dotted, planted

DOCUMENTS = [ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "README.md", "CHANGELOG.md")]
DOCUMENTS += sorted((ROOT / "docs").rglob("*.md"))


def anchors(text: str) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(path: Path, text: str) -> list[str]:
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        if not there.exists():
            found.append(f"{path.name}: {target}")
        elif anchor and there.suffix == ".md" and anchor not in anchors(there.read_text("utf-8")):
            found.append(f"{path.name}: {target}")
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    assert broken(path, path.read_text("utf-8")) == []


def test_promises_name_tests_that_exist() -> None:
    named = set(re.findall(r"`([\w/]*test_\w+\.py)`", (ROOT / "docs" / "security.md").read_text("utf-8")))
    assert len(named) > 30
    assert [name for name in sorted(named) if not (ROOT / "tests" / name).exists()] == []


def test_the_guide_names_lines_and_codes_of_the_code() -> None:
    source = "".join(path.read_text("utf-8") for path in sorted((ROOT / "connector").rglob("*.py")))
    guide = (ROOT / "docs" / "operations.md").read_text("utf-8")
    named = set(re.findall(r"`([a-z]+\.[a-z]+_[a-z_]+|held_\w+)`", guide))
    assert len(named) > 5
    assert [name for name in sorted(named) if f'"{name}"' not in source] == []


def logged_fields(sources: list[Source]) -> set[str]:
    """Names of the fields of log lines; those of counts that are made elsewhere are not seen."""
    calls = [node for source in sources for node in source.walk() if isinstance(node, ast.Call)]
    asked = [call for call in calls if dotted(call.func) in ("logs.event", "logs.failure")]
    return {given.arg for call in asked for given in call.keywords if given.arg}


def cookies(sources: list[Source]) -> set[str]:
    nodes = (node for source in sources for node in source.walk())
    values = (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return {value for value in values if re.fullmatch(r"__Host-[\w-]+", value)}


def test_the_data_map_names_every_field_of_the_log_and_every_cookie() -> None:
    text = (ROOT / "docs" / "data-map.md").read_text("utf-8")
    sources = app_sources()
    fields = logged_fields(sources)
    assert {"visit", "code"} <= fields
    lines = text[text.index("## Logs") : text.index("## What others keep")]
    assert sorted(field for field in fields if f"`{field}`" not in lines) == []
    assert cookies(sources)
    assert sorted(name for name in cookies(sources) if f"| Cookie | `{name}" not in text) == []


def test_a_planted_field_and_cookie_are_found() -> None:
    source = planted("logs.event('a', fresh=1)\nweb.cookie('__Host-fresh', value)")
    assert (logged_fields([source]), cookies([source])) == ({"fresh"}, {"__Host-fresh"})


def test_planted_faults_are_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# Other things\n")
    text = "[a](none.md) [b](#no) [c](other.md#no) [d](https://x.example/y) [e](#here) [f](other.md#other-things)\n"
    (tmp_path / "page.md").write_text(f"{text}# Here\n")
    found = broken(tmp_path / "page.md", f"{text}# Here\n")
    assert found == ["page.md: none.md", "page.md: #no", "page.md: other.md#no"]
