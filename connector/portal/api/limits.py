"""How often one tenant may call the API: a token bucket in each process.

In the process and not in storage, for it protects the process, costs nothing, and what is scarce elsewhere (numbers,
texts, EHR calls) has limits of its own in storage. With several instances a tenant gets as much from each.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from connector.errors import RefusedError, Text

BURST = 600
EACH_SECOND = 10.0


class Limiter:
    """Buckets by tenant: only tenants on the operator's list come here, so there are few."""

    def __init__(
        self, burst: int = BURST, each_second: float = EACH_SECOND, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst, self._each_second, self._now = burst, each_second, now
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}
        """What is left, and when that was."""

    def take(self, tenant_id: str, cost: int) -> None:
        """Raises RefusedError (429) that says when to come again; what is refused costs nothing."""
        with self._lock:
            now = self._now()
            left, at = self._buckets.get(tenant_id, (float(self._burst), now))
            left = min(self._burst, left + (now - at) * self._each_second)
            waits = max(0.0, (cost - left) / self._each_second)
            self._buckets[tenant_id] = (left if waits else left - cost, now)
        if waits:
            raise RefusedError(
                "api.too_many_requests",
                Text(
                    "Your organization sends too many requests. Try again in %(seconds)s seconds.",
                    seconds=int(waits) + 1,
                ),
                status=429,
                title="Too many requests",
                retry_after_s=waits,
            )
