"""The three geographies. A tenant has exactly one, for ever."""

from __future__ import annotations

from enum import StrEnum

from connector.errors import RefusedError


class Region(StrEnum):
    AMERICAS = "americas"
    EMEA = "emea"
    APAC = "apac"

    @property
    def letter(self) -> str:
        """First character of every connection id and join token of the region."""
        return _LETTERS[self]


COUNTRIES = {
    Region.AMERICAS: (
        "AG AI AR AS AW BB BL BM BO BQ BR BS BV BZ CA CL CO CR CU CW DM DO EC FK GD GF GL GP GS GT GY HN HT JM KN "
        "KY LC MF MQ MS MX NI PA PE PM PR PY SR SV SX TC TT UM US UY VC VE VG VI"
    ),
    Region.EMEA: (
        "AD AE AL AM AO AT AX AZ BA BE BF BG BH BI BJ BW BY CD CF CG CH CI CM CV CY CZ DE DJ DK DZ EE EG EH ER ES "
        "ET FI FO FR GA GB GE GG GH GI GM GN GQ GR GW HR HU IE IL IM IO IQ IS IT JE JO KE KM KW LB LI LR LS LT LU "
        "LV LY MA MC MD ME MG MK ML MR MT MU MW MZ NA NE NG NL NO OM PL PS PT QA RE RO RS RU RW SA SC SD SE SH SI "
        "SJ SK SL SM SN SO SS ST SY SZ TD TF TG TN TR TZ UA UG VA XK YE YT ZA ZM ZW"
    ),
    Region.APAC: (
        "AF AU BD BN BT CC CK CN CX FJ FM GU HK HM ID IN IR JP KG KH KI KP KR KZ LA LK MH MM MN MO MP MV MY NC NF "
        "NP NR NU NZ PF PG PH PK PN PW SB SG TH TJ TK TL TM TO TV TW UZ VN VU WF WS"
    ),
}
"""Which region is proposed to a tenant by its country (ISO 3166-1, and XK); docs/regions.md says why."""
_BY_COUNTRY = {country: region for region, countries in COUNTRIES.items() for country in countries.split()}
_LETTERS = {Region.AMERICAS: "a", Region.EMEA: "e", Region.APAC: "p"}
_BY_LETTER = {letter: region for region, letter in _LETTERS.items()}


def region_for(country: str) -> Region | None:
    """The region to propose for a country code; None for one that is not in the table."""
    return _BY_COUNTRY.get(country.upper())


def region_of(identifier: str) -> Region:
    """The region that a connection id or join token names by its first character.

    Raises RefusedError (404) when it names none.
    """
    try:
        return _BY_LETTER[identifier[:1]]
    except KeyError:
        raise RefusedError("region.unknown", "This address is not one of ours.", status=404) from None
