"""What is wrong with a form, an API body or an imported file, in words for the person who typed it.

Never the value itself: it may be a secret typed into the wrong field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from connector.errors import RefusedError, Text
from connector.tenants.models import PATTERNS

_KINDS = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "date_type": "must be a date such as 2026-11-30",
    "date_parsing": "must be a date such as 2026-11-30",
    "date_from_datetime_parsing": "must be a date such as 2026-11-30",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "string_too_short": "must have at least %(min_length)s characters",
    "string_too_long": "must have at most %(max_length)s characters",
    "too_short": "must have at least %(min_length)s entries",
    "too_long": "must have at most %(max_length)s entries",
    "greater_than_equal": "must be at least %(ge)s",
    "less_than_equal": "must be at most %(le)s",
    "literal_error": "must be one of: %(expected)s",
    "enum": "must be one of: %(expected)s",
}
"""Pydantic's error types, https://docs.pydantic.dev/latest/errors/validation_errors/, to our words."""

def faults(error: ValidationError) -> dict[str, str]:
    """Path of each wrong field, such as `departments.1.time_zone`, to a message that follows its label."""
    faulty = [([str(step) for step in fault["loc"] if step != "[key]"], fault) for fault in error.errors()]
    return {".".join(steps) or "body": _words(fault) for steps, fault in faulty}


def invalid(details: ValidationError | Mapping[str, str]) -> RefusedError:
    """The refusal (422) of values with these faults."""
    return RefusedError(
        "api.invalid",
        "Some fields are missing or not valid.",
        status=422,
        title="Not valid",
        details=faults(details) if isinstance(details, ValidationError) else dict(details),
    )


def _words(fault: Any) -> str:
    kind, context = str(fault["type"]), dict(fault.get("ctx", {}))
    if kind == "value_error":
        own = context["error"].args[0]
        return own if isinstance(own, Text) else str(own)
    if context.get("min_length") == 1:
        return "must not be empty"
    if kind == "string_pattern_mismatch":
        return PATTERNS.get(context["pattern"], "has a wrong form")
    said = _KINDS.get(kind, "is not valid")
    if "%(" not in said:
        return said
    known = {name: str(value).replace("'", "").replace(" or ", ", ") for name, value in context.items()}
    return Text(said, **{name: value for name, value in known.items() if f"%({name})s" in said})
