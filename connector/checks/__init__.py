"""Checks of a connection: what works, what does not, and who can mend it."""

from connector.checks.models import Check, Report, State, Who
from connector.checks.run import validate_base

__all__ = ["Check", "Report", "State", "Who", "validate_base"]
