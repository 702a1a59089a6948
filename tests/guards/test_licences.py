"""Everything deployed is under a licence that lets a hospital use and pass it on; docs/licences.md says which."""

import re

from tests.guards.source import ROOT
from tools import licences

ALLOWED = {"MIT", "MIT-0", "BSD-3-Clause", "Apache-2.0", "ISC", "MPL-2.0", "PSF-2.0"}
"""MPL-2.0 is certifi's list of certificates, which is passed on unchanged."""


def refused(page: str) -> list[str]:
    """Packages of the table whose licence is not one of these, or not only one of these to choose from."""
    rows = re.findall(r"^\| ([a-z0-9.-]+) \| (.*) \|$", page, re.MULTILINE)
    assert len(rows) > 30 or "planted" in page
    return [name for name, licence in rows if not ALLOWED & set(licence.split(" OR "))]


def test_the_page_is_made_from_the_packages() -> None:
    assert (ROOT / "docs" / "licences.md").read_text("utf-8") == licences.page(), "run make licences"


def test_every_licence_is_known() -> None:
    page = licences.page()
    assert refused(page) == []
    assert "()" not in page, "a file of others without a licence that is known"


def test_a_planted_licence_is_found() -> None:
    page = "| planted | GPL-3.0-only |\n| planted-too |  |\n| planted-well | GPL-2.0-only OR MIT |\n"
    assert refused(page) == ["planted", "planted-too"]
