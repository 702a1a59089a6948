"""The languages of pages and texts: which there are, which a reader gets, and how a string or a date reads in it.

Words are gettext catalogues, `locales/<language>/LC_MESSAGES/<domain>.po`: `patient` for what patients see, `portal`
for staff. English is the text in the source itself. The .po files are read when a language is first used (a few
milliseconds, once a process), so nothing compiled is committed; `make languages` brings them up to date.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from connector.zones import country_of

if TYPE_CHECKING:
    from babel import Locale

Domain = Literal["patient", "portal"]
ENGLISH = "en"
OFFERED: dict[Domain, tuple[str, ...]] = {
    "patient": (ENGLISH, "es", "fr", "ko", "zh-Hans", "vi", "ar"),
    "portal": (ENGLISH, "ko"),
}
"""BCP 47 tags (RFC 5646), as in the `lang` attribute."""
LOCALES = Path(__file__).parent / "locales"
_OWN_NAMES = {"en": "English", "es": "Español", "fr": "Français", "ko": "한국어", "zh-Hans": "简体中文",
              "vi": "Tiếng Việt", "ar": "العربية"}  # fmt: skip
_RIGHT_TO_LEFT = frozenset({"ar"})
_TRADITIONAL = frozenset({"hant", "tw", "hk", "mo"})


def N_(text: str) -> str:
    """Marks a string for translation where it stands and is translated elsewhere."""
    return text


@dataclass(frozen=True)
class Language:
    """One language of one domain. `chosen`: the reader picked it in this request, so the answer remembers it."""

    domain: Domain
    tag: str = ENGLISH
    chosen: bool = False

    @property
    def direction(self) -> Literal["ltr", "rtl"]:
        return "rtl" if self.tag in _RIGHT_TO_LEFT else "ltr"

    @property
    def own_name(self) -> str:
        """As its speakers call it."""
        return _OWN_NAMES[self.tag]

    @property
    def others(self) -> tuple[Language, ...]:
        return tuple(Language(self.domain, tag) for tag in OFFERED[self.domain] if tag != self.tag)

    def gettext(self, message: str, /, **values: object) -> str:
        """The message in this language, `%(name)s` filled from `values`."""
        text = _catalogue(self.domain, self.tag).gettext(message)
        return text % values if values else text

    def ngettext(self, one: str, many: str, n: int, /) -> str:
        """The plural form for `n`, in which `%(num)s` and other values are not filled yet."""
        return _catalogue(self.domain, self.tag).ngettext(one, many, n)

    def locale(self, zone: str) -> Locale:
        """For babel's formats: this language as written in the time zone's country."""
        return locale_of(self.tag, zone)


def pick(domain: Domain, wanted: Iterable[str]) -> str | None:
    """The first wanted tag for which there is a language, as its own tag. Traditional Chinese is not Simplified."""
    offered = {tag.lower(): tag for tag in OFFERED[domain]}
    for tag in wanted:
        parts = tag.strip().replace("_", "-").lower().split("-")
        if parts[0] in ("zh", "cmn"):
            parts = [] if _TRADITIONAL.intersection(parts) else ["zh-hans"]
        found = offered.get("-".join(parts)) or offered.get(parts[0] if parts else "")
        if found:
            return found
    return None


def accepted(header: str) -> list[str]:
    """The tags of an Accept-Language header (RFC 9110 section 12.5.4), most wanted first."""
    weighed: list[tuple[float, int, str]] = []
    for part in header[:500].split(","):
        tag, _, weight = part.partition(";")
        try:
            quality = float(weight.strip().removeprefix("q=") or 1)
        except ValueError:
            quality = 0
        if tag.strip() and quality > 0:
            weighed.append((-quality, len(weighed), tag.strip()))
    return [tag for _, _, tag in sorted(weighed)]


@lru_cache(maxsize=64)
def locale_of(tag: str, zone: str) -> Locale:
    """The language as written in the zone's country, for the order of day and month and the kind of clock."""
    from babel import Locale, UnknownLocaleError

    try:
        return Locale.parse(f"{tag.replace('-', '_')}_{country_of(zone) or '150'}")
    except UnknownLocaleError:
        return Locale.parse("en_150" if tag == ENGLISH else tag.replace("-", "_"))


def time_of(local: datetime, locale: Locale) -> str:
    """The time of day of an aware local time, with the half of the day spelled out (CLDR's short Korean noon is PM)."""
    from babel.dates import format_time, get_time_format

    spelled = get_time_format("short", locale=locale).pattern.replace("a", "aaaa")
    return format_time(local, spelled, tzinfo=local.tzinfo, locale=locale)


@lru_cache(maxsize=16)
def _catalogue(domain: Domain, tag: str) -> NullTranslations:
    if tag == ENGLISH:
        return NullTranslations()
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    compiled = BytesIO()
    with path_of(domain, tag).open("rb") as source:
        write_mo(compiled, read_po(source, locale=tag.replace("-", "_"), domain=domain))
    compiled.seek(0)
    return GNUTranslations(compiled)


def path_of(domain: Domain, tag: str) -> Path:
    return LOCALES / tag.replace("-", "_") / "LC_MESSAGES" / f"{domain}.po"
