"""A program of somebody who knows `stigmer.Client` by its type hints: what they refuse, a `type: ignore` says.

`make check` has both type checkers read it, as strictly as they can; mypy refuses an ignore that is not needed.
test_customer.py runs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

import stigmer
from stigmer.types import (
    Agent,
    AgentExecution,
    Environment,
    EnvironmentValue,
    ExecutionPhase,
    HttpServer,
    McpServerDefinition,
    Session,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import stigmer.sync


async def visit(client: stigmer.Client) -> list[str]:
    """Use much of it; answers the phases of an execution."""
    agent = await client.agents.apply(
        name="Reviewer",
        owner_scope="organization",
        labels={"team": "a"},
        instructions="Review the change, name what is wrong.",
        mcp_servers=[
            {"name": "a", "stdio": {"command": "x", "args": ["-v"]}, "enabled_tools": ["t"]},
            McpServerDefinition(name="b", http=HttpServer(url="https://example.com")),
        ],
        sub_agents=[{"name": "s", "instructions": "Help the one who asks.", "mcp_tool_selections": {"a": {}}}],
    )
    assert_type(agent, Agent)
    assert_type(await client.agents.get("reviewer", default=None), Agent | None)
    prod = await client.environments.create(name="Prod", data={"A": "1", "B": EnvironmentValue(value="2")})
    assert_type(prod, Environment)
    instance = await client.instances.create(name="i", agent=agent, environment_refs=[prod, "acme/prod"])
    session = await client.sessions.create(agent_instance=instance, metadata={"any": "thing"})
    assert_type(session, Session)
    run = await client.executions.create(session=session, message="Hello", callback_token=b"t")
    await client.executions.update_status(
        execution=run, status={"phase": ExecutionPhase.EXECUTION_FAILED, "error": "x"}
    )
    found: list[str] = []
    async for state in client.executions.watch(run):
        assert_type(state, AgentExecution)
        found.append(str(state.status.phase.name) if state.status else "")
    async for one in client.executions.list(phase="EXECUTION_FAILED", tags=[]):
        assert_type(one, AgentExecution)
    async for page in client.executions.list().pages():
        assert_type(page.entries, list[AgentExecution])
    return found


def visit_at_leisure(client: stigmer.sync.Client) -> list[Session]:
    """The same names, without a loop."""
    agent = client.agents.apply(name="Reviewer", instructions="Review the change, name what is wrong.")
    assert_type(agent, Agent)
    assert_type(client.agents.get("reviewer", default=0), Agent | int)
    for state in client.executions.watch("aex-1") if agent.spec is None else ():
        assert_type(state, AgentExecution)
    return [*client.sessions.list(tags=["x"])]


def mistakes(client: stigmer.Client) -> list[Callable[[], object]]:
    """Calls that no type checker lets pass."""
    return [
        lambda: client.agents.create(instuctions="x"),  # type: ignore[call-arg]
        lambda: client.agents.create(name=3),  # type: ignore[arg-type]
        lambda: client.agents.create(tags="x", owner_scope="organisation"),  # type: ignore[arg-type]
        lambda: client.agents.create(mcp_servers=[{"nmae": "x"}]),  # type: ignore[list-item]
        lambda: client.executions.apply(message="x"),  # type: ignore[attr-defined]
        lambda: client.instances.create(agent=Environment()),  # type: ignore[arg-type]
        lambda: client.sessions.get(3),  # type: ignore[call-overload]
    ]
