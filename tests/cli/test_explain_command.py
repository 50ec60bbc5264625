"""`stigmer explain`: the words of the protos."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ended_command import Command


def test_a_kind_is_explained_with_its_fields(command: Command) -> None:
    status, out, err = command("explain", "agents")
    assert (status, err) == (0, "")
    assert out.startswith("Agent (agentic.stigmer.ai/v1)\n  A reusable definition of who does the work:")
    assert "\n  spec  <AgentSpec>\n" in out


@pytest.mark.parametrize("field", ["agent.spec.mcpServers", "agent.spec.mcp_servers"])
def test_a_field_is_explained_with_what_is_in_it(command: Command, field: str) -> None:
    out = command("explain", field).out
    assert "<list of McpServerDefinition>\n  An MCP server that the agent can use" in out
    assert "\n  name  <text>\n    Unique among the MCP servers of an agent.\n" in out


def test_maps_enums_and_single_values_are_told(command: Command) -> None:
    assert "  data  <map of EnvironmentValue>\n" in command("explain", "env.spec").out
    assert "<platform|organization|identity_account>" in command("explain", "env.metadata.ownerScope").out
    assert "isSecret  <true or false>\n    A secret value is never logged" in command("explain", "env.spec.data").out


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("agnt", "no kind 'agnt'; did you mean 'agent'?"),
        ("agent.spce", "agent.spce: no field 'spce'; did you mean 'spec'?"),
        ("agent.kind.x", "agent.kind.x: no field 'x'; a single value has none"),
    ],
)
def test_a_typo_is_told_with_what_was_meant(command: Command, what: str, told: str) -> None:
    assert command("explain", what) == (1, "", f"stigmer: {told}\n")
