"""Which of a patient's telephone numbers an SMS may go to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from connector.ehr import ContactPoint

_FIRST, _OTHERWISE = "mobile", ("home", "temp", None)
"""A number or address at work may be anybody's, and an old one is somebody else's: neither is ever used."""


def mobile_number(contacts: Iterable[ContactPoint], country: str | None, now: datetime) -> str | None:
    """The first of `mobile_numbers`, or None."""
    return next(mobile_numbers(contacts, country, now), None)


def mobile_numbers(contacts: Iterable[ContactPoint], country: str | None, now: datetime) -> Iterator[str]:
    """Numbers in E.164, the one to text first: registered as mobile, lowest rank, in its period, valid and mobile.

    `country` is where numbers without a country code belong. A number not registered as mobile must be one
    beyond doubt: in North America mobile and fixed numbers look alike, and the telephone of a household
    must not get the link.
    """
    phones = usable(contacts, "phone", now)
    phones.sort(key=lambda contact: contact.use != _FIRST)
    for contact in phones:
        number = _e164(contact.value, country, registered_mobile=contact.use == _FIRST)
        if number is not None:
            yield number


def usable(contacts: Iterable[ContactPoint], system: str, now: datetime) -> list[ContactPoint]:
    """Those of a kind that may be used now, the lowest rank first."""
    uses = (_FIRST, *_OTHERWISE)
    found = [c for c in contacts if c.system == system and c.use in uses and _valid(c, now)]
    return sorted(found, key=lambda contact: contact.rank if contact.rank is not None else 1_000)


def _valid(contact: ContactPoint, now: datetime) -> bool:
    begun = contact.valid_from is None or contact.valid_from <= now
    return begun and (contact.valid_until is None or now < contact.valid_until)


def _e164(value: str, country: str | None, *, registered_mobile: bool) -> str | None:
    import phonenumbers
    from phonenumbers import PhoneNumberFormat, PhoneNumberType

    if any(character.isalpha() for character in value):  # phonenumbers reads letters as a keypad's digits
        return None
    try:
        number = phonenumbers.parse(value, country)
    except phonenumbers.NumberParseException:
        return None
    allowed = [PhoneNumberType.MOBILE, *([PhoneNumberType.FIXED_LINE_OR_MOBILE] if registered_mobile else [])]
    if number.extension or not phonenumbers.is_valid_number(number):
        return None
    if phonenumbers.number_type(number) not in allowed:
        return None
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)


def typed_mobile(text: str, country: str | None) -> str | None:
    """A number as a person types it, in E.164; None when it is surely no mobile."""
    return _e164(text.strip(), country, registered_mobile=True)


def country_of_number(value: str) -> str | None:
    """ISO 3166 code of the country of a number in international form; None for any other."""
    import phonenumbers

    try:
        return phonenumbers.region_code_for_number(phonenumbers.parse(value, None))
    except phonenumbers.NumberParseException:
        return None
