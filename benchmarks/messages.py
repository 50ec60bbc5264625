"""The requests of the benchmarks as bytes, made by the C runtime: an ExecutionContext of 0.5 KB, and others."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from stigmer.wire import descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator

_AGENTIC = "ai.stigmer.agentic"
CONTEXT = f"{_AGENTIC}.executioncontext.v1.ExecutionContext"
SESSION = f"{_AGENTIC}.session.v1.Session"
AGENT = f"{_AGENTIC}.agent.v1.Agent"
EXECUTION = f"{_AGENTIC}.agentexecution.v1.AgentExecution"
REPORT = f"{_AGENTIC}.agentexecution.v1.AgentExecutionUpdateStatusInput"
REFERENCE = "ai.stigmer.commons.apiresource.ApiResourceReference"

GET = f"/{_AGENTIC}.executioncontext.v1.ExecutionContextQueryController/get"
GET_BY_REFERENCE = f"/{_AGENTIC}.executioncontext.v1.ExecutionContextQueryController/getByReference"
CREATE = f"/{_AGENTIC}.executioncontext.v1.ExecutionContextCommandController/create"
LIST = f"/{_AGENTIC}.session.v1.SessionQueryController/list"
CREATE_SESSION = f"/{_AGENTIC}.session.v1.SessionCommandController/create"
CREATE_ENVIRONMENT = f"/{_AGENTIC}.environment.v1.EnvironmentCommandController/create"
CREATE_AGENT = f"/{_AGENTIC}.agent.v1.AgentCommandController/create"
CREATE_EXECUTION = f"/{_AGENTIC}.agentexecution.v1.AgentExecutionCommandController/create"
UPDATE_EXECUTION = f"/{_AGENTIC}.agentexecution.v1.AgentExecutionCommandController/update"
UPDATE_STATUS = f"/{_AGENTIC}.agentexecution.v1.AgentExecutionCommandController/updateStatus"
SUBSCRIBE = f"/{_AGENTIC}.agentexecution.v1.AgentExecutionQueryController/subscribe"

CONTEXT_BYTES = 512
VALUE_BYTES = 32
API_VERSION = "agentic.stigmer.ai/v1"


def new(full_name: str, **fields: Any) -> Any:
    """A wire message."""
    return descriptors.message_class(full_name)(**fields)


def parsed(full_name: str, data: bytes) -> Any:
    """The wire message that the bytes hold."""
    return descriptors.message_class(full_name).FromString(data)


def context(name: str) -> Any:
    """A create request of CONTEXT_BYTES, plus or minus the name; no value of it is secret."""
    message = new(CONTEXT, api_version=API_VERSION, kind="ExecutionContext")
    message.metadata.name = name
    message.metadata.labels["team"] = "benchmarks"
    message.spec.execution_id = "aex-01jd0000000000000000000000"
    for key in ("LOG_LEVEL", "MODEL_NAME", "SERVICE_URL", "WORKSPACE"):
        message.spec.data[key].value = f"the value of {key.lower()}"
    message.spec.data["PROMPT"].value = "t"
    message.spec.data["PROMPT"].value = "t" * max(1, CONTEXT_BYTES - message.ByteSize())
    return message


def context_of(values: int, secret: int) -> Any:
    """A create request with so many values of VALUE_BYTES, of which the first are secret."""
    message = context("x" * 20)
    message.spec.data.clear()
    for number in range(values):
        entry = message.spec.data[f"VALUE_{number:02}"]
        entry.value, entry.is_secret = f"{number:02}" * (VALUE_BYTES // 2), number < secret
    return message


def contexts() -> Iterator[bytes]:
    """Create requests of the usual context without end."""
    return named(context("x" * 20))


def named(message: Any) -> Iterator[bytes]:
    """Create requests like that one without end, no two with the same slug, whoever else makes some."""
    prefix, number = f"b{secrets.token_hex(4)}", 0
    while True:
        message.metadata.name = f"{prefix}-{number:08}"
        yield message.SerializeToString()
        number += 1


def session(name: str) -> Any:
    """A create request for a session."""
    message = new(SESSION, api_version=API_VERSION, kind="Session")
    message.metadata.name = name
    message.metadata.org = "acme"
    message.metadata.owner_scope = 2
    message.spec.agent_instance_id = "ain-01jd0000000000000000000000"
    message.spec.subject = "s" * 200
    message.spec.metadata["origin"] = "benchmarks"
    return message


def get(id_: str) -> bytes:
    """A request of `get`, whatever the kind: their messages look alike."""
    data: bytes = new(f"{_AGENTIC}.executioncontext.v1.ExecutionContextId", value=id_).SerializeToString()
    return data


def get_by_reference(slug: str) -> bytes:
    """A request of `getByReference`."""
    data: bytes = new(REFERENCE, slug=slug).SerializeToString()
    return data


def list_sessions(page_size: int) -> bytes:
    """A request for the first page of sessions."""
    data: bytes = new(f"{_AGENTIC}.session.v1.ListSessionsRequest", page_size=page_size).SerializeToString()
    return data


def agent(name: str) -> bytes:
    """A create request for an agent."""
    message = new(AGENT, api_version=API_VERSION, kind="Agent")
    message.metadata.name = name
    message.metadata.org = "acme"
    message.metadata.owner_scope = 2
    message.spec.instructions = "Answer in one line."
    data: bytes = message.SerializeToString()
    return data


def environment(name: str) -> bytes:
    """A create request for an environment of no values."""
    message = new(f"{_AGENTIC}.environment.v1.Environment", api_version=API_VERSION, kind="Environment")
    message.metadata.name = name
    message.metadata.org = "acme"
    message.metadata.owner_scope = 2
    message.spec.description = "Production"
    data: bytes = message.SerializeToString()
    return data


def execution(name: str, agent_id: str) -> bytes:
    """A create request for an execution with no session."""
    message = new(EXECUTION, api_version=API_VERSION, kind="AgentExecution")
    message.metadata.name = name
    message.spec.agent_id = agent_id
    message.spec.message = "What is new?"
    data: bytes = message.SerializeToString()
    return data


def progress(execution_id: str, number: int) -> bytes:
    """A request of `updateStatus`: the execution goes on, with a word of where it is."""
    message = new(REPORT, execution_id=execution_id)
    message.status.phase = 2
    entry = message.status.messages.add()
    entry.content = f"step {number}"
    data: bytes = message.SerializeToString()
    return data


def transcript(execution_id: str, number: int, content_bytes: int) -> bytes:
    """A request of `updateStatus` with so many messages."""
    message = new(REPORT, execution_id=execution_id)
    message.status.phase = 2
    for _ in range(number):
        message.status.messages.add(type=2, content="x" * content_bytes, timestamp="2026-01-18T00:00:00Z")
    data: bytes = message.SerializeToString()
    return data
