"""A dependency whose private parts the sources use has an upper bound: its next release may take them away."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from markdown_text import ROOT, document

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = ROOT / "src" / "stigmer"
SOURCES = [path for path in PACKAGE.rglob("*.py") if "_gen" not in path.parts]
TREES = {path: ast.parse(path.read_text()) for path in SOURCES}
REQUIREMENTS: list[str] = tomllib.loads(document("pyproject.toml"))["project"]["dependencies"]
DEPENDENCIES = {re.split(r"[<>=]", one, maxsplit=1)[0]: one for one in REQUIREMENTS}
DISTRIBUTIONS = importlib.metadata.packages_distributions()
EXTENSION_POINTS = {("structlog", "_logger"), ("structlog", "_process_event")}
"""Private by their names, and documented for subclasses."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def imports(tree: ast.AST) -> Iterator[tuple[str, set[str]]]:
    """Each module that is imported, with the names taken from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            yield from ((alias.name, set()) for alias in node.names)


def without_type_checking(tree: ast.Module) -> ast.Module:
    kept = [node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))]
    return ast.Module(kept, [])


def names_given(tree: ast.AST) -> Iterator[str]:
    """The private names that a module gives to what it defines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


OWN = {name for tree in TREES.values() for name in names_given(tree) if is_private(name)}


@cache
def source(package: str) -> str:
    found = importlib.util.find_spec(package)
    places = [Path(place) for place in found.submodule_search_locations or ()] if found else []
    return "\n".join(file.read_text() for place in places for file in sorted(place.rglob("*.py")))


def gives(package: str, name: str) -> bool:
    """Whether a file of the package defines the name."""
    return re.search(rf"(?:\bself\.|\bdef |^ +|\(){name}\b *(?:\(|:|=[^=])", source(package), re.MULTILINE) is not None


def private_uses() -> Iterator[tuple[str, str, str]]:
    """File, distribution and name of each private part of a dependency that the sources name."""
    for path, tree in TREES.items():
        for module, names in imports(without_type_checking(tree)):
            for name in filter(is_private, {*module.split("."), *names}):
                yield from ((path.name, one, name) for one in distributions(module.split(".")[0]))
        packages = {module.split(".")[0] for module, _ in imports(tree)} & DISTRIBUTIONS.keys()
        attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        for name in filter(is_private, attributes - OWN):
            for package in packages:
                yield from ((path.name, one, name) for one in distributions(package) if gives(package, name))


def distributions(package: str) -> list[str]:
    return [one for one in DISTRIBUTIONS.get(package, ()) if one in DEPENDENCIES]


def test_a_dependency_whose_private_parts_are_used_has_an_upper_bound() -> None:
    used = sorted(set(private_uses()))
    assert {"aiosqlite", "betterproto2", "grpclib", "h2"} <= {distribution for _, distribution, _ in used}
    unbounded = [one for one in used if "<" not in DEPENDENCIES[one[1]]]
    assert [one for one in unbounded if one[1:] not in EXTENSION_POINTS] == []


def test_what_the_server_stands_on_has_an_upper_bound() -> None:
    """These two are used by public names, of modules that no page of theirs promises."""
    assert [one for one in ("hpack", "hyperframe") if "<" not in DEPENDENCIES[one]] == []
