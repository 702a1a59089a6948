"""Who is in a visit's call, from Teams' call events. Pure.

Events come doubled and out of order: what is older than known of a participant changes nothing. Participants are
hashes of Teams' ids of one entry into one call, with no name and no account.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

State = Literal["lobby", "connected", "gone"]
_MOST = 200
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Entry:
    state: State
    since: datetime
    """When that state began."""
    at: datetime
    """Of the newest event about the participant."""
    staff: bool


@dataclass(frozen=True)
class Change:
    id: str
    state: State
    staff: bool


@dataclass(frozen=True)
class Roster:
    entries: dict[str, Entry] = field(default_factory=dict)
    ended: datetime = _NEVER
    """When the last call ended: older events count no more."""

    def after(self, at: datetime, changes: Iterable[Change], *, ended: bool = False) -> Roster:
        if at <= self.ended:
            return self
        if ended:
            return Roster({id: entry for id, entry in self.entries.items() if entry.at > at}, at)
        entries = dict(self.entries)
        for change in changes:
            known = entries.get(change.id)
            if known is not None and known.at > at:
                continue
            since = known.since if known and known.state == change.state else at
            entries[change.id] = Entry(change.state, since, at, change.staff)
        newest = sorted(entries.items(), key=lambda item: (item[1].state != "gone", item[1].at))[-_MOST:]
        return Roster(dict(newest), self.ended)

    @property
    def lobby(self) -> int:
        return len(self._in("lobby"))

    @property
    def lobby_since(self) -> datetime | None:
        """When the one who waits longest came."""
        return min((entry.since for entry in self._in("lobby")), default=None)

    @property
    def guests(self) -> int:
        """Connected, and not of the hospital's directory."""
        return sum(not entry.staff for entry in self._in("connected"))

    @property
    def staff(self) -> int:
        return sum(entry.staff for entry in self._in("connected"))

    def _in(self, state: State) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.state == state]

    def text(self) -> str:
        """For storage: the inverse of `parse`."""
        return json.dumps([
            self.ended.isoformat(),
            {id: [e.state, e.since.isoformat(), e.at.isoformat(), e.staff] for id, e in self.entries.items()},
        ], separators=(",", ":"))  # fmt: skip

    @classmethod
    def parse(cls, text: str) -> Roster:
        if not text:
            return cls()
        ended, entries = json.loads(text)
        moment = datetime.fromisoformat
        return cls({id: Entry(e[0], moment(e[1]), moment(e[2]), e[3]) for id, e in entries.items()}, moment(ended))
