"""Every queue that code writes to has a trigger, and every trigger a writer."""

import ast
from collections.abc import Mapping

import pytest

from connector.regions import Region
from tests.guards.declared import Declared
from tests.guards.source import Source, app_sources, dotted, planted


class Unreadable(Exception):
    """A queue's name is not written so that this guard can read it: a text, with at most the region in it."""


def written(source: Source) -> set[str]:
    """Names of the queues that a module sends to, for all regions."""
    calls = (node for node in source.walk() if isinstance(node, ast.Call))
    sends = [call for call in calls if dotted(call.func).endswith("queues.send")]
    return {name for call in sends for name in _names(source, call.args[0])}


def _names(source: Source, node: ast.expr) -> set[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return {node.value}
    if isinstance(node, ast.JoinedStr):
        held = [part for part in node.values if isinstance(part, ast.FormattedValue)]
        if all(dotted(part.value).rpartition(".")[2] == "region" for part in held):
            return {"".join(_part(piece, region) for piece in node.values) for region in Region}
    raise Unreadable(source.at(node, ast.unparse(node)))


def _part(piece: ast.expr, region: Region) -> str:
    return str(piece.value) if isinstance(piece, ast.Constant) else region.value


def connections_of(triggers: Mapping[str, Declared]) -> dict[str, str]:
    """Queue to the setting with its storage."""
    bindings = [one.trigger for one in triggers.values() if one.trigger["type"] == "queueTrigger"]
    return {str(binding["queueName"]): str(binding["connection"]) for binding in bindings}


def test_queues_written_are_queues_read(declared: Mapping[str, Declared]) -> None:
    names = set().union(*(written(source) for source in app_sources()))
    assert names == set(connections_of(declared))


def test_each_queue_is_read_from_its_own_region(declared: Mapping[str, Declared]) -> None:
    for queue, connection in connections_of(declared).items():
        assert connection == f"{queue.rpartition('-')[2].upper()}_STORAGE"


def test_a_planted_queue_is_found() -> None:
    assert written(planted("scope.queues.send(f'lost-{scope.region}', {})")) == {f"lost-{r}" for r in Region}
    with pytest.raises(Unreadable):
        written(planted("scope.queues.send(name, {})"))
