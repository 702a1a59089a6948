"""Every check by its id."""

from __future__ import annotations

from connector.checks.finding import Named
from connector.checks.texts_fhir import FHIR
from connector.checks.texts_microsoft import MICROSOFT
from connector.checks.texts_sending import SELF_TEST, SENDING

CHECKS: dict[str, Named] = {**FHIR, **MICROSOFT, **SENDING, **SELF_TEST}
