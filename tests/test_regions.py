"""Which region is proposed for a country: every country has one, and the table in the docs is the one in the code."""

import re
from pathlib import Path

from babel import Locale

from connector.regions import COUNTRIES, Region, region_for

_NOT_ISO = set("AC CP CQ DG EA EU EZ IC QO TA UN XA XB ZZ".split())
"""CLDR's own and reserved codes."""
_DOCS = Path(__file__).parent.parent / "docs" / "regions.md"


def test_every_country_has_one_region() -> None:
    listed = [country for countries in COUNTRIES.values() for country in countries.split()]
    assert len(listed) == len(set(listed))
    known = {code for code in Locale("en").territories if re.fullmatch("[A-Z]{2}", code)} - _NOT_ISO
    assert set(listed) == known - {"AQ"}


def test_the_docs_hold_the_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([A-Z ]+) \|$", _DOCS.read_text("utf-8"), re.MULTILINE)
    assert {Region(region): countries for region, countries in rows} == COUNTRIES


def test_microsofts_own_geographies_are_kept() -> None:
    for region, countries in {
        Region.EMEA: "AT FI FR IE NL SE GB DE CH AE ZA KE XK",
        Region.APAC: "HK JP MY SG KR AU IN KZ KG AF LA KI",
        Region.AMERICAS: "BR CL US CA MX AS",
    }.items():
        assert {region_for(country) for country in countries.split()} == {region}
    assert region_for("kr") is Region.APAC
    assert region_for("AQ") is region_for("") is region_for("??") is None
