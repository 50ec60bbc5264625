"""How long and how many the fields of a request may be: each bound at its edge, by the field's name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import samples
from hypothesis import HealthCheck, given, settings
from wire_strategies import message_names, messages

from stigmer._gen.ai.stigmer.agentic.agent.v1 import McpServerDefinition, StdioServer, SubAgent
from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import (
    AgentExecutionStatus,
    AgentExecutionUpdateStatusInput,
    AgentMessage,
    ListAgentExecutionsRequest,
    TodoItem,
    ToolCall,
)
from stigmer._gen.ai.stigmer.agentic.environment.v1 import EnvironmentValue
from stigmer._gen.ai.stigmer.agentic.executioncontext.v1 import ExecutionValue
from stigmer._gen.google.protobuf import Struct, Value
from stigmer.wire import bounds, codec, descriptors
from stigmer.wire.slices import at_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

ENTRIES: int = bounds.DEFAULT.entries or 0


def broken(message: Any) -> list[str]:
    return [str(violation) for violation in at_once(bounds.breaches(codec.to_wire(message)))]


def agent(**spec: Any) -> Any:
    made = samples.agent()
    for name, value in spec.items():
        setattr(made.spec, name, value)
    return made


def environment(keys: list[str]) -> Any:
    made = samples.environment()
    made.spec.data = {key: EnvironmentValue(value="x") for key in keys}
    return made


def execution(count: int) -> Any:
    made = samples.agent_execution("ses-1")
    made.spec.runtime_env = {str(number): ExecutionValue(value="x") for number in range(count)}
    return made


def report(**status: Any) -> Any:
    return AgentExecutionUpdateStatusInput(execution_id="aex-1", status=AgentExecutionStatus(**status))


def with_args(count: int) -> Any:
    server = McpServerDefinition(name="n", stdio=StdioServer(command="c", args=["x"] * count))
    return agent(mcp_servers=[McpServerDefinition(name="first"), server])


def with_reference(count: int) -> Any:
    return samples.session("x" * count)


def labels(count: int) -> dict[str, str]:
    return {str(number): "x" for number in range(count)}


EDGES: dict[str, tuple[Callable[[int], Any], int, str]] = {
    "a name": (lambda n: samples.session(name="x" * n), 1_024, "metadata.name"),
    "an agent's name": (lambda n: samples.agent(name="x" * n), 1_000, "metadata.name"),
    "a slug": (lambda n: samples.environment(slug="x" * n), 1_024, "metadata.slug"),
    "an agent's slug": (lambda n: samples.agent(slug="x" * n), 1_000, "metadata.slug"),
    "an org": (lambda n: samples.session(org="ü" * n), 1_024, "metadata.org"),
    "tags": (lambda n: samples.session(tags=["x"] * n), 256, "metadata.tags"),
    "a tag": (lambda n: samples.session(tags=["x", "x" * n]), 256, "metadata.tags[1]"),
    "labels": (lambda n: samples.session(labels=labels(n)), 256, "metadata.labels"),
    "a label's key": (lambda n: samples.session(labels={"x" * n: ""}), 320, "metadata.labels"),
    "a label's value": (lambda n: samples.session(labels={"k": "x" * n}), 1_024, 'metadata.labels["k"]'),
    "annotations": (lambda n: samples.session(annotations=labels(n)), 1_024, "metadata.annotations"),
    "an annotation's key": (lambda n: samples.session(annotations={"x" * n: ""}), 320, "metadata.annotations"),
    "an annotation": (lambda n: samples.session(annotations={"k": "x" * n}), 262_144, 'metadata.annotations["k"]'),
    "a reference that is found by": (with_reference, 1_024, "spec.agent_instance_id"),
    "variables": (lambda n: environment([str(number) for number in range(n)]), 1_000, "spec.data"),
    "a variable's name": (lambda n: environment(["x" * n]), 1_024, "spec.data"),
    "variables of a run": (execution, 1_000, "spec.runtime_env"),
    "MCP servers": (lambda n: agent(mcp_servers=[McpServerDefinition()] * n), 1_000, "spec.mcp_servers"),
    "arguments of an MCP server": (with_args, 1_000, "spec.mcp_servers[1].stdio.args"),
    "sub-agents": (lambda n: agent(sub_agents=[SubAgent()] * n), 1_000, "spec.sub_agents"),
    "tags of a list": (lambda n: ListAgentExecutionsRequest(tags=["x"] * n), 256, "tags"),
    "tool calls of one message": (
        lambda n: report(messages=[AgentMessage(tool_calls=[ToolCall()] * n)]),
        1_000,
        "status.messages[0].tool_calls",
    ),
}


@pytest.mark.parametrize("case", EDGES)
def test_what_is_at_a_bound_is_taken_and_one_more_is_refused_by_name(case: str) -> None:
    make, most, field = EDGES[case]
    assert broken(make(most)) == []
    (told,) = broken(make(most + 1))
    assert told.startswith(f"{field}: ")
    assert str(most) in told


def test_every_field_that_is_too_long_is_named() -> None:
    made = samples.agent(name="x" * 2_000, tags=["x" * 300, "y" * 300], labels=labels(300))
    made.spec.sub_agents = [SubAgent(mcp_servers=["x"] * 1_001)]
    assert [line.partition(":")[0] for line in broken(made)] == [
        "metadata.name",
        "metadata.labels",
        "metadata.tags[0]",
        "metadata.tags[1]",
        "spec.sub_agents[0].mcp_servers",
    ]


def test_a_transcript_has_no_bound_of_its_own() -> None:
    many = 5 * ENTRIES
    args = Struct(fields={str(number): Value(bool_value=True) for number in range(many)})
    assert not broken(
        report(
            messages=[AgentMessage(metadata=args)] * 2 + [AgentMessage()] * many,
            tool_calls=[ToolCall(args=args)] * 2 + [ToolCall()] * many,
            todos={str(number): TodoItem() for number in range(many)},
        )
    )
    holding = {name for name in message_names() if bounds.holds_transcript(name)}
    assert {name.rpartition(".")[2] for name in holding} == {
        "AgentExecution",
        "AgentExecutionList",
        "AgentExecutionStatus",
        "AgentExecutionUpdateStatusInput",
    }


def test_every_bound_is_of_a_field_that_is_there() -> None:
    names = {*bounds.BOUNDS, *bounds.TRANSCRIPT, *(name for one in bounds.BOUNDS_WITHIN.values() for name in one)}
    for name in names:
        message, _, field = name.rpartition(".")
        assert field in descriptors.descriptor(message).fields_by_name


@pytest.mark.parametrize("name", message_names())
def test_no_message_breaks_the_check(name: str) -> None:
    @settings(deadline=None, max_examples=10, suppress_health_check=list(HealthCheck))
    @given(messages(descriptors.descriptor(name)))
    def checked(wire: Message) -> None:
        assert at_once(bounds.breaches(wire)) == []

    checked()


def test_what_the_server_names_after_an_agent_fits() -> None:
    longest, derived = bounds.AGENT_NAME.chars or 0, f"-default-{10**9}"
    assert longest + len(derived) <= (bounds.NAME.chars or 0)
