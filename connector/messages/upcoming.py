"""The video visits that scans know of, for whoever prepares them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from connector.keys import Sealer
from connector.messages.discover import opened
from connector.messages.register import visits
from connector.tenants import TenantScope


@dataclass(frozen=True)
class Upcoming:
    """A visit as last seen; times are UTC."""

    visit: str
    start: datetime
    end: datetime
    ref: str
    department: str

    def appointment_id(self, scope: TenantScope, sealer: Sealer) -> str | None:
        """None when it was sealed by a key that is gone: the next scan seals it anew."""
        return opened(scope, sealer, self.visit, self.ref)


def upcoming(scope: TenantScope, connection_id: str, window: tuple[datetime, datetime]) -> dict[str, Upcoming]:
    """The live video visits that start in the window, by visit key: one storage operation a thousand."""
    return {
        found.key: Upcoming(found.key, found.start, found.end, found.ref, found.department)
        for found in visits(scope, connection_id, window).values()
        if found.state == "live"
    }
