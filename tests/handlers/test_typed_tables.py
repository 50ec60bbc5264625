"""A step that does not fit an RPC is a type error in the kind's table, under both checkers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import (
    AgentExecution, AgentExecutionId, AgentExecutionUpdateStatusInput, ListAgentExecutionsRequest,
)
from stigmer._gen.ai.stigmer.agentic.session.v1 import Session, SessionId
from stigmer.handlers import standard
from stigmer.handlers.base import Handler
from stigmer.pipeline.kind import Kind
from stigmer.pipeline.pipeline import Steps
from stigmer.steps.build_new_state_with_status import BuildNewStateWithStatus
from stigmer.steps.create_default_instance import CreateDefaultInstance
from stigmer.steps.load_target import LoadTarget
from stigmer.steps.persist import Persist
from stigmer.steps.resolve_slug import ResolveSlug
from stigmer.steps.stream_updates import StreamUpdates
from stigmer.steps.validate_proto import ValidateProto

fits = Handler(Kind(AgentExecution), {
    "get": standard.GET,
    "updateStatus": Steps(AgentExecutionUpdateStatusInput, ValidateProto(), BuildNewStateWithStatus(), Persist()),
    "subscribe": Steps(AgentExecutionId, ValidateProto(), LoadTarget(), last=StreamUpdates()),
})
refused = [
    Handler(Kind(AgentExecution), {"x": Steps(ListAgentExecutionsRequest, BuildNewStateWithStatus())}),  # a report
    Handler(Kind(AgentExecution), {"x": Steps(ListAgentExecutionsRequest, LoadTarget())}),  # has no id
    Handler(Kind(AgentExecution), {"x": Steps(AgentExecutionId, ResolveSlug())}),  # is no resource
    Handler(Kind(AgentExecution), {"x": Steps(AgentExecutionId, StreamUpdates())}),  # a stream step among unary ones
    Handler(Kind(AgentExecution), {"x": Steps(AgentExecutionId, last=LoadTarget())}),  # a unary step at a stream's end
    Handler(Kind(Session), {"x": Steps(Session, CreateDefaultInstance())}),  # for agents alone
    Handler(Kind(Session), {"x": Steps(SessionId, last=StreamUpdates())}),  # for executions alone
]
"""
REFUSED = {number for number, line in enumerate(PROGRAM.splitlines(), 1) if line.startswith("    Handler(Kind(")}
BIN = Path(sys.executable).parent
CHECKERS = {
    "mypy": (BIN / "mypy", "--config-file", ROOT / "pyproject.toml", "--follow-imports=silent"),
    "basedpyright": (BIN / "basedpyright", "--level", "error", "--pythonpath", sys.executable),
}


@pytest.mark.parametrize("checker", ["basedpyright", pytest.param("mypy", marks=pytest.mark.long)])
def test_each_step_that_does_not_fit_is_an_error_and_those_that_fit_are_none(tmp_path: Path, checker: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = (*map(str, CHECKERS[checker]), str(program))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = {int(line) for line in re.findall(r"program\.py:(\d+)(?::\d+)?[: -]+error", done.stdout)}
    assert lines == REFUSED, done.stdout + done.stderr
