"""What is in a message is counted on its bytes, so that one of a few bytes a part cannot hold up everybody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from effort import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire_strategies import message_names, messages

from stigmer._gen.ai.stigmer.agentic.agent.v1 import Agent, AgentSpec, SubAgent
from stigmer._gen.ai.stigmer.agentic.environment.v1 import Environment, EnvironmentSpec, EnvironmentValue
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceMetadata
from stigmer.errors import ResourceExhausted, Violation
from stigmer.pipeline import rules
from stigmer.wire import codec, descriptors, shapes
from stigmer.wire.message_types import full_name_of
from stigmer.wire.scalars import varint
from stigmer.wire.scan import (
    GUESSED_BYTES,
    MAX_FIELDS,
    MAX_UNKNOWN_BYTES,
    MAX_UNKNOWN_FIELDS,
    has_more_parts,
    scan,
    surely_fits,
)
from stigmer.wire.slices import at_once

if TYPE_CHECKING:
    import betterproto2
    from google.protobuf.message import Message

AGENT = "ai.stigmer.agentic.agent.v1.Agent"
LIST = "ai.stigmer.agentic.session.v1.ListSessionsRequest"
SUB_AGENT = b"\x32\x00"  # field 6 of AgentSpec, empty
TAG = b"\x1a\x00"  # field 3 of ListSessionsRequest, empty
PAGE_SIZE = b"\x08\x01"  # field 1 of ListSessionsRequest
UNKNOWN = b"\xf8\x3f\x01"  # a varint that no message has
quick = settings(deadline=None, max_examples=10, suppress_health_check=list(HealthCheck))


def with_sub_agents(count: int) -> bytes:
    spec = SUB_AGENT * count
    return b"\x22" + varint(len(spec)) + spec


def parts_of(message: betterproto2.Message) -> int:
    """By trying."""
    name, data = full_name_of(type(message)), codec.encode(message)
    return next(limit for limit in range(1_000) if not has_more_parts(name, data, limit))


def told(wire: Message) -> list[Violation]:
    return at_once(rules.violations(wire))


def test_parts_are_counted_at_all_depths() -> None:
    agent = Agent(spec=AgentSpec(sub_agents=[SubAgent(mcp_servers=["a", "b"]), SubAgent()]))
    assert parts_of(agent) == 1 + 2 + 2  # the spec, the sub-agents, the texts


def test_an_entry_of_a_map_is_one_part_and_what_is_in_its_value_counts_too() -> None:
    spec = EnvironmentSpec(data={"A": EnvironmentValue(value="1"), "B": EnvironmentValue()})
    environment = Environment(metadata=ApiResourceMetadata(labels={"k": "v"}), spec=spec)
    assert parts_of(environment) == 1 + 1 + 1 + 2  # metadata, its label, the spec, its values


def parts_on_the_wire(wire: Message) -> int:
    """The same count, by the C runtime's own view of the message."""
    count = 0
    for field, value in wire.ListFields():
        if shapes.is_map(field):
            of_messages = shapes.map_parts(field)[1].message_type is not None
            count += len(value) + sum(parts_on_the_wire(value[key]) for key in value if of_messages)
        elif field.is_repeated:
            count += len(value) + sum(parts_on_the_wire(one) for one in value if field.message_type is not None)
        elif field.message_type is not None:
            count += 1 + parts_on_the_wire(value)
    return count


@pytest.mark.parametrize("name", message_names())
def test_it_counts_what_the_c_runtime_finds(name: str) -> None:
    @quick
    @given(messages(descriptors.descriptor(name)))
    def counted(wire: Message) -> None:
        data, parts = wire.SerializeToString(), parts_on_the_wire(wire)
        assert not has_more_parts(name, data, parts)
        assert not parts or has_more_parts(name, data, parts - 1)
        assert not parts or not surely_fits(name, data, parts - 1)

    counted()


@pytest.mark.longer
@settings(deadline=None, max_examples=examples(100, 5_000))
@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_are_left_for_the_parser(data: bytes) -> None:
    assert list(scan(AGENT, data, 1_000)) == []


def test_a_number_without_end_is_not_read_to_the_end() -> None:
    for data in (b"\xff" * 1_000_000, b"\x08" + b"\xff" * 1_000_000, b"\x22" + b"\xff" * 1_000_000, b"\x0b\x0c\x0e"):
        assert list(scan(AGENT, data, 10)) == []


def test_groups_hide_nothing() -> None:
    """Fields in one are counted as if they stood beside it."""
    group = b"\xfb\x3f" + with_sub_agents(20) + b"\xfc\x3f"
    assert has_more_parts(AGENT, group, 10)


def test_more_parts_than_wanted_are_refused() -> None:
    assert not list(scan(AGENT, with_sub_agents(99), 100))
    for name, data in ((AGENT, with_sub_agents(100)), (LIST, TAG * 101)):
        with pytest.raises(ResourceExhausted, match="has more than 100 parts"):
            list(scan(name, data, 100))


@pytest.mark.parametrize("most", [10_000, pytest.param(MAX_FIELDS, marks=pytest.mark.long)])
def test_more_fields_than_anybody_needs_are_refused(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: the same number a million times over, of which the last one counts."""
    monkeypatch.setattr("stigmer.wire.scan.MAX_FIELDS", most)
    assert list(scan(LIST, PAGE_SIZE * most, 100))
    with pytest.raises(ResourceExhausted, match=f"has more than {most} fields"):
        list(scan(LIST, PAGE_SIZE * (most + 1), 100))


def test_more_unknown_fields_than_wanted_are_refused() -> None:
    assert list(scan(AGENT, UNKNOWN * MAX_UNKNOWN_FIELDS, 100_000))
    assert not list(scan(AGENT, long_unknown(MAX_UNKNOWN_BYTES - 6), 100_000))
    for data in (UNKNOWN * (MAX_UNKNOWN_FIELDS + 1), long_unknown(MAX_UNKNOWN_BYTES)):
        with pytest.raises(ResourceExhausted, match="unknown here"):
            list(scan(AGENT, data, 100_000))


def long_unknown(size: int) -> bytes:
    return b"\xfa\x3f" + varint(size) + b"x" * size


def test_what_surely_fits_does_fit_however_it_is_written() -> None:
    long_tag = b"\xa2\x00"  # field 4, in two bytes
    spec = b"\xb2\x00\x00" * 3_000  # sub-agents, each with a needlessly long tag
    data = long_tag + varint(len(spec)) + spec
    assert codec.parse(AGENT, data).ByteSize() < len(data)
    assert surely_fits(AGENT, data, 4_501)  # fewer than two bytes each
    assert not surely_fits(AGENT, data, 2_999)
    text = Agent(spec=AgentSpec(instructions="x" * 9_000, sub_agents=[SubAgent()] * 10))
    assert surely_fits(AGENT, codec.encode(text), 15)
    assert not surely_fits(AGENT, codec.encode(text), 10)


def test_it_is_not_guessed_whether_long_messages_fit() -> None:
    assert not surely_fits(AGENT, codec.encode(Agent(kind="x" * GUESSED_BYTES)), 1_000)


def test_it_lets_go_now_and_then() -> None:
    assert len(list(scan(LIST, TAG * 5_000, 10_000))) == 10


def test_all_broken_fields_are_told_of_messages_with_few_parts_alone() -> None:
    few, many = rules.MAX_PARTS - 1, rules.MAX_PARTS + 1
    found = told(codec.parse(Agent, with_sub_agents(few)))
    assert sum(violation.field.startswith("spec.sub_agents[") for violation in found) == 2 * few
    assert len(told(codec.parse(Agent, with_sub_agents(many)))) == 1


def test_a_long_message_with_few_parts_has_all_its_broken_fields_told() -> None:
    agent = codec.to_wire(Agent(kind="x" * 10_000, spec=AgentSpec(sub_agents=[SubAgent()])))
    fields = [violation.field for violation in told(agent)]
    assert {"kind", "metadata", "spec.instructions", "spec.sub_agents[0].name"} <= set(fields)
