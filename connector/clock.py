"""Business time. Tokens, signatures, retries and leases use real time instead."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime


def _real() -> datetime:
    return datetime.now(UTC)


_source: Callable[[], datetime] = _real


def now() -> datetime:
    """The current business time, aware, in UTC."""
    return _source()


def install(source: Callable[[], datetime] | None) -> None:
    """Let `source` tell business time; None returns to the machine's clock."""
    global _source
    _source = source or _real
