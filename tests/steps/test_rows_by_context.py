"""Steps reach rows by their context alone, which leaves out what is not the caller's."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import stigmer.steps

FILES = sorted(Path(stigmer.steps.__file__).parent.glob("*.py"))
HARMLESS = {"require", "after_commit", "on_failure"}
"""What steps ask of the transaction itself: none of it reads or writes a row."""


def asked_of_the_transaction(path: Path) -> set[str]:
    """Attributes of whatever is called `tx`."""
    attributes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
    return {one.attr for one in attributes if isinstance(one.value, ast.Attribute) and one.value.attr == "tx"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_step_reads_or_writes_rows_past_the_context(path: Path) -> None:
    assert asked_of_the_transaction(path) <= HARMLESS


def test_steps_do_ask_something_of_the_transaction() -> None:
    """The test above sees what it is to see."""
    assert set[str]().union(*map(asked_of_the_transaction, FILES)) == HARMLESS
