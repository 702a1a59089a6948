"""What the visit tests share: the running app seen from its own code, and a Graph that can be led astray."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import pytest

from sandbox import graph
from sandbox.world import Meeting, World
from tests.running import Browser, Live


class LobbyLeft(Protocol):
    def __call__(self, **lobby: Any) -> AbstractContextManager[None]: ...


@pytest.fixture
def browser(live: Live) -> Browser:
    return Browser(live)


@pytest.fixture
def lobby_left() -> LobbyLeft:
    """While open, Graph says yes to a new lobby and keeps the old one, or sets `lobby` instead."""

    @contextmanager
    def left(**lobby: Any) -> Iterator[None]:
        real = graph.apply_update

        def apply(world: World, meeting: Meeting, changes: dict[str, Any]) -> None:
            real(world, meeting, {name: value for name, value in changes.items() if name != "lobbyBypassSettings"})
            meeting.body["lobbyBypassSettings"] |= lobby

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(graph, "apply_update", apply)
            yield

    return left
