"""CreateExecutionContext: the values that an execution runs with, apart from the execution itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from stigmer._gen.ai.stigmer.agentic.executioncontext.v1 import ExecutionValue
from stigmer.access.principal import identity, organization
from stigmer.errors import Code, FailedPrecondition, StigmerError, clip
from stigmer.pipeline.kind import required
from stigmer.pipeline.made_contexts import MADE_CONTEXTS, RUNTIME_ENV_KEYS, context_of
from stigmer.steps import other_kinds
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stigmer._gen.ai.stigmer.agentic.agent.v1 import Agent
    from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import AgentExecution
    from stigmer._gen.ai.stigmer.agentic.agentinstance.v1 import AgentInstance
    from stigmer._gen.ai.stigmer.agentic.environment.v1 import Environment
    from stigmer._gen.ai.stigmer.agentic.session.v1 import Session
    from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceMetadata, ApiResourceReference
    from stigmer.pipeline.context import AnyContext, Context
    from stigmer.store.rows import Row

MAX_NAMES = 100
"""How many keys a log line names."""

log = get_logger("stigmer.steps.create_execution_context")


class Value(Protocol):
    """One value of a layer, of whatever kind it comes from; an empty one only declares its key."""

    value: str
    is_secret: bool


@dataclass(frozen=True, slots=True)
class CreateExecutionContext:
    """Make the execution's context downstream, where anything would be in it; note the keys of `runtime_env`.

    Merged are, the lowest first, the values of the agent's `env_spec`, of the instance's environments, and of the
    request's `runtime_env`; of an agent that declares keys, only those stay. Reads the request and `new_state`, an
    execution, which it stages: its context is whose it is. Refuses an environment that is not there for the caller,
    and what is too much for one context.
    """

    async def __call__(self, ctx: Context[AgentExecution, AgentExecution]) -> None:
        execution, given = required(ctx.new_state), required(ctx.request.spec).runtime_env
        spec, id_ = required(execution.spec), required(execution.metadata).id
        session: Session | None = await other_kinds.find(ctx, "Session", spec.session_id)
        declared = await _declared(ctx, spec.agent_id)
        data, left_out = merged([declared, *await _of_environments(ctx, session), given], declared)
        if given:
            ctx.note(RUNTIME_ENV_KEYS, id_, json.dumps(sorted(given)).encode())
        if left_out:
            names, count = left_out[:MAX_NAMES], len(left_out)
            ctx.tx.after_commit(
                lambda: log.info("Left out what the agent does not declare", execution_id=id_, keys=names, count=count)
            )
        if data:
            await ctx.save(execution)
            await _create(ctx, execution, session, data)


def merged(
    layers: Sequence[Mapping[str, Value]], declared: Mapping[str, Value]
) -> tuple[dict[str, ExecutionValue], list[str]]:
    """What of the layers, the lowest first, an execution gets; and the keys that it does not, for want of declaration.

    A value is secret where any layer has its key secret.
    """
    secret = {key for layer in layers for key, one in layer.items() if one.is_secret}
    values = {key: one.value for layer in layers for key, one in layer.items() if one.value}
    left_out = sorted(values.keys() - declared.keys()) if declared else []
    for key in left_out:
        del values[key]
    return {key: ExecutionValue(value=value, is_secret=key in secret) for key, value in values.items()}, left_out


async def _declared(ctx: AnyContext, agent_id: str) -> Mapping[str, Value]:
    """What the agent declares, and its own values; nothing where it is not there for the caller."""
    agent = await _declaring(ctx, agent_id) if agent_id else None
    env_spec = required(agent.spec).env_spec if agent is not None else None
    return env_spec.data if env_spec is not None else {}


async def _declaring(ctx: AnyContext, id_: str) -> Agent | None:
    """The agent, where it may declare anything.

    Nobody has asked yet for that of a given session, and its row costs less than a call.
    """
    row = await ctx.find("Agent", id_) if ("Agent", id_) not in ctx.found else None
    if row is not None and not ctx.runtime.kinds[row.kind].wire_of(row).spec.env_spec.data:
        return None
    if row is None:
        found: Agent | None = await other_kinds.find(ctx, "Agent", id_)
        return found
    agent: Agent = await ctx.load(row, with_secrets=True)
    return agent


async def _of_environments(ctx: AnyContext, session: Session | None) -> list[Mapping[str, Value]]:
    """The values of each environment of the session's instance, in order."""
    instance_id = required(session.spec).agent_instance_id if session is not None else ""
    if not instance_id:
        return []
    instance: AgentInstance | None = await other_kinds.find(ctx, "AgentInstance", instance_id)
    layers: list[Mapping[str, Value]] = []
    for number, reference in enumerate(required(instance.spec).environment_refs if instance is not None else ()):
        metadata = required(required(instance).metadata)
        row = await _environment(ctx, reference, metadata.org)
        if row is None:
            raise _missing(reference, metadata, number)
        ctx.tx.require(row.kind, row.id)
        environment: Environment = await ctx.load(row, with_secrets=True)
        layers.append(required(environment.spec).data)
    return layers


async def _environment(ctx: AnyContext, reference: ApiResourceReference, home: str) -> Row | None:
    """The environment of the instance's organization, `home`, else the caller's own one; nobody else's.

    Callers of all organizations may reach those of others.
    """
    kind, org, own = ctx.runtime.kinds["Environment"], reference.org or home, identity(ctx.call.actor)
    places = [(org, organization(org))] if org == home or ctx.call.principal.is_of_all else []
    places += [(org, own)] if reference.org else [(org, own), ("", own)]
    for at, owner in dict.fromkeys(places):
        row = await ctx.by_slug(kind.name, reference.slug, kind.namespace_of(at, owner))
        if row is not None:
            return row
    return None


def _missing(reference: ApiResourceReference, instance: ApiResourceMetadata, number: int) -> FailedPrecondition:
    org, slug = clip(reference.org or instance.org), clip(reference.slug)
    return FailedPrecondition(
        f"Environment with slug '{slug}' not found in org '{org}', nor is it your own: make it, or take it out of"
        f" spec.environment_refs[{number}] of AgentInstance {instance.id}",
        reason="ENVIRONMENT_MISSING",
        subject=f"{org}/{slug}",
    )


async def _create(
    ctx: AnyContext, execution: AgentExecution, session: Session | None, data: dict[str, ExecutionValue]
) -> None:
    id_ = required(execution.metadata).id
    context = context_of(id_, session.metadata if session is not None else None, data)
    try:
        made: Any = await other_kinds.create(ctx, "ExecutionContext", context)
    except StigmerError as error:
        if error.code != Code.INVALID_ARGUMENT:
            raise
        told = f"what agent, environments and runtime_env give together makes no context ({error.message}): give less"
        raise FailedPrecondition(told, reason="CONTEXT_REFUSED", subject=id_) from error
    context_id: str = made.metadata.id
    ctx.note(MADE_CONTEXTS, context_id, id_.encode())
    ctx.tx.after_commit(
        lambda: log.info("Successfully created execution context", execution_id=id_, context_id=context_id)
    )
