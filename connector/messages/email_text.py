"""The words of an e-mail: the same facts as in a text message, as plain text and as simple HTML made from it.

One-click unsubscribing: RFC 8058; mail programs show it beside the sender, and large providers ask for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from connector.languages import Language, locale_of, time_of
from connector.messages.text import Words, environment, file_of, language_for, own_text
from connector.tenants import MessageSettings
from connector.zones import zone_name

if TYPE_CHECKING:
    from connector.adapters.acs_email import Email

@dataclass(frozen=True)
class Paragraph:
    text: str
    link: str = ""
    """What the text leads to."""


def compose_email(
    rule: str, words: Words, settings: MessageSettings, stop: str, language: str | None = None
) -> Email:
    """The e-mail of a message that passed by `rule`; `stop` is the address that ends e-mails to this person.

    Equal arguments make an equal e-mail, to the byte.
    """
    from babel.dates import format_date

    from connector.adapters.acs_email import Email

    chosen = language_for(language, settings.languages)
    local, locale = words.start.astimezone(ZoneInfo(words.zone)), locale_of(chosen, words.zone)
    values = {
        "clinic": words.clinic, "phone": words.phone, "link": words.link, "zone": zone_name(local),
        "date": format_date(local, "full", locale=locale), "time": time_of(local, locale),
    }  # fmt: skip
    own = own_text(rule, settings)
    kind, _, minutes = rule.partition(".")
    said = environment().get_template(file_of("email", chosen)).render(
        values, kind=kind, rule=rule, minutes=minutes, stop=stop, own=own.format_map(values) if own else ""
    )  # fmt: skip
    subject, text = re.sub(r"\n{3,}", "\n\n", said.strip()).split("\n\n", 1)
    html = environment().get_template("email.html").render(
        subject=subject, paragraphs=[_paragraph(part) for part in text.split("\n\n")],
        language=Language("patient", chosen),
    )  # fmt: skip
    headers = {"List-Unsubscribe": f"<{stop}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
    return Email(subject, f"{text}\n", html, headers)


def _paragraph(part: str) -> Paragraph:
    """A line that ends with a colon, with an address alone in the next, is a link of that name."""
    label, _, link = part.rpartition("\n")
    named = label and re.fullmatch(r"https?://\S+", link)
    return Paragraph(label.rstrip(" :\uff1a"), link) if named else Paragraph(part)
