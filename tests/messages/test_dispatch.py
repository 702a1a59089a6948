"""What is on its way to a worker uses up no second share of its sender's rate; what got lost does, after a while."""

from datetime import timedelta

import pytest

from connector.messages import dispatch
from tests.messages.conftest import Stage


def test_what_was_released_is_released_again_only_when_its_hint_must_be_lost(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "PATIENCE", timedelta(minutes=2))
    stage.book(0)
    stage.discover()
    assert len(stage.dispatch()) == 1
    stage.book(2)
    stage.discover()
    assert len(stage.dispatch()) == 1, "the second visit's alone"
    assert stage.dispatch() == []
    monkeypatch.setattr(dispatch, "PATIENCE", timedelta(0))
    stage.deliver()
    assert stage.status()["sent"] == len(stage.outbox) == 2
