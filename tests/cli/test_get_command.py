"""`stigmer get` and `stigmer delete`, against a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from ended_command import Command

    from stigmer.sync import Client

TEXT = "Review the change,\nname what is wrong.\n"


@pytest.fixture
def agent(org_client: Client) -> Client:
    org_client.agents.create(name="Reviewer", instructions=TEXT, tags=["nightly", "a"], labels={"team": "core"})
    org_client.agents.create(name="Writer", instructions="Write what is wanted.", tags=["a"])
    return org_client


@pytest.fixture
def environment(org_client: Client) -> Client:
    org_client.environments.create(name="Prod", data={"TZ": "UTC", "KEY": {"value": "k-1", "is_secret": True}})
    return org_client


@pytest.mark.parametrize("word", ["agent", "agents", "Agent", "ag"])
@pytest.mark.usefixtures("agent")
def test_a_kind_is_named_in_the_singular_the_plural_or_short(stigmer: Command, word: str) -> None:
    status, out, err = stigmer("get", word)
    assert (status, err) == (0, "")
    heading, *rows = [line.split() for line in out.splitlines()]
    assert heading == ["NAME", "ORG", "AGE"]
    assert [row[0] for row in rows] == ["writer", "reviewer"]


@pytest.mark.parametrize(
    ("word", "hint"), [("agnt", "did you mean 'agent'?"), ("zzz", "there are agents, executions, instances")]
)
def test_a_typo_in_a_kind_is_told_with_what_was_meant(stigmer: Command, word: str, hint: str) -> None:
    status, out, err = stigmer("get", word)
    assert (status, out) == (1, "")
    assert err.startswith(f"stigmer: no kind '{word}'; {hint}")


@pytest.mark.parametrize("flags", [("--tags", "a,nightly"), ("-l", "team=core"), ("reviewer",)])
@pytest.mark.usefixtures("agent")
def test_tags_labels_and_names_choose(stigmer: Command, flags: tuple[str, ...]) -> None:
    assert stigmer("get", "agents", *flags, "-o", "name") == (0, "agent/reviewer\n", "")


@pytest.mark.usefixtures("agent")
def test_another_organization_has_its_own(stigmer: Command, org: str) -> None:
    assert stigmer("get", "agents", "--org", "elsewhere", "-o", "name") == (0, "", "No agent found\n")
    assert stigmer("get", "agent", f"{org}/writer", "--org", "elsewhere", "-o", "name").out == "agent/writer\n"


@pytest.mark.usefixtures("agent")
def test_one_that_is_not_there_is_1_and_the_others_are_printed(stigmer: Command) -> None:
    asked = stigmer("get", "agents", "writer", "nobody", "none", "-o", "name")
    assert asked == (1, "agent/writer\n", "stigmer: agent not found: nobody\nstigmer: agent not found: none\n")


@pytest.mark.usefixtures("agent")
def test_json_is_one_document(stigmer: Command) -> None:
    assert json.loads(stigmer("get", "agent", "reviewer", "-o", "json").out)["spec"] == {"instructions": TEXT}
    both: list[dict[str, Any]] = json.loads(stigmer("get", "agents", "-o", "json").out)
    assert [one["metadata"]["slug"] for one in both] == ["writer", "reviewer"]


@pytest.mark.usefixtures("agent")
def test_yaml_leaves_out_what_the_server_owns(stigmer: Command, org: str) -> None:
    out = stigmer("get", "agent", "reviewer", "-o", "yaml").out
    assert "  instructions: |\n    Review the change,\n    name what is wrong.\n" in out
    assert yaml.safe_load(out) == {
        "apiVersion": "agentic.stigmer.ai/v1",
        "kind": "Agent",
        "metadata": {
            "name": "Reviewer",
            "slug": "reviewer",
            "org": org,
            "ownerScope": "organization",
            "labels": {"team": "core"},
            "tags": ["nightly", "a"],
        },
        "spec": {"instructions": TEXT},
    }
    full = yaml.safe_load(stigmer("get", "agent", "reviewer", "-o", "yaml", "--full").out)
    assert {"id", "version"} < full["metadata"].keys()
    assert full["status"]["audit"]


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("names", [(), ("prod",)])
def test_secrets_show_as_the_mark_unless_they_are_asked_for(stigmer: Command, names: tuple[str, ...]) -> None:
    assert "k-1" not in (marked := stigmer("get", "env", *names, "-o", "yaml").out)
    assert "***REDACTED***" in marked
    assert "value: k-1\n" in stigmer("get", "env", *names, "-o", "yaml", "--show-secrets").out


def test_executions_are_told_by_their_ids_and_phases(org_client: Client, stigmer: Command) -> None:
    org_client.agents.create(name="Reviewer", instructions=TEXT)
    run = org_client.executions.create(agent="reviewer", message="Please.")
    assert run.metadata
    row = dict(zip(*map(str.split, stigmer("get", "executions").out.splitlines()), strict=True))
    assert (row["NAME"], row["PHASE"]) == (run.metadata.id, "PENDING")
    wide = stigmer("get", "exec", run.metadata.id, "-o", "wide").out.splitlines()
    assert wide[0].split() == ["NAME", "ORG", "PHASE", "AGE", "ID", "TITLE", "TAGS"]


@pytest.mark.usefixtures("agent")
def test_deleted_is_what_is_there_and_1_where_some_is_not(stigmer: Command) -> None:
    assert stigmer("delete", "agent", "writer", "--dry-run") == (0, "agent/writer deleted (dry run)\n", "")
    asked = stigmer("delete", "agents", "nobody", "writer", "reviewer")
    assert asked[:2] == (1, "agent/writer deleted\nagent/reviewer deleted\n")
    assert "nobody" in asked.err
    assert stigmer("get", "agents") == (0, "", "No agent found\n")


def test_where_no_server_runs_the_message_says_how_to_start_one(
    stigmer: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STIGMER_SERVER", "127.0.0.1:1")
    for command in (("get", "agents"), ("delete", "agent", "x")):
        status, out, err = stigmer(*command)
        assert (status, out) == (1, "")
        assert err.startswith("stigmer: 127.0.0.1:1: ")
        assert "start a server with `stigmer serve`" in err


@pytest.mark.usefixtures("agent", "stigmer")
def test_a_closed_pipe_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "stigmer", "get", "agents"]
    ended = subprocess.run(command, check=False, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, "")
