"""What is to happen in a run of chaos, and what was found afterwards."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

from connector.messages import ledger
from tests.chaos import HASTY_LEASE

OF_TEN = 1
"""Of ten visits so many are moved, and so many cancelled, when their patients know of them."""


@dataclass(frozen=True)
class Plan:
    """What is to happen; the same seed means the same moments, counted in requests to send."""

    count: int
    """Visits; with `mixed` each has about two messages."""
    mixed: bool = False
    """Some visits are moved or cancelled, and who still has one is reminded of it; one patient in five by e-mail."""
    kills: int = 0
    fault_rate: float = 0.0
    restart_storage: bool = False
    slow_worker: bool = False
    repeatability_off: bool = False
    seed: int = 1
    workers: int = 3
    latency_s: float = 0.0
    within_s: float = 240.0
    hasty: bool = False
    """Claims last 25 s instead of 75 (tests/chaos/hasty.py)."""

    @property
    def lease(self) -> timedelta:
        return HASTY_LEASE if self.hasty else ledger.LEASE

    @property
    def messages(self) -> int:
        """Confirmations; and changes, cancellations, reminders of what is not cancelled."""
        return self.count + (2 * self.changed + self.count - self.changed if self.mixed else 0)

    @property
    def changed(self) -> int:
        return self.count * OF_TEN // 10


@dataclass
class Verdict:
    """What was found afterwards."""

    count: int
    sent: int = 0
    duplicates: int = 0
    lost: int = 0
    uncertain: int = 0
    unexplained: int = 0
    """Uncertain messages without a fault of their own."""
    kills: int = 0
    faults: int = 0
    in_flight: int = 0
    """Messages in claims that lost their worker."""
    rules: Counter[str] = field(default_factory=Counter)
    """Why messages were not sent."""
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        return (
            f"sent={self.sent} duplicates={self.duplicates} lost={self.lost} uncertain={self.uncertain} "
            f"kills={self.kills} faults={self.faults}"
        )
