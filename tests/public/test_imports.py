"""What a user's imports bring along, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest


def loaded_by(program: str) -> set[str]:
    """The modules that are there when the program has run."""
    code = f"{program}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["types", "rpc"])
def test_messages_and_stubs_need_no_http2(module: str) -> None:
    loaded = loaded_by(f"import stigmer.{module}")
    assert f"stigmer.{module}" in loaded
    assert loaded & {"h2", "hyperframe", "hpack", "grpclib.server", "grpclib.client"} == set()
