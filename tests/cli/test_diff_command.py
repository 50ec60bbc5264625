"""`stigmer diff`, against a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ended_command import Command

AGENT = "kind: Agent\nmetadata: {name: Writer}\nspec: {instructions: Write what is wanted.}\n"
INSTANCE = "kind: AgentInstance\nmetadata: {name: Careful}\nspec: {agent: writer}\n"
SECRET = "kind: Environment\nmetadata: {name: Prod}\nspec: {data: {K: {value: k-1, isSecret: true}}}\n"


def test_what_is_not_there_is_all_new_and_nothing_is_made(stigmer: Command) -> None:
    status, out, err = stigmer("diff", "-f", "-", stdin=f"{INSTANCE}---\n{AGENT}")
    assert (status, err) == (1, "")
    assert "+++ agent/writer then\n" in out
    assert "+  instructions: Write what is wanted.\n" in out
    assert out.endswith("+++ instance/careful (with what it refers to)\n")
    assert stigmer("get", "agents").out == ""


def test_what_is_there_is_no_difference_until_it_changes(stigmer: Command) -> None:
    stigmer("apply", "-f", "-", stdin=AGENT)
    assert stigmer("diff", "-f", "-", stdin=AGENT) == (0, "", "")
    status, out, _ = stigmer("diff", "-f", "-", stdin=AGENT.replace("wanted", "needed"))
    assert status == 1
    assert "-  instructions: Write what is wanted.\n+  instructions: Write what is needed.\n" in out
    assert stigmer("diff", "-f", "-", stdin=AGENT) == (0, "", "")


def test_a_secret_value_is_a_difference_and_is_not_shown(stigmer: Command) -> None:
    stigmer("apply", "-f", "-", stdin=SECRET)
    assert stigmer("diff", "-f", "-", stdin=SECRET) == (1, "# environment/prod brings secret values\n", "")
    assert "k-1" not in stigmer("diff", "-f", "-", stdin=SECRET.replace("Prod", "Other")).out


def test_what_cannot_be_told_is_2(stigmer: Command) -> None:
    status, out, err = stigmer("diff", "-f", "-", stdin="kind: Agnt\n")
    assert (status, out) == (2, "")
    assert err == "stigmer: -:1:7: kind: no kind 'Agnt'; did you mean 'Agent'?\n"
    assert stigmer("diff", "-f", "-", stdin=INSTANCE).status == 2
