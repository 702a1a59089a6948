"""Every check by its id."""

from __future__ import annotations

from connector.checks.finding import Named
from connector.checks.texts_fhir import FHIR
from connector.checks.texts_microsoft import MICROSOFT

CHECKS: dict[str, Named] = {**FHIR, **MICROSOFT}
