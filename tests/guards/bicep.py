"""Reads Bicep as far as the guards need: tree-sitter's syntax, declarations, names, literals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

_PARSER = Parser(Language(tree_sitter_bicep.language()))
_DECLARATIONS = {
    "parameter_declaration": "param",
    "variable_declaration": "var",
    "resource_declaration": "resource",
    "module_declaration": "module",
    "output_declaration": "output",
}


@dataclass(frozen=True)
class Bicep:
    """One file; `text` of a node is its source."""

    name: str
    root: Node

    @classmethod
    def read(cls, path: Path) -> Bicep:
        return cls.parse(path.read_text("utf-8"), path.name)

    @classmethod
    def parse(cls, source: str, name: str = "planted.bicep") -> Bicep:
        return cls(name, _PARSER.parse(source.encode()).root_node)

    def walk(self, node: Node | None = None) -> Iterator[Node]:
        node = node or self.root
        yield node
        for child in node.children:
            yield from self.walk(child)

    def at(self, node: Node, what: str) -> str:
        return f"{self.name}:{node.start_point[0] + 1} {what}"

    def declared(self, kind: str) -> dict[str, Node]:
        found = [node for node in self.walk() if _DECLARATIONS.get(node.type) == kind]
        return {text(node.named_children[0]): node for node in found}

    def resources(self, kind: str) -> dict[str, Node]:
        """Bodies of what is made of a type; `existing` ones are not."""
        made = {name: node for name, node in self.declared("resource").items()
                if literal(node.named_children[1]).startswith(kind) and b" existing " not in (node.text or b"")[:200]}
        return {name: next(n for n in self.walk(node) if n.type == "object") for name, node in made.items()}

    def required_parameters(self) -> set[str]:
        return {name for name, node in self.declared("param").items() if len(node.named_children) < 3}

    def variable(self, name: str) -> Node:
        return self.declared("var")[name].named_children[-1]

    def syntax_faults(self) -> list[str]:
        return [self.at(node, "syntax") for node in self.walk() if node.type == "ERROR" or node.is_missing]

    def unknown_names(self) -> list[str]:
        """Names that are used and declared nowhere in the file, and declarations that nothing uses."""
        declared = {name for kind in ("param", "var", "resource", "module") for name in self.declared(kind)}
        loops = {text(n) for n in self.walk() if n.type in ("loop_variable", "loop_enumerator")} | {
            text(n.named_children[0]) for n in self.walk() if n.type == "for_statement"
        }
        used = [node for node in self.walk() if node.type == "identifier" and not _declares(node)]
        faults = [self.at(n, text(n)) for n in used if text(n) not in declared | loops and not _is_call(n)]
        names = {text(node) for node in used}
        idle = [name for kind in ("param", "var") for name in self.declared(kind) if name not in names]
        return faults + [f"{self.name} {name} is not used" for name in idle]

    def called(self) -> set[str]:
        return {text(node) for node in self.walk() if node.type == "identifier" and _is_call(node)}


def text(node: Node) -> str:
    return (node.text or b"").decode()


def literal(node: Node) -> str:
    """The text of a string; an interpolation stays as `${name}`."""
    return "".join(text(part) for part in node.named_children).replace("\\'", "'").replace("\\\\", "\\")


def properties(node: Node) -> dict[str, Node]:
    found = {}
    for part in node.named_children:
        if part.type == "object_property":
            key = part.named_children[0]
            found[literal(key) if key.type == "string" else text(key)] = part.named_children[-1]
    return found


def _declares(node: Node) -> bool:
    """Whether the identifier names what it stands in: a declaration, a property, a loop's variable."""
    parent = node.parent
    if parent is None:
        return False
    first = parent.named_children[0] == node
    if parent.type == "object_property":
        return first and len(parent.named_children) > 1
    return first and (parent.type in _DECLARATIONS or parent.type == "for_statement")


def _is_call(node: Node) -> bool:
    parent = node.parent
    return parent is not None and parent.type in ("call_expression", "decorator") and parent.named_children[0] == node
