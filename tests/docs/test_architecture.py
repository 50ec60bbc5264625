"""docs/architecture.md is true to the import contracts, the modules and the dependencies."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from markdown_text import ROOT, blocks, document, table

PAGE = document("docs/architecture.md")
PROJECT: dict[str, Any] = tomllib.loads(document("pyproject.toml"))
MAX_LINES = 180
"""One page: what does not fit belongs beside the code."""
NAMES = {
    *(
        "__init__",
        "__main__",
        "_gen",
        "access",
        "address",
        "app",
        "cli",
        "client",
        "downstream",
        "edge",
        "errors",
        "handlers",
        "pipeline",
        "private_file",
        "proof",
        "rpc",
        "secrets",
    ),
    *("server", "settings", "steps", "store", "sync", "telemetry", "types", "wire"),
}
"""What `ls src/stigmer` shows: a newcomer reads it at one glance."""


def name_of(requirement: str) -> str:
    return re.split(r"[<>=\[; ]", requirement, maxsplit=1)[0]


def names(requirements: list[str]) -> list[str]:
    return sorted(map(name_of, requirements))


def first_words(column: str) -> list[str]:
    return sorted(row[column].split(" ")[0] for row in table(PAGE, column))


def test_the_layers_shown_are_those_of_the_contract() -> None:
    (contract,) = (one for one in PROJECT["tool"]["importlinter"]["contracts"] if one["type"] == "layers")
    shown = next(block.text for block in blocks(PAGE) if block.language == "text")
    assert [re.split(r" {2,}", line)[0] for line in shown.splitlines()] == contract["layers"]


def test_every_layer_is_explained() -> None:
    shown = next(block.text for block in blocks(PAGE) if block.language == "text")
    assert [line for line in shown.splitlines() if not re.search(r"\S {2,}\S", line)] == []


def test_every_module_and_package_is_named() -> None:
    package = ROOT / "src" / "stigmer"
    modules = {path.stem for path in package.glob("*.py")} | {
        path.parent.name for path in package.glob("*/__init__.py")
    }
    assert {name for name in modules - {"__init__"} if not re.search(rf"\b{name}\b", PAGE)} == set()


def test_the_package_has_these_names_and_no_others() -> None:
    package = ROOT / "src" / "stigmer"
    shown = {path.stem for path in package.glob("*.py")} | {path.parent.name for path in package.glob("*/__init__.py")}
    assert shown == NAMES


def test_every_runtime_dependency_has_its_reason() -> None:
    extras = [one for extra in PROJECT["project"]["optional-dependencies"].values() for one in extra]
    assert first_words("Runtime") == names([*PROJECT["project"]["dependencies"], *extras])


def test_every_development_dependency_has_its_reason() -> None:
    build, dev = PROJECT["build-system"]["requires"], PROJECT["dependency-groups"]["dev"]
    assert first_words("Development") == names([*build, *dev])


@pytest.mark.parametrize("column", ["Runtime", "Development"])
def test_no_reason_is_empty(column: str) -> None:
    assert all(row["Why"] for row in table(PAGE, column))


def test_the_steps_named_exist() -> None:
    steps = "".join(path.read_text() for path in (ROOT / "src/stigmer/steps").glob("*.py"))
    for name in ("ValidateProto", "CheckDuplicate"):
        assert f"`{name}`" in PAGE
        assert f"class {name}" in steps


def test_every_file_that_the_page_names_exists() -> None:
    named = re.findall(r"`((?:src|tests|docs|protos|store|handlers)/[\w./]*)`", PAGE)
    assert named
    assert [name for name in named if not ((ROOT / name).exists() or (ROOT / "src/stigmer" / name).exists())] == []


def test_the_page_is_one_page() -> None:
    assert len(PAGE.splitlines()) <= MAX_LINES


def test_every_dependency_has_an_exact_version() -> None:
    lines = [line for line in document("constraints.txt").splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    pinned = {line.partition("==")[0] for line in lines}
    wanted = {row[column].split(" ")[0] for column in ("Runtime", "Development") for row in table(PAGE, column)}
    assert wanted - pinned == set()
