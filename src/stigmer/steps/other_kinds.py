"""Resources of other kinds, as steps reach them: through a downstream client where there is one, else in the store.

A client runs every interceptor; the store's way is for who embeds one handler alone.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stigmer.errors import Code, FailedPrecondition, StigmerError
from stigmer.pipeline.kind import required
from stigmer.steps import audit
from stigmer.wire.lazy import shallow_copy

if TYPE_CHECKING:
    from stigmer.pipeline.context import AnyContext
    from stigmer.pipeline.kind import Resource
    from stigmer.pipeline.runtime import Client

LATE_S = (0.05, 0.2, 0.8)
"""How long to wait, and wait again, for what another server may still be making for a call that was given up."""
MAX_REFUSALS = 100
"""How many free slugs may turn out to be taken before the call fails: who makes them all is not to be outrun."""
_UNSURE = frozenset({Code.CANCELLED, Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.INTERNAL, Code.UNAVAILABLE})


async def find(ctx: AnyContext, kind: str, id_: str) -> Any:  # noqa: ANN401 - the kind decides the type
    """A resource of another kind, or None where the id names nothing; what is found must still be there at commit.

    A run asks for each but once, unless it changes it: what is given is not to be changed.
    """
    known = ctx.found.get((kind, id_))
    if known is not None:
        return known
    client = ctx.runtime.downstream.get(kind)
    if client is not None:
        resource = await client.get(id_)
    else:
        row = await ctx.find(kind, id_)
        resource = await ctx.load(row, with_secrets=True) if row is not None else None
    if resource is not None:
        ctx.found[kind, id_] = resource
        if client is None or client.in_process:
            ctx.tx.require(kind, id_)
    return resource


async def create(ctx: AnyContext, kind: str, resource: Any) -> Any:  # noqa: ANN401 - the kind decides the type
    """Make a resource of another kind; gives it as it was made.

    Where its slug is taken, it gets the first free one of `slug-2`, `slug-3`, … . Whoever makes the resource tells
    whether the first one is; the others are looked for first, and may be taken by somebody else meanwhile.

    Raises:
        StigmerError: the resource is refused, or MAX_REFUSALS slugs were taken so.
    """
    namespace = await ctx.namespace_of(resource)
    wanted, refused = resource.metadata.slug, 0
    for number in itertools.count(1):
        resource.metadata.slug = f"{wanted}-{number}" if number > 1 else wanted
        looked_for = number > 1 or ctx.runtime.downstream.get(kind) is None
        if looked_for and await ctx.holder(kind, resource.metadata.slug, namespace) is not None:
            continue
        try:
            made = await _make(ctx, kind, resource)
        except StigmerError as error:
            refused += 1
            if error.code != Code.ALREADY_EXISTS or refused == MAX_REFUSALS:
                raise
        else:
            ctx.found[kind, made.metadata.id] = made
            return made
    raise AssertionError("counting does not end")


async def _make(ctx: AnyContext, kind: str, resource: Any) -> Any:  # noqa: ANN401 - the kind decides the type
    client = ctx.runtime.downstream.get(kind)
    if client is None:
        return await _store(ctx, kind, resource)
    if client.in_process:
        return await client.create(resource)
    if ctx.call.dry_run:
        message = f"{ctx.call.method.name} makes a {kind} on another server, which would be kept: it cannot be tried"
        raise FailedPrecondition(message, reason="DRY_RUN_UNSUPPORTED", subject=kind)
    resource.metadata.id = ctx.runtime.ids.new(ctx.runtime.kinds[kind].meta.id_prefix)
    undo = _Undo(client, resource.metadata.id)
    ctx.tx.on_failure(undo)
    try:
        made = await client.create(resource)
    except StigmerError as error:
        undo.answered = error.code not in _UNSURE
        raise
    undo.answered = True
    return made


@dataclass
class _Undo:
    """Takes back what another server made for a run that failed; where its answer did not come, it may yet make it."""

    client: Client
    id: str
    answered: bool = False

    async def __call__(self) -> None:
        for pause_s in () if self.answered else LATE_S:
            await self.client.delete(self.id)
            await asyncio.sleep(pause_s)
        await self.client.delete(self.id)


async def _store(ctx: AnyContext, name: str, resource: Any) -> Resource:  # noqa: ANN401 - the kind decides the type
    """Stage the resource as its kind's create would, without interceptors."""
    kind = ctx.runtime.kinds[name]
    state: Resource = shallow_copy(resource)
    state.metadata = shallow_copy(required(state.metadata))
    state.metadata.id = ctx.runtime.ids.new(kind.meta.id_prefix)
    state.metadata.version = audit.next_version(ctx.runtime.ids, state.metadata, None)
    state.status = kind.new_status(audit.created(ctx.call.actor))
    await ctx.save(state, by_server=True)
    return state
