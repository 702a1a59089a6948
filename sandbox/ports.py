"""Loopback ports for what listens here."""

from __future__ import annotations

import random
import socket

_RANGE = range(20_000, 32_000)
"""Below the kernel's range for outgoing connections, so that ours stay free until they are used, and over a restart."""
_given: set[int] = set()
"""By this process: somebody may be about to listen there."""


def free_ports(count: int) -> list[int]:
    """Loopback ports on which nothing listens, never the same twice."""
    found: list[int] = []
    while len(found) < count:
        port = random.choice(_RANGE)  # noqa: S311 - no secret
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            found.append(port)
    return found
