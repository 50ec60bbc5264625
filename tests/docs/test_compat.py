"""`make compat` runs the tests on what pyproject.toml promises."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from typing import Any

import pytest
from markdown_text import ROOT, document

PROJECT: dict[str, Any] = tomllib.loads(document("pyproject.toml"))["project"]


@pytest.fixture(scope="module")
def compat() -> Any:
    spec = importlib.util.spec_from_file_location("compat", ROOT / "tools" / "compat.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_python_that_is_promised_is_tried(compat: Any) -> None:
    promised = {match[1] for one in PROJECT["classifiers"] if (match := re.search(r":: (3\.\d+)$", one))}
    assert promised <= {name.partition("-")[0] for name in compat.NAMES}


def test_the_lowest_versions_are_tried_on_the_lowest_python(compat: Any) -> None:
    lowest = PROJECT["requires-python"].removeprefix(">=")
    assert [name for name in compat.NAMES if name.endswith("-lowest")] == [f"{lowest}-lowest"]


def test_a_python_that_is_not_there_is_passed_over(compat: Any) -> None:
    assert compat.find("3.99") is None
    assert compat.outcome("3.99-newest") == "not run: no Python 3.99 here"


def test_a_shim_that_starts_nothing_is_no_python(compat: Any, tmp_path: Any) -> None:
    shim = tmp_path / "python3.99"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    assert not compat.runs(str(shim))
    assert compat.runs(sys.executable)
