"""Checks of a connection: what works, what does not, and who can fix it."""

from connector.checks.finding import State, Who
from connector.checks.microsoft import REQUIRED, USED
from connector.checks.models import Check, Report
from connector.checks.nightly import blueprint
from connector.checks.run import check_connection, latest, latest_of_all, validate_base
from connector.checks.self_test import self_test

__all__ = [
    "REQUIRED",
    "USED",
    "Check",
    "Report",
    "State",
    "Who",
    "blueprint",
    "check_connection",
    "latest",
    "latest_of_all",
    "self_test",
    "validate_base",
]
