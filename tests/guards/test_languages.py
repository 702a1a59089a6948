"""Every string of a page is in every language of its domain, with the same placeholders; no catalogue has more."""

import re
from collections.abc import Iterator

import pytest
from babel.messages.catalog import Catalog, Message

from connector.languages import ENGLISH, LOCALES, OFFERED, path_of
from tools import languages as tool

CATALOGUES = [(domain, tag) for domain, tags in OFFERED.items() for tag in tags if tag != ENGLISH]
_PLACEHOLDER = re.compile(r"%\((\w+)\)s")
_OTHER_FORMAT = re.compile(r"%(?!\(\w+\)s|%)|{{|}}")


def faults(wanted: Catalog, have: Catalog) -> Iterator[str]:
    """What keeps a catalogue from being complete for the strings that the source asks for."""
    for message in wanted:
        if message.id:
            there = have.get(message.id)
            yield from [f"{message.id}: not there"] if there is None else _faults_of(there, have.num_plurals)
    yield from (f"{message.id}: asked for nowhere" for message in have if message.id and wanted.get(message.id) is None)
    yield from (f"{message.id}: left over" for message in have.obsolete.values())


def _faults_of(message: Message, plurals: int) -> Iterator[str]:
    asked = [message.id] if isinstance(message.id, str) else list(message.id)
    given = [message.string] if isinstance(message.string, str) else list(message.string)
    if message.fuzzy:
        yield f"{asked[0]}: fuzzy"
    if not all(given) or len(given) != (1 if len(asked) == 1 else plurals):
        yield f"{asked[0]}: not translated"
    needed = set(_PLACEHOLDER.findall(asked[-1]))
    for text in filter(None, given):
        there = set(_PLACEHOLDER.findall(text))
        # a form that stands for one number may leave the number out
        if not needed - ({"num"} if len(asked) > 1 else set()) <= there <= needed:
            yield f"{asked[0]}: other placeholders"
    for text in asked + given:
        if _OTHER_FORMAT.search(text) or "<" in text:
            yield f"{asked[0]}: holds markup, or a % that is no %(name)s"


@pytest.fixture(scope="module")
def wanted() -> dict[str, Catalog]:
    return {domain: tool.strings(domain) for domain in OFFERED}


@pytest.mark.parametrize(("domain", "tag"), CATALOGUES)
def test_nothing_is_missing_in_a_language(domain: str, tag: str, wanted: dict[str, Catalog]) -> None:
    """`make languages` brings new strings in; then they are to be translated."""
    assert list(faults(wanted[domain], tool.read(path_of(domain, tag), tag, domain))) == []


@pytest.mark.parametrize(("domain", "tag"), CATALOGUES)
def test_a_catalogue_says_whether_a_native_speaker_saw_it(domain: str, tag: str) -> None:
    first = path_of(domain, tag).read_text("utf-8").splitlines()[0]
    assert first.endswith(f"{tool.UNREVIEWED}.") or "reviewed by " in first


def test_no_catalogue_is_left_over() -> None:
    assert {path_of(domain, tag) for domain, tag in CATALOGUES} == {*LOCALES.rglob("*.*")}


def test_the_source_is_read() -> None:
    assert all(len(tool.strings(domain)) > 5 for domain in OFFERED)


@pytest.mark.parametrize(
    ("string", "flags", "also"),
    [
        ("", (), ()),
        ("Bonjour", (), ()),
        ("Bonjour %(clinic)s", ("fuzzy",), ()),
        ("Bonjour %(clinic)s %(more)s", (), ()),
        ("<b>Bonjour</b> %(clinic)s", (), ()),
        ("Bonjour %(clinic)s, 100 %", (), ()),
        ("Bonjour %(clinic)s", (), ("Gone",)),
    ],
)
def test_a_planted_fault_is_found(string: str, flags: tuple[str, ...], also: tuple[str, ...]) -> None:
    wanted, good, bad = Catalog(), Catalog("fr", fuzzy=False), Catalog("fr", fuzzy=False)
    wanted.add("Hello %(clinic)s")
    good.add("Hello %(clinic)s", "Bonjour %(clinic)s")
    assert not list(faults(wanted, good))
    bad.add("Hello %(clinic)s", string, flags=flags)
    for one in also:
        bad.add(one, "Parti")
    assert list(faults(wanted, bad))


def test_a_planted_string_is_found() -> None:
    wanted = Catalog()
    wanted.add(("One", "%(num)s of them"))
    assert list(faults(wanted, Catalog("ar", fuzzy=False)))
