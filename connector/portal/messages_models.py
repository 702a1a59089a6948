"""What the messages part of /api/v1 is asked and answers, beside the settings and the status."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from connector.messages import MessageStatus
from connector.tenants import EmailAddress


class OptOutInput(BaseModel):
    """A patient told staff to stop, or restart, the texts of one sender, or all e-mail (sender `email`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    number: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=30)] | None = None
    address: EmailAddress | None = None
    """An e-mail address, where the sender is `email`; else a number."""
    out: bool = True


class OptOut(BaseModel):
    """What was recorded; the number or address is stored as a keyed hash and never shown again."""

    sender_id: str
    out: bool


class ReleaseInput(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["all", "confirmation", "reminder", "change", "cancellation"] = "all"
    forget_due: bool = False
    """Send nothing of what is due now: after a restore it may have been sent already."""


class MessageStatusPage(BaseModel):
    items: list[MessageStatus]
