"""What a user's imports bring along, each in a process of its own."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

import stigmer

if TYPE_CHECKING:
    from pathlib import Path


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


def test_the_package_by_itself_brings_nothing_along() -> None:
    loaded = loaded_by("import stigmer")
    assert {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names} - loaded_by("") == {
        "stigmer"
    }
    assert loaded & {"asyncio", "dataclasses", "inspect", "importlib.metadata"} == set()


def test_every_public_name_is_there_and_known_to_type_checkers() -> None:
    for name in stigmer.__all__:
        assert getattr(stigmer, name), name
        assert name in dir(stigmer)
    source = ast.parse(inspect.getsource(stigmer))
    (checked,) = (node for node in source.body if isinstance(node, ast.If))
    imported = {alias.name for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert sorted(imported | {"__version__"}) == stigmer.__all__


def test_every_error_that_callers_see_is_public() -> None:
    assert {kind.__name__ for kind in stigmer.StigmerError.__subclasses__()} <= set(stigmer.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'embeded'"):
        getattr(stigmer, "embeded")  # noqa: B009 - type checkers know too


def test_the_version_is_the_installed_one() -> None:
    assert stigmer.__version__ == version("stigmer-server")


EMBEDDED = """
import asyncio, stigmer
from stigmer.types import Agent, AgentSpec, ApiResourceMetadata, ApiResourceOwnerScope, AgentExecution
from stigmer.types import AgentExecutionSpec, AgentExecutionId

async def main():
    async with stigmer.embedded({where!r}) as plane:
        metadata = ApiResourceMetadata(name="helper", owner_scope=ApiResourceOwnerScope.organization)
        spec = AgentSpec(instructions="Look out of the window and say what you see.")
        named = {{"api_version": "agentic.stigmer.ai/v1", "kind": "Agent", "metadata": metadata, "spec": spec}}
        agent = await stigmer.rpc.AgentCommandControllerStub(plane.channel).create(Agent(**named))
        spec = AgentExecutionSpec(agent_id=agent.metadata.id, message="What do you see?")
        named |= {{"kind": "AgentExecution", "metadata": ApiResourceMetadata(name="first"), "spec": spec}}
        run = await stigmer.rpc.AgentExecutionCommandControllerStub(plane.channel).create(AgentExecution(**named))
        follow = stigmer.rpc.AgentExecutionQueryControllerStub(plane.channel).subscribe(
            AgentExecutionId(value=run.metadata.id)
        )
        assert (await anext(follow)).spec.session_id.startswith("ses-")
        await follow.aclose()

asyncio.run(main())
"""


@pytest.mark.parametrize("where", ["data", ":memory:"])
def test_a_plane_without_a_port_needs_no_http2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Its calls, its streams and its calls downstream included."""
    monkeypatch.chdir(tmp_path)
    loaded = loaded_by(EMBEDDED.format(where=where))
    assert "stigmer.edge.door" in loaded
    assert loaded & {"h2", "hyperframe", "hpack", "grpclib.server", "grpclib.client"} == set()
