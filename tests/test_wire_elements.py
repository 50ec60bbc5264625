"""A message of a few bytes a part must not hold up everybody else."""

from __future__ import annotations

import pytest

from stigmer import codec, validation
from stigmer._gen.ai.stigmer.agentic.agent.v1 import Agent, AgentSpec, SubAgent
from stigmer._gen.ai.stigmer.agentic.environment.v1 import Environment, EnvironmentSpec, EnvironmentValue
from stigmer._gen.ai.stigmer.agentic.session.v1 import ListSessionsRequest
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceMetadata
from stigmer.errors import ResourceExhausted
from stigmer.wire_elements import has_more_elements, unknown_size

SUB_AGENT = b"\x32\x00"  # field 6 of AgentSpec, empty
TAG = b"\x1a\x00"  # field 3 of ListSessionsRequest, empty
UNKNOWN = b"\xf8\x3f\x01"  # a varint that no message has


def with_sub_agents(count: int) -> bytes:
    spec = SUB_AGENT * count
    return b"\x22" + _varint(len(spec)) + spec


def _varint(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80, value >> 7 & 0x7F | 0x80, value >> 14 & 0x7F | 0x80, value >> 21])


def test_parts_are_counted_at_all_depths() -> None:
    agent = codec.to_wire(Agent(spec=AgentSpec(sub_agents=[SubAgent(mcp_servers=["a", "b"]), SubAgent()])))
    parts = 1 + 2 + 2  # the spec, the sub-agents, the texts
    assert not has_more_elements(agent, parts)
    assert has_more_elements(agent, parts - 1)


def test_entries_of_maps_are_parts_and_so_is_what_they_hold() -> None:
    spec = EnvironmentSpec(data={"A": EnvironmentValue(value="1"), "B": EnvironmentValue()})
    environment = codec.to_wire(Environment(metadata=ApiResourceMetadata(labels={"k": "v"}), spec=spec))
    parts = 1 + 1 + 1 + 2  # metadata, its label, the spec, its values
    assert not has_more_elements(environment, parts)
    assert has_more_elements(environment, parts - 1)


def test_a_message_of_too_many_parts_is_refused_before_it_is_converted() -> None:
    codec.parse_request(Agent, with_sub_agents(codec.MAX_ELEMENTS - 1))
    with pytest.raises(ResourceExhausted, match="more than 100000 parts"):
        codec.parse_request(Agent, with_sub_agents(codec.MAX_ELEMENTS))
    with pytest.raises(ResourceExhausted, match="more than 100000 parts"):
        codec.parse_request(ListSessionsRequest, TAG * (codec.MAX_ELEMENTS + 1))


def test_a_message_of_too_many_unknown_fields_is_refused() -> None:
    few = UNKNOWN * 1000
    assert unknown_size(codec.parse_request(Agent, few)) == len(few)
    with pytest.raises(ResourceExhausted, match="unknown to this server"):
        codec.parse_request(Agent, UNKNOWN * (codec.MAX_UNKNOWN_BYTES // len(UNKNOWN) + 1))


def test_what_is_stored_may_have_more_parts_than_one_request() -> None:
    """Reports add up: a row that no request could bring at once must still be read."""
    stored = with_sub_agents(codec.MAX_ELEMENTS + 1)
    spec = codec.decode(Agent, stored).spec
    assert spec is not None
    assert len(spec.sub_agents) == codec.MAX_ELEMENTS + 1


def test_all_broken_fields_are_told_of_messages_with_few_parts_alone() -> None:
    few, many = 500, validation.MAX_PARTS + 1
    told = validation.violations(codec.parse(Agent, with_sub_agents(few)))
    assert sum(violation.field.startswith("spec.sub_agents[") for violation in told) == 2 * few
    assert len(validation.violations(codec.parse(Agent, with_sub_agents(many)))) == 1


def test_a_long_message_with_few_parts_has_all_its_broken_fields_told() -> None:
    agent = codec.to_wire(Agent(kind="x" * 10_000, spec=AgentSpec(sub_agents=[SubAgent()])))
    fields = [violation.field for violation in validation.violations(agent)]
    assert {"kind", "metadata", "spec.instructions", "spec.sub_agents[0].name"} <= set(fields)
