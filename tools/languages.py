"""`make languages`: brings the catalogues of connector/locales up to date with the strings in the source.

New strings come in without a translation, vanished ones go, nothing is guessed; tests/guards/test_languages.py says
what is still to translate. Which file belongs to which domain stands here: what patients see, what both see, and
everything else is for staff.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from babel import Locale
from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
CONNECTOR = ROOT / "connector"
PATIENT = ("templates/patient*.html", "templates/stop.html", "visits/patient*.py", "flood.py", "join_link.py",
           "messages/routes.py", "messages/lost_link.py")
BOTH = ("web.py", "templates/base.html")
SPOKEN = ("adapters/entra.py", "checks/texts_*.py", "checks/finding.py", "messages/health.py", "numbers/*.py",
          "tenants/*.py")
"""Whose sentences pages show without a mark at each: refusals, faults and findings. Every constant that is a sentence
(of two words or more) is one, but for docstrings; and the first argument of `Named`, a title."""
_SENTENCE = re.compile(r"(?=.*[a-z]{2})[^\s\\]+( [^\s\\]+)+")
_KEYWORDS = {"_": None, "N_": None, "gettext": None, "ngettext": (1, 2), "Named": (1,), "Text": (1,)}
_JINJA = {"trimmed": "true", "newstyle_gettext": "true", "trim_blocks": "true", "lstrip_blocks": "true"}
UNREVIEWED = "not yet reviewed by a native speaker"
"""In the first line of a catalogue, until somebody did and is named there instead."""
_HEADER = """{comment}
msgid ""
msgstr ""
"Language: {catalog.locale_identifier}\\n"
"Plural-Forms: {catalog.plural_forms}\\n"
"Content-Type: text/plain; charset=utf-8\\n"

"""


def strings(domain: str) -> Catalog:
    """What the source asks to be translated in a domain."""
    found = Catalog(domain=domain, fuzzy=False)
    for path in sorted([*CONNECTOR.rglob("*.py"), *CONNECTOR.rglob("templates/**/*.html")]):
        name = path.relative_to(CONNECTOR).as_posix()
        if domain in _domains(name):
            for _, message, comments, _ in _extracted(path):
                found.add(message, locations=[(f"connector/{name}", 0)], auto_comments=comments)
            if domain == "portal" and any(fnmatch(name, pattern) for pattern in SPOKEN):
                for message in _spoken(ast.parse(path.read_text("utf-8"))):
                    found.add(message, locations=[(f"connector/{name}", 0)])
    return found


def _domains(name: str) -> tuple[str, ...]:
    if any(fnmatch(name, pattern) for pattern in BOTH):
        return "patient", "portal"
    return ("patient",) if any(fnmatch(name, pattern) for pattern in PATIENT) else ("portal",)


def _extracted(path: Path) -> Iterator[tuple[int, str | tuple[str, ...], list[str], str | None]]:
    method, options = ("jinja2.ext:babel_extract", _JINJA) if path.suffix == ".html" else ("python", {})
    with path.open("rb") as source:
        yield from extract(method, source, keywords=_KEYWORDS, comment_tags=("For translators:",), options=options)


def _spoken(tree: ast.AST) -> Iterator[str]:
    """Constants that are sentences, without docstrings and without parts of others."""
    silent = set[int]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            silent.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            silent |= {id(part) for part in ast.walk(node)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent:
            if _SENTENCE.fullmatch(node.value):
                yield node.value


def read(path: Path, tag: str, domain: str) -> Catalog:
    with path.open("rb") as source:
        return read_po(source, locale=tag.replace("-", "_"), domain=domain, abort_invalid=True)


def write(path: Path, catalog: Catalog) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as target:
        target.write(_HEADER.format(comment=catalog.header_comment, catalog=catalog).encode())
        write_po(target, catalog, omit_header=True, sort_output=True, ignore_obsolete=True, include_lineno=False)


def updated(path: Path, tag: str, domain: str) -> Catalog:
    locale = Locale.parse(tag, sep="-")
    if path.exists():
        catalog = read(path, tag, domain)
    else:
        catalog = Catalog(locale, domain, fuzzy=False)
        catalog.header_comment = f"# {locale.english_name}, domain {domain}: {UNREVIEWED}."
    catalog.update(strings(domain), no_fuzzy_matching=True, update_creation_date=False)
    return catalog


def main() -> None:
    sys.path.insert(0, str(ROOT))
    from connector.languages import ENGLISH, OFFERED, path_of

    for domain, tags in OFFERED.items():
        for tag in tags:
            if tag != ENGLISH:
                path = path_of(domain, tag)
                write(path, updated(path, tag, domain))


if __name__ == "__main__":
    main()
