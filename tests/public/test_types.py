"""`stigmer.types` has every message and enum of the protos by one flat name."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

import betterproto2
import flat_names
import pytest
from google.protobuf.descriptor_pb2 import EnumDescriptorProto, FileDescriptorSet
from wire_strategies import message_names

from stigmer import types
from stigmer.wire.message_types import full_name_of

if TYPE_CHECKING:
    from collections.abc import Iterator

CLASSES = {name: getattr(types, name) for name in types.__all__}


def enums() -> Iterator[EnumDescriptorProto]:
    """Those that our own protos declare; none is nested in a message."""
    described = FileDescriptorSet.FromString((files("stigmer._gen") / "descriptors.binpb").read_bytes())
    for file in described.file:
        if file.name.startswith("ai/stigmer/"):
            assert not any(message.enum_type for message in file.message_type)
            yield from file.enum_type


def test_every_message_is_there_once() -> None:
    given = [full_name_of(one) for one in CLASSES.values() if issubclass(one, betterproto2.Message)]
    ours = [name for name in given if not name.startswith("google.protobuf.")]
    assert sorted(ours) == sorted(message_names())


def test_every_enum_is_there() -> None:
    declared = {enum.name: {value.number for value in enum.value} for enum in enums()}
    assert {"ExecutionPhase", "ApiResourceKind", "MessageType"} <= declared.keys()
    assert declared == {
        name: set(map(int, one))
        for name, one in CLASSES.items()
        if issubclass(one, betterproto2.Enum) and name != "NullValue"
    }


def test_a_name_of_two_packages_belongs_to_the_package_of_its_kind() -> None:
    assert full_name_of(types.SessionId) == "ai.stigmer.agentic.session.v1.SessionId"
    assert full_name_of(types.AgentExecutionSessionId) == "ai.stigmer.agentic.agentexecution.v1.SessionId"
    assert full_name_of(types.AgentId) == "ai.stigmer.agentic.agent.v1.AgentId"
    assert full_name_of(types.SessionAgentId) == "ai.stigmer.agentic.session.v1.AgentId"


def test_what_fields_hold_is_there_too() -> None:
    """A tool call's arguments are a Struct."""
    assert types.ToolCall(args=types.Struct(fields={"n": types.Value(number_value=1)})).args is not None


UNDECIDED: dict[str, dict[str, set[str]]] = {
    "neither package's kind begins it": {"a.agent.v1": {"Agent", "Port"}, "a.session.v1": {"Session", "Port"}},
    "one of them is about no kind": {"a.agent.v1": {"Agent", "AgentId"}, "a.commons": {"AgentId"}},
    "both kinds begin it": {"a.agent.v1": {"Agent", "AgentRunId"}, "a.agentrun.v1": {"AgentRun", "AgentRunId"}},
    "the longer name is taken": {
        "a.agent.v1": {"Agent", "AgentId"},
        "a.session.v1": {"Session", "AgentId", "SessionAgentId"},
    },
}


@pytest.mark.parametrize("packages", UNDECIDED.values(), ids=UNDECIDED)
def test_a_clash_that_the_rule_does_not_decide_ends_the_generation(packages: dict[str, Any]) -> None:
    with pytest.raises(SystemExit, match="two packages have the flat name"):
        flat_names.flat(packages)
