"""A visit in every state that a patient's link can find it in, for looking at its pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from connector.adapters.tables import Write
from connector.messages.compare import Told
from connector.messages.register import Visit
from connector.visits.presence import put_presence
from sandbox.cerner import appointments
from tests.running import Live

STATES = ("early", "soon", "moved", "open", "late", "waiting", "waiting_unseen", "outside", "in_call", "over",
          "ended_by_phone", "cancelled", "in_person", "wrong")  # fmt: skip
"""Beside these: unreachable, and the video that does not open; they need a vendor to be down."""


def see(live: Live, appointment: str, /, **columns: Any) -> str:
    """Write into the visit's presence row, as the clinician's page and Graph's notifications do."""
    visit = live.scope().index("visit", live.connection_id(), appointment)
    put_presence(live.scope(), live.connection_id(), visit, end=live.world.now() + timedelta(hours=2), **columns)
    return appointment


def tokens(live: Live) -> dict[str, str]:
    """One link for each of STATES. Patients of Harbor; times are business time."""

    def ago(minutes: float) -> str:
        return (live.world.now() - timedelta(minutes=minutes)).isoformat()

    def cancelled() -> str:
        appointment = live.book("suri")
        appointments.cancel(live.world, "harbor", appointment)
        return appointment

    def moved() -> str:
        appointment, now = live.book("suri", in_minutes=60 * 26), live.world.now()
        visit, hour = live.scope().index("visit", live.connection_id(), appointment), timedelta(hours=1)
        told = Told(now + 3 * hour, "live", 1)
        row = Visit(visit, "", now + 26 * hour, now + 27 * hour, "Family Medicine", "live", told=told)
        live.scope().tables.transact("Visits", [Write("upsert", row.row(live.connection_id()))])
        return appointment

    waiting = {"joined_at": ago(7), "lobby": 1, "lobby_since": ago(6), "live": "on"}
    made: dict[str, Callable[[], str]] = {
        "early": lambda: live.book("suri", in_minutes=3 * 24 * 60),
        "soon": lambda: live.book("suri", in_minutes=40),
        "moved": moved,
        "open": lambda: live.book("suri", in_minutes=12),
        "late": lambda: see(live, live.book("suri", in_minutes=-5), late_minutes=20, late_at=ago(3)),
        "waiting": lambda: see(live, live.book("suri", in_minutes=-5), **waiting),
        "waiting_unseen": lambda: see(live, live.book("suri", in_minutes=-5), joined_at=ago(3), live="off"),
        "outside": lambda: see(live, live.book("suri", in_minutes=-5), joined_at=ago(9), live="on"),
        "in_call": lambda: see(live, live.book("suri", in_minutes=-5), joined_at=ago(9), live="on", guests=1),
        "over": lambda: live.book("suri", in_minutes=-200),
        "ended_by_phone": lambda: see(live, live.book("suri", in_minutes=-5), ended="phone", ended_at=ago(1)),
        "cancelled": cancelled,
        "in_person": lambda: live.book("suri", kind="ordinary"),
    }
    return {state: live.join_token(book()) for state, book in made.items()} | {"wrong": "aNotOurs"}
