"""Which of a patient's telephone numbers an SMS may go to."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from connector.ehr import ContactPoint

_FIRST, _OTHERWISE = "mobile", ("home", "temp", None)
"""A work number may be anybody's, and an old one is somebody else's: neither is ever used."""


def mobile_number(contacts: Iterable[ContactPoint], country: str | None, now: datetime) -> str | None:
    """The number in E.164: registered as mobile first, lowest rank, in its period, valid and mobile; or None.

    `country` is where numbers without a country code belong. A number not registered as mobile must be one
    beyond doubt: in North America mobile and fixed numbers look alike, and the telephone of a household
    must not get the link.
    """
    phones = [c for c in contacts if c.system == "phone" and _valid(c, now)]
    usable = [c for c in phones if c.use == _FIRST or c.use in _OTHERWISE]
    usable.sort(key=lambda c: (c.use != _FIRST, c.rank if c.rank is not None else 1_000))
    for contact in usable:
        number = _e164(contact.value, country, registered_mobile=contact.use == _FIRST)
        if number is not None:
            return number
    return None


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


def country_of_number(value: str) -> str | None:
    """ISO 3166 code of the country of a number in international form; None for any other."""
    import phonenumbers

    try:
        return phonenumbers.region_code_for_number(phonenumbers.parse(value, None))
    except phonenumbers.NumberParseException:
        return None
