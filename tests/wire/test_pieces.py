"""A long message is written a piece at a time, into the same bytes as in one go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire_strategies import messages

from stigmer.wire import codec, descriptors
from stigmer.wire.pieces import ENTRIES_A_PIECE, written

if TYPE_CHECKING:
    from google.protobuf.message import Message

_PACKAGE = "ai.stigmer.agentic.agentexecution.v1"


@pytest.mark.parametrize("name", [f"{_PACKAGE}.AgentExecution", f"{_PACKAGE}.AgentExecutionUpdateStatusInput"])
def test_the_bytes_are_those_that_the_c_runtime_writes_in_one_go(name: str) -> None:
    @settings(deadline=None, max_examples=50, suppress_health_check=list(HealthCheck))
    @given(messages(descriptors.descriptor(name)), st.sampled_from([0, 1, 120]))
    def same(wire: Message, more: int) -> None:
        entry = {"content": "x", "tool_calls": [{"id": "t"}]}
        wire.MergeFrom(type(wire)(status={"messages": [entry] * more, "todos": {"a": {}, "b": {}}}))
        *pauses, data = written(wire)
        assert data == codec.serialized(wire)
        assert set(pauses) == {None}
        assert len(pauses) >= more // ENTRIES_A_PIECE

    same()
