"""Manifests with faults, each with the message that is expected: place, field, what is wrong, what was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from ended_command import Command

AGENT = "kind: Agent\nmetadata: {name: X}\nspec:\n  instructions: Do what is wanted.\n"
ENVIRONMENT = "kind: Environment\nmetadata: {name: X}\nspec:\n  data:\n"

BAD = {
    "a kind misspelled": ("kind: Agnt\n", "1:7: kind: no kind 'Agnt'; did you mean 'Agent'?"),
    "a kind in small letters": ("kind: environment\n", "1:7: kind: no kind 'environment'; did you mean 'Environment'?"),
    "no kind": ("metadata: {name: X}\n", "1:1: kind: is missing: one of Agent, AgentExecution, AgentInstance"),
    "a kind that is not applied": ("kind: AgentExecution\n", "1:7: kind: AgentExecution cannot be applied"),
    "a text": ("hello\n", "1:1: must be a mapping of fields, with kind, metadata and spec"),
    "a list of numbers": ("- 5\n", "1:3: must be a mapping of fields, with kind, metadata and spec"),
    "another version": ("apiVersion: v2\n" + AGENT, "1:13: api_version: must equal `agentic.stigmer.ai/v1`"),
    "no metadata": ("kind: Agent\nspec: {instructions: Do what is wanted.}\n", "metadata.name: "),
    "an empty name": (AGENT.replace("X", "''"), "2:18: metadata.name: "),
    "a number for a name": (AGENT.replace("X", "5"), "2:18: metadata.name: is a number, and must be a text: put it"),
    "a boolean for a name": (AGENT.replace("X", "yes"), "2:18: metadata.name: is true or false, and must be a text"),
    "a date for a name": (AGENT.replace("X", "2026-01-01"), "2:18: metadata.name: is a date, and must be a text"),
    "a bad slug": (AGENT.replace("X", "X, slug: 'A B'"), "2:27: metadata.slug: "),
    "a field misspelled in metadata": (AGENT.replace("name", "nam"), "2:12: metadata.nam: is no field here; did you"),
    "a field misspelled at the root": (
        AGENT.replace("spec:", "spce:"),
        "3:1: spce: is no field here; did you mean 'spec'",
    ),
    "a field misspelled in spec": (
        AGENT + "  skillRef: []\n",
        "5:3: spec.skillRef: is no field here; did you mean 'skillRefs'",
    ),
    "a field that nothing is like": (AGENT + "  zzz: 1\n", "5:3: spec.zzz: is no field here; there are description"),
    "a field twice": (AGENT + "  instructions: And once more.\n", "5:3: spec.instructions: is given twice"),
    "a field twice in two spellings": (AGENT + "  iconUrl: a\n  icon_url: b\n", "6:3: spec.icon_url: is given twice"),
    "a scope misspelled": (
        AGENT.replace("X", "X, ownerScope: organisation"),
        "2:33: metadata.owner_scope: 'organisation' is none of its values; did you mean 'organization'?",
    ),
    "a scope not allowed": (AGENT.replace("X", "X, ownerScope: identity_account"), "must be platform or organization"),
    "labels that are a list": (AGENT.replace("X", "X, labels: [a]"), "2:29: metadata.labels: must be a mapping"),
    "a label that is a number": (AGENT.replace("X", "X, labels: {a: 1}"), '2:33: metadata.labels["a"]: is a number'),
    "tags that are a text": (AGENT.replace("X", "X, tags: a"), "2:27: metadata.tags: must be a list"),
    "a tag that is a mapping": (AGENT.replace("X", "X, tags: [{}]"), "2:28: metadata.tags[0]: must be a single value"),
    "metadata that is a text": ("kind: Agent\nmetadata: X\n", "2:11: metadata: must be a mapping of fields"),
    "a spec that is a list": ("kind: Agent\nmetadata: {name: X}\nspec: []\n", "3:7: spec: must be a mapping of fields"),
    "instructions too short": (
        AGENT.replace("Do what is wanted.", "Do."),
        "4:17: spec.instructions: must be at least 10",
    ),
    "instructions that are a list": (
        AGENT.replace("Do what is wanted.", "[a]"),
        "4:17: spec.instructions: must be a single",
    ),
    "servers that are a mapping": (AGENT + "  mcpServers: {}\n", "5:15: spec.mcp_servers: must be a list"),
    "a server that is a text": (
        AGENT + "  mcpServers: [a]\n",
        "5:16: spec.mcp_servers[0]: must be a mapping of fields",
    ),
    "a server without a name": (AGENT + "  mcpServers: [{http: {url: u}}]\n", "5:16: spec.mcp_servers[0].name: "),
    "a field of a server misspelled": (
        AGENT + "  mcpServers: [{name: a, htp: {}}]\n",
        "5:26: spec.mcp_servers[0].htp: is no field here; did you mean 'http'?",
    ),
    "a timeout that is a text": (
        AGENT + "  mcpServers: [{name: a, http: {url: u, timeoutSeconds: soon}}]\n",
        "spec.mcp_servers[0].http.timeout_seconds: is a text, and must be a whole number",
    ),
    "a timeout that is too large": (
        AGENT + "  mcpServers: [{name: a, http: {url: u, timeoutSeconds: 9999999999}}]\n",
        "spec.mcp_servers[0].http.timeout_seconds: must be between",
    ),
    "a timeout that is a fraction": (
        AGENT + "  mcpServers: [{name: a, http: {url: u, timeoutSeconds: 1.5}}]\n",
        "spec.mcp_servers[0].http.timeout_seconds: is a fraction, and must be a whole number",
    ),
    "a boolean that is a text": (
        ENVIRONMENT + "    K: {value: v, isSecret: 'true'}\n",
        '5:29: spec.data["K"].is_secret: is a text, and must be true or false',
    ),
    "a value that is a number": (
        ENVIRONMENT + "    PORT: 8080\n",
        '5:11: spec.data["PORT"]: is a number, and must be a text',
    ),
    "a value that is a boolean": (
        ENVIRONMENT + "    DEBUG: on\n",
        '5:12: spec.data["DEBUG"]: is true or false, and must',
    ),
    "a value that is a list": (ENVIRONMENT + "    K: [a]\n", '5:8: spec.data["K"]: must be a mapping of fields'),
    "a variable twice": (ENVIRONMENT + "    K: a\n    K: b\n", "6:5: spec.data.K: is given twice"),
    "a field of a value misspelled": (
        ENVIRONMENT + "    K: {value: v, secret: true}\n",
        "5:19: spec.data[\"K\"].secret: is no field here; did you mean 'isSecret'?",
    ),
    "an instance without an agent": ("kind: AgentInstance\nmetadata: {name: X}\nspec: {}\n", "3:7: spec.agent_id: "),
    "a reference that is a list": (
        "kind: AgentInstance\nmetadata: {name: X}\nspec: {agent: [a]}\n",
        "3:15: spec.agent_id: must be a single value",
    ),
    "syntax: a bracket left open": ("kind: [Agent\n", "2:1: "),
    "syntax: a tab": ("kind: Agent\nmetadata:\n\tname: X\n", "3:1: found character"),
    "syntax: an indentation": ("kind: Agent\n  metadata: {}\n", "2:11: mapping values are not allowed"),
    "syntax: an unknown anchor": ("kind: *nobody\n", "1:7: found undefined alias"),
    "syntax: a text left open": ("kind: 'Agent\n", "found unexpected end of stream"),
    "a merge of no mapping": ("kind: Agent\n<<: 5\n", "2:5: expected a mapping"),
    "a key that is a list": ("kind: Agent\n[a]: b\n", "2:1: a key must be a text"),
    "nothing": ("# nothing\n", "no manifest there"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_fault_is_told_with_its_place(tmp_path: Path, stigmer: Command, fault: str) -> None:
    text, message = BAD[fault]
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    ended = stigmer("apply", "-f", str(path))
    assert (ended.status, ended.out) == (1, "")
    assert message in ended.err
    assert len(ended.err.splitlines()) == 1


def test_all_faults_of_all_files_are_told_at_once_and_nothing_is_applied(tmp_path: Path, stigmer: Command) -> None:
    (tmp_path / "a.yaml").write_text(AGENT + "  zzz: 1\n---\n" + AGENT.replace("Do what is wanted.", "Do."))
    (tmp_path / "b.yaml").write_text(AGENT.replace("name", "nam").replace("Do what is wanted.", "Do."))
    (tmp_path / "c.yaml").write_text(AGENT)
    ended = stigmer("apply", "-f", str(tmp_path))
    assert ended.status == 1
    places = [line.removeprefix(f"stigmer: {tmp_path}/").split(": ")[:2] for line in ended.err.splitlines()]
    assert places == [
        ["a.yaml:5:3", "spec.zzz"],
        ["a.yaml:10:17", "spec.instructions"],
        ["b.yaml:2:12", "metadata.nam"],
        ["b.yaml:4:17", "spec.instructions"],
    ]
    assert stigmer("get", "agents").out == ""
