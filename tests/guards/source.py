"""The app's own source, parsed: what the guards look at."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
CONNECTOR = ROOT / "connector"


class Source(NamedTuple):
    """One module by its dotted name; a package's own file bears the package's name."""

    module: str
    tree: ast.Module

    def walk(self) -> Iterator[ast.AST]:
        return ast.walk(self.tree)

    def at(self, node: ast.AST, what: str) -> str:
        return f"{self.module}:{getattr(node, 'lineno', 0)} {what}"


def planted(text: str, module: str = "connector.planted") -> Source:
    return Source(module, ast.parse(text))


def app_sources() -> list[Source]:
    """Every module that is deployed."""
    paths = [ROOT / "function_app.py", *sorted(CONNECTOR.rglob("*.py"))]
    return [Source(_module(path), ast.parse(path.read_text("utf-8"))) for path in paths]


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: Source) -> Iterator[tuple[ast.stmt, str]]:
    """Every imported name with its dotted path, wherever the import stands; `from a import b` gives `a.b`."""
    for node in source.walk():
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = "." * node.level + (node.module or "")
            yield from ((node, f"{package}.{alias.name}") for alias in node.names)


def dotted(node: ast.AST) -> str:
    """`a.b.c` of a plain chain of names; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{before}.{node.attr}" if (before := dotted(node.value)) else ""
    return ""
