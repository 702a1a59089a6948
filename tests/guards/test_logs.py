"""Everything is logged through connector.logs, with constant names and values that are no texts of errors."""

import ast

import pytest

from tests.guards.source import Source, app_sources, dotted, imports, planted

_TEXT_MAKERS = {"str", "repr", "format", "ascii", "join", "vars"}
_OUTPUTS = {"print", "breakpoint"}


def stray_output(source: Source) -> list[str]:
    """Output that does not pass through connector.logs."""
    found = [
        source.at(node, f"imports {name}")
        for node, name in imports(source)
        if name.split(".")[0] in ("logging", "warnings", "syslog")
    ]
    for node in source.walk():
        if not isinstance(node, ast.Call):
            continue
        called = dotted(node.func)
        if called in _OUTPUTS or called.startswith(("traceback.print", "sys.stdout", "sys.stderr")):
            found.append(source.at(node, f"calls {called}"))
    return found


def loose_events(source: Source) -> list[str]:
    """Calls of logs.event and logs.failure whose text is made on the spot."""
    found = []
    for node in source.walk():
        if not isinstance(node, ast.Call) or dotted(node.func) not in ("logs.event", "logs.failure"):
            continue
        for part in [inner for given in [*node.args, *node.keywords] for inner in ast.walk(given)]:
            if isinstance(part, ast.JoinedStr | ast.BinOp):
                found.append(source.at(part, "a text is put together for the log"))
            elif isinstance(part, ast.Call) and _called(part) in _TEXT_MAKERS:
                found.append(source.at(part, "something is turned into text for the log"))
            elif isinstance(part, ast.Attribute) and part.attr in ("args", "url", "text", "body", "message"):
                found.append(source.at(part, f".{part.attr} is logged"))
    return found


def _called(call: ast.Call) -> str:
    """The last name of what is called, also as a method of a literal."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else dotted(call.func)


def test_only_logs_writes() -> None:
    sources = {source.module: source for source in app_sources()}
    assert stray_output(sources.pop("connector.logs")), "this guard sees nothing"
    sources.pop("connector.operations.__main__")  # a command: what it prints is its answer
    assert [line for source in sources.values() for line in stray_output(source)] == []


def test_events_are_constant() -> None:
    assert [line for source in app_sources() for line in loose_events(source)] == []


@pytest.mark.parametrize(
    "text", ["import logging\nlogging.getLogger().info('x')", "from logging import info", "print('x')",
             "import traceback\ntraceback.print_exc()", "import sys\nsys.stderr.write('x')"],
)  # fmt: skip
def test_planted_output_is_found(text: str) -> None:
    assert stray_output(planted(text))


@pytest.mark.parametrize(
    "call", ["logs.event(f'a {x}')", "logs.event('a', why=str(error))", "logs.failure('a' + x, error)",
             "logs.event('a', at=request.url)", "logs.event('a', why='{}'.format(error))"],
)  # fmt: skip
def test_a_planted_event_is_found(call: str) -> None:
    assert loose_events(planted(call))
