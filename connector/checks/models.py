"""A named check: what was looked at, what was seen, what to do, and who can do it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from connector.checks.finding import State, Who
from connector.checks.texts import CHECKS

Values = dict[str, str | int]
_MESSAGES = frozenset({"sender", "email", "live"})


class Check(BaseModel):
    """One check. `title`, `seen` and `fix` are templates until `formatted`; no vendor's words are among `values`."""

    model_config = ConfigDict(frozen=True)

    id: str
    """Stable, such as `fhir.metadata`."""
    finding: str
    """Stable within the check, such as `dstu2`."""
    state: State
    who: Who
    title: str
    seen: str
    fix: str
    """Empty when nothing is to be done."""
    command: str = ""
    """What to paste into a Teams PowerShell, as it is."""
    values: Values = {}

    @property
    def side(self) -> Literal["cerner", "microsoft", "messages"]:
        """Which part of the chain it looks at."""
        begins = self.id.partition(".")[0]
        return "microsoft" if begins == "microsoft" else "messages" if begins in _MESSAGES else "cerner"

    def formatted(self, translate: Callable[[str], str] = str) -> Check:
        """The same in words that a person can read, in the language of `translate`."""
        said = {name: _filled(translate, getattr(self, name), self.values) for name in ("title", "seen", "fix")}
        return self.model_copy(update=said)


def _filled(translate: Callable[[str], str], template: str, values: Values) -> str:
    return translate(template) % values if template else ""


def found(check: str, finding: str, *, command: str = "", **values: str | int) -> Check:
    """The check in one of the findings that `texts.CHECKS` lists for it."""
    known = CHECKS[check]
    text = known.findings[finding]
    return Check(
        id=check, finding=finding, state=text.state, who=text.who, title=known.title, seen=text.seen, fix=text.fix,
        command=command, values=values,
    )  # fmt: skip


class Report(BaseModel):
    """What the last run over a connection found."""

    model_config = ConfigDict(frozen=True)

    connection_id: str
    at: datetime
    """Aware UTC."""
    checks: list[Check]

    @property
    def state(self) -> State:
        """The worst of all."""
        states = {check.state for check in self.checks}
        return "fail" if "fail" in states else "warn" if "warn" in states else "pass"
