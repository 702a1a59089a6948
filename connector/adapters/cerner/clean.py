"""Tolerant reading of FHIR R4 resources: what is malformed is left out, by name, and the rest stays usable.

Cerner's own published examples fail strict validation (an empty valueString, a string for a number). So each
resource is projected to the fields we use, checked by the fhir.resources R4B models, and whatever they object
to is dropped exactly there, until the rest is valid.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from pydantic import ValidationError

Shape = dict[str, Any]
"""Field name to `str`, `int` or `bool`, a Shape, `[item]` for a list, or `Always(value)`."""

_MAX_ROUNDS = 12


class Always:
    """A field that FHIR requires and we do not use: its real value must not cost us the resource."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Unreadable(Exception):
    """Nothing usable is left of the resource. Carries no text: a validation error quotes values."""


def clean(kind: str, raw: Any, shape: Shape, defaults: Shape | None = None) -> tuple[Any, list[str]]:
    """A validated R4B model of `raw` reduced to `shape`, and the names of the fields that were dropped.

    Names look like `Appointment.participant.actor.reference`; they never hold values or positions. `defaults`
    stand in for required top-level fields that we can do without. Nulls and empty lists count as absent.
    """
    if not isinstance(raw, dict) or raw.get("resourceType") != kind:
        raise Unreadable
    dropped: list[str] = []
    value = {**(defaults or {}), **_project(raw, shape, kind, dropped)}
    for _ in range(_MAX_ROUNDS):
        try:
            return _model(kind).model_validate(value), dropped
        except ValidationError as error:
            found = error.errors(include_input=False)
        places = {entry["loc"][:-1] if "missing" in entry["type"] else entry["loc"] for entry in found}
        # Last positions first, so that removing one does not move the next.
        for place in sorted(places, key=lambda place: [_order(step) for step in place], reverse=True):
            _drop(value, place, kind, dropped)
    raise Unreadable


@cache
def _model(kind: str) -> Any:
    """The model class, imported on first use: the package costs some 200 ms that few requests need."""
    return getattr(import_module(f"fhir.resources.R4B.{kind.lower()}"), kind)


def _order(step: int | str) -> tuple[int, str]:
    return (step, "") if isinstance(step, int) else (-1, step)


def _project(raw: dict[str, Any], shape: Shape, path: str, dropped: list[str]) -> dict[str, Any]:
    projected: dict[str, Any] = {}
    for name, wanted in shape.items():
        if isinstance(wanted, Always):
            projected[name] = wanted.value
        elif raw.get(name) is not None:
            value = _fit(raw[name], wanted, f"{path}.{name}", dropped)
            if value is not None:
                projected[name] = value
    return projected


def _fit(value: Any, wanted: Any, path: str, dropped: list[str]) -> Any:
    """`value` in the wanted shape, or None, with its path noted, when it is of another kind.

    Needed before the models see it, for they coerce: `start: 5` would be five seconds past 1970.
    """
    if isinstance(wanted, list) and isinstance(value, list):
        items = (_fit(item, wanted[0], path, dropped) for item in value if item is not None)
        return [item for item in items if item is not None] or None
    if isinstance(wanted, dict) and isinstance(value, dict):
        return _project(value, wanted, path, dropped)
    if wanted is int and isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value[:9])
    if isinstance(wanted, type) and type(value) is wanted:
        return value
    dropped.append(path)
    return None


def _drop(value: Any, place: tuple[int | str, ...], kind: str, dropped: list[str]) -> None:
    if not place:
        raise Unreadable
    try:
        for step in place[:-1]:
            value = value[step]
        del value[place[-1]]
    except (KeyError, IndexError, TypeError):
        return  # went with its parent in this round
    dropped.append(".".join([kind, *(step for step in place if isinstance(step, str))]))
