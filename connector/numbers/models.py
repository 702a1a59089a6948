"""A number that is being generated or given back: an operation that outlives every process."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from connector.numbers.texts import CODES, STATES, Who, Words

State = Literal["searching", "reserved", "purchasing", "releasing", "done", "failed"]
Kind = Literal["toll_free", "geographic", "mobile"]
FINAL: frozenset[State] = frozenset({"done", "failed"})


class NumberInput(BaseModel):
    """Which number is wanted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] = "US"
    """ISO 3166-1 alpha-2."""
    kind: Kind = "toll_free"
    area_code: Annotated[str, StringConstraints(pattern=r"^[0-9]{2,4}$")] | None = None
    label: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)] = "Virtual visits"


class ReleaseInput(BaseModel):
    """The number again, typed: a number that was given back is gone for good."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    confirm: Annotated[str, StringConstraints(strip_whitespace=True, max_length=20)]


class NumberOperation(BaseModel):
    """One purchase or release. `what`, `fix` and `who` are constants of ours, to be translated as they are."""

    model_config = ConfigDict(frozen=True)

    id: str
    action: Literal["buy", "release"]
    state: State
    code: str = ""
    """Why it failed, or what it waits for."""
    what: str = ""
    fix: str = ""
    who: Who = ""
    country: str
    kind: Kind
    area_code: str | None = None
    label: str
    number: str | None = None
    """E.164; the one that is held, until it is done."""
    monthly_cost: str = ""
    """Such as `2.00 USD`, as Azure offered it."""
    sender_id: str | None = None
    started_by: str
    """Entra object id."""
    started_at: datetime
    changed_at: datetime
    released: bool = False
    """Of a purchase: the number was given back."""
    of: str | None = None
    """Of a release: the purchase."""

    @property
    def over(self) -> bool:
        return self.state in FINAL

    def told(self) -> NumberOperation:
        """With the words that belong to state and code."""
        words: Words = CODES.get(self.code) or STATES[self.state]
        return self.model_copy(update={"what": words.what, "fix": words.fix, "who": words.who})
