"""What one check can find. Templates take `%(name)s` values.

A page translates title, seen and fix by these texts; Babel finds them as the first argument of `Named` and the third
and fourth of `Finding`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

State = Literal["pass", "warn", "fail"]
Who = Literal["", "you", "oracle", "microsoft_admin", "operator"]
"""Who can fix it: the admin who reads it, Oracle (Cerner), a Microsoft 365 administrator of the hospital, or the
operator of the service. Empty when there is nothing to fix."""


@dataclass(frozen=True)
class Finding:
    state: State
    who: Who
    seen: str
    fix: str = ""


@dataclass(frozen=True)
class Named:
    title: str
    findings: Mapping[str, Finding]


NOT_ASKED = Finding(
    "warn", "", "Not checked, because an earlier check failed.",
    "Fix what the failed check found first, then check again.",
)
