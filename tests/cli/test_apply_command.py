"""`stigmer apply`, against a server: what is made of manifests, in which order, and what is printed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from ended_command import Command

    from stigmer.sync import Client

ALL = """\
kind: AgentInstance
metadata: {name: Careful}
spec:
  agent: writer
  environmentRefs: [ORG/staging]
---
apiVersion: agentic.stigmer.ai/v1
kind: Agent
metadata:
  name: Writer
spec:
  instructions: Write what is wanted.
  mcp_servers:
  - name: search
    http: {url: "https://example.com", timeoutSeconds: 3}
---
kind: Environment
metadata: {name: Staging}
spec:
  data:
    TZ: UTC
    KEY: {value: k-1, isSecret: true}
"""


@pytest.fixture
def manifest(tmp_path: Path, org: str) -> Path:
    path = tmp_path / "all.yaml"
    path.write_text(ALL.replace("ORG", org))
    return path


def test_those_that_others_refer_to_are_made_first(
    manifest: Path, stigmer: Command, org_client: Client, org: str
) -> None:
    made = stigmer("apply", "-f", str(manifest))
    assert made.out.splitlines() == ["agent/writer created", "environment/staging created", "instance/careful created"]
    assert (made.status, made.err) == (0, "3 created\n")
    agent, instance = org_client.agents.get("writer"), org_client.instances.get("careful")
    assert agent.metadata
    assert agent.spec
    assert agent.spec.mcp_servers[0].http
    assert agent.spec.mcp_servers[0].http.timeout_seconds == 3
    assert instance.spec
    assert instance.spec.agent_id == agent.metadata.id
    assert [(one.org, one.slug) for one in instance.spec.environment_refs] == [(org, "staging")]


def test_applied_again_nothing_changes_but_what_brings_a_secret(manifest: Path, stigmer: Command) -> None:
    stigmer("apply", "-f", str(manifest))
    again = stigmer("apply", "-f", str(manifest))
    assert again.out.splitlines() == [
        "agent/writer unchanged",
        "environment/staging updated",
        "instance/careful unchanged",
    ]
    assert again.err == "1 updated, 2 unchanged\n"


def test_a_dry_run_tells_the_same_and_makes_nothing(manifest: Path, stigmer: Command) -> None:
    tried = stigmer("apply", "-f", str(manifest), "--dry-run")
    assert tried.out.splitlines() == [
        "agent/writer created (dry run)",
        "environment/staging created (dry run)",
        "instance/careful created (dry run)",
    ]
    assert stigmer("get", "agents").out == stigmer("get", "env").out == ""


@pytest.mark.parametrize("output", ["yaml", "json"])
def test_what_get_prints_is_applied_as_unchanged_and_the_mark_keeps_the_secret(
    manifest: Path, stigmer: Command, org_client: Client, output: str
) -> None:
    stigmer("apply", "-f", str(manifest))
    printed = stigmer("get", "environments", "-o", output).out
    assert stigmer("apply", "-f", "-", stdin=printed).out == "environment/staging unchanged\n"
    changed = printed.replace("UTC", "CET")
    assert stigmer("apply", "-f", "-", stdin=changed).out == "environment/staging updated\n"
    spec = org_client.environments.get("staging").spec
    assert spec
    assert (spec.data["TZ"].value, spec.data["KEY"].value) == ("CET", "k-1")


def test_a_directory_is_walked_for_yaml_and_json(tmp_path: Path, stigmer: Command) -> None:
    (tmp_path / "m" / "deep").mkdir(parents=True)
    agent = {"kind": "Agent", "metadata": {"name": "A"}, "spec": {"instructions": "Do what is wanted."}}
    (tmp_path / "m" / "a.json").write_text(json.dumps([agent], indent="\t"))
    (tmp_path / "m" / "deep" / "b.yml").write_text(json.dumps(agent).replace('"A"', '"B"'))
    (tmp_path / "m" / "README.md").write_text("- no manifest")
    assert stigmer("apply", "-f", str(tmp_path / "m")).out == "agent/a created\nagent/b created\n"


def test_what_the_server_refuses_is_told_with_its_place_and_the_others_are_applied(stigmer: Command) -> None:
    documents = """\
kind: AgentInstance
metadata: {name: Lost}
spec: {agent: nobody}
---
kind: Environment
metadata: {name: Marked}
spec:
  data:
    KEY: {value: "***REDACTED***", isSecret: true}
---
kind: Environment
metadata: {name: Plain}
spec: {data: {TZ: UTC}}
"""
    ended = stigmer("apply", "-f", "-", stdin=documents)
    assert (ended.status, ended.out) == (1, "environment/plain created\n")
    summed, lost, marked = ended.err.splitlines()
    assert summed == "1 created"
    assert lost.startswith("stigmer: -:1:1: instance/lost: ")
    assert "nobody" in lost
    assert marked.startswith('stigmer: -:9:18: spec.data["KEY"].value: is ***REDACTED***, but no secret value')


def test_a_file_that_is_not_there_is_told(stigmer: Command) -> None:
    ended = stigmer("apply", "-f", "nowhere.yaml")
    assert ended == (1, "", "stigmer: nowhere.yaml: there is no such file or directory\n")
