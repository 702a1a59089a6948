"""What a patient must be told next: the visit as it is, compared with what the patient was last told.

Pure. Never compared with the last scan, so a change that was undone before it was told tells nothing, and one that
was told and undone is told again: A -> B -> A tells three things.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Class = Literal["live", "cancelled", "not_video", "lost"]
Kind = Literal["confirmation", "reminder", "change", "cancellation"]

REVERSIBLE = frozenset({
    "cancelled", "past", "not_booked", "not_video", "no_department", "no_patient", "several_patients",
    "moved_to_other_patient", "superseded", "disabled_kind", "appointment_not_returned",
})  # fmt: skip
"""Rules about the visit. A scan that finds it otherwise asks again; rules about the person stand."""


@dataclass(frozen=True)
class Told:
    """What the patient was last told, by a message that was sent (or perhaps was), or silently by a baseline.

    `n` 0 with state "live" means: of this visit under another appointment id, whose link is dead.
    """

    start: datetime | None = None
    state: Literal["", "live", "cancelled"] = ""
    n: int = 0

    def __str__(self) -> str:
        return f"{self.n} {self.state} {self.start.isoformat() if self.start else ''}"

    @classmethod
    def parse(cls, text: str) -> Told:
        n, state, start = (text or "0  ").split(" ")
        known: Literal["", "live", "cancelled"] = (
            "live" if state == "live" else "cancelled" if state == "cancelled" else ""
        )
        return cls(datetime.fromisoformat(start) if start else None, known, int(n))


@dataclass(frozen=True)
class Asked:
    """The newest telling that was planned. `rule`: why it was never sent; "": it is pending, sent or told silently."""

    n: int = 0
    kind: str = ""
    start: datetime | None = None
    rule: str = ""


UNTOLD, UNASKED = Told(), Asked()


@dataclass(frozen=True)
class Tell:
    kind: Kind
    rule: str
    """Which rule lets it pass, kept with the outcome."""


def compare(told: Told, state: Class, start: datetime | None) -> Tell | None:
    """What must be told of a visit that is now `state` at `start`; None when the patient knows all."""
    if told.state == "":
        return Tell("confirmation", "confirmation.new") if state == "live" else None
    if told.state == "cancelled":
        return Tell("change", "change.reinstated") if state == "live" else None
    if state in ("cancelled", "not_video"):
        return Tell("cancellation", f"cancellation.{state}")
    if state == "live" and start != told.start:
        return Tell("change", "change.moved")
    return Tell("change", "change.rebooked") if state == "live" and told.n == 0 else None


def next_telling(told: Told, asked: Asked, state: Class, start: datetime | None) -> Tell | None:
    """What must be planned now: None also when that is planned already, or may not be told to this person."""
    tell = compare(told, state, start)
    if tell is None or asked.n <= told.n or asked.kind != tell.kind or asked.start != start:
        return tell
    return tell if asked.rule in REVERSIBLE else None


def settled(told: Told, asked: Asked, state: Class, start: datetime | None) -> bool:
    """Whether the patient knows all, and what was planned last, with its reminders, is for another time or class."""
    known = told.state == "live" and state == "live" and compare(told, state, start) is None
    return known and (asked.n > told.n or asked.start != start)
