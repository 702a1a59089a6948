"""The words of an SMS and what they cost: the clinic's name, when, and the link; no patient and no clinician.

Segments: 3GPP TS 23.038 (GSM 7-bit default alphabet and its extension) and TS 23.040 (concatenation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from connector.languages import ENGLISH, locale_of, pick, time_of
from connector.regions import Region
from connector.tenants import MessageSettings, Sender
from connector.zones import zone_name

if TYPE_CHECKING:
    import jinja2

_TEMPLATES = Path(__file__).parent.parent / "templates" / "messages"
_GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_EXTENSION = frozenset("\f^{}\\[~]|€")
_SAME_IN_GSM = str.maketrans(
    {
        "\u00a0": " ",
        "\u202f": " ",
        "\u2009": " ",  # CLDR puts narrow spaces into English times
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u2010": "-",
        "\u2011": "-",
        "\u2013": "-",
        "\u2014": "-",
    }
)
"""One character of typography would turn the whole SMS into UCS-2, with 70 characters a segment."""
_PLAIN_IN_GSM = str.maketrans("áâãçêëíîïóôõúûÁÂÀÈÊËÍÌÎÏÓÒÔÕÚÙÛ", "aaaceeiiiooouuAAAEEEIIIIOOOOUUU") | {0x153: "oe"}
"""Spanish, French and Portuguese letters that the alphabet lacks, as people write them in an SMS."""


def segments(text: str) -> int:
    """How many SMS segments `text` is billed as."""
    if all(character in _GSM or character in _GSM_EXTENSION for character in text):
        costs, single, part = [2 if c in _GSM_EXTENSION else 1 for c in text], 160, 153
    else:
        costs, single, part = [len(c.encode("utf-16-be")) // 2 for c in text], 70, 67
    if sum(costs) <= single:
        return 1
    count, free = 0, 0
    for cost in costs:  # a character of two units never straddles segments
        if cost > free:
            count, free = count + 1, part
        free -= cost
    return count


@dataclass(frozen=True)
class Words:
    """What a text is made of; nothing of it names a patient or a clinician."""

    clinic: str
    start: datetime
    zone: str
    link: str
    phone: str
    answered: bool
    """Whether a reply is read (`answered`); else the text names the page that ends messages, where it fits."""


def answered(sender: Sender | None, region: Region) -> bool:
    """Whether what patients reply reaches us: Event Grid brings texts to numbers of the Americas only."""
    return sender is not None and sender.kind == "phone_number" and region is Region.AMERICAS


@dataclass(frozen=True)
class Preview:
    text: str
    length: int
    segments: int


def compose(rule: str, words: Words, settings: MessageSettings, language: str | None = None) -> str:
    """The text of a message that passed by `rule` (`change.moved`), in the department's local time, its zone named.

    The fullest wording in the fewest segments: one, where the language is written in the GSM alphabet. An admin's own
    text stands in place of ours, except where it could not be true: for a visit that is on again, or that is no longer
    by video.
    """
    from babel.dates import format_skeleton

    kind = rule.partition(".")[0]
    chosen = language_for(language, settings.languages)
    local, locale = words.start.astimezone(ZoneInfo(words.zone)), locale_of(chosen, words.zone)
    values = {
        "clinic": words.clinic, "phone": words.phone, "link": words.link, "zone": zone_name(local),
        "date": format_skeleton("MMMEd", local, locale=locale), "time": time_of(local, locale),
    }  # fmt: skip
    own = own_text(rule, settings)
    template, stop = (environment().get_template(file_of(name, chosen)) for name in (kind, "stop"))
    texts, ask = [], settings.replies and kind in ("confirmation", "reminder")
    for room in (3, 2, 1, 0):
        more = {"room": room, "rule": rule, "answered": words.answered, "minutes": rule.partition(".")[2], "ask": ask}
        said = own.format_map(values) if own else template.render(values, **more)
        texts.append(_in_gsm(f"{said.strip()} {stop.render(values, **more)}".strip()))
    return min(texts, key=segments)  # the first of those that cost the same


def _in_gsm(text: str) -> str:
    """The text in the GSM alphabet if only typography and accents keep it from being so; else as it is."""
    typed = text.translate(_SAME_IN_GSM)
    plain = typed.translate(_PLAIN_IN_GSM)
    return plain if all(character in _GSM or character in _GSM_EXTENSION for character in plain) else typed


_OWN = {"confirmation.new": True, "change.moved": True, "cancellation.cancelled": True}
"""The rules for which an admin's own text is true; reminders are named by their lead."""


def own_text(rule: str, settings: MessageSettings) -> str | None:
    """The admin's own text for a message that passed by `rule`, its placeholders not filled."""
    kind, _, more = rule.partition(".")
    return settings.texts.get(kind) if _OWN.get(rule, more.isdecimal()) else None  # type: ignore[call-overload]


def preview(rule: str, words: Words, settings: MessageSettings, language: str | None = None) -> Preview:
    """What an admin sees before saving: the text, its characters and the segments that it is billed as."""
    text = compose(rule, words, settings, language)
    return Preview(text, len(text), segments(text))


_ENGLISH = {"confirmation": "confirmation.en.txt", "reminder": "reminder.en.txt", "change": "change.en.txt",
            "cancellation": "cancellation.en.txt", "stop": "stop.en.txt", "link": "link.en.txt", "late": "late.en.txt",
            "email": "email.en.txt",
            "reply": "reply.en.txt"}  # fmt: skip


def file_of(kind: str, language: str) -> str:
    """A language without a kind's file is not offered for it."""
    return _ENGLISH[kind] if language == "en" else f"{kind}.{language}.txt"


def language_for(wanted: str | None, offered: Sequence[str]) -> str:
    """The patient's language if the clinic offers it and we have words in it, else the first offered, else English."""
    known = {pick("patient", [tag]): None for tag in offered}
    mine = pick("patient", [wanted or ""])
    return (mine if mine in known else next(iter(known), None)) or ENGLISH


@lru_cache(maxsize=1)
def environment() -> jinja2.Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=jinja2.select_autoescape(("html",)),
    )
