"""Other domains' resources, as steps reach them: through a downstream client where there is one, else in the store.

A client runs every interceptor; the store's way is for who embeds one handler alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stigmer.errors import Code, StigmerError
from stigmer.kinds import present, shallow
from stigmer.steps import audit

if TYPE_CHECKING:
    from stigmer.kinds import Resource
    from stigmer.pipeline import Client, Context


async def find(ctx: Context, kind: str, id_: str) -> Any:  # noqa: ANN401 - the kind decides the type
    """A resource of another kind, or None where the id names nothing; what is found must still be there at commit."""
    client = ctx.runtime.downstream.of(kind)
    if client is not None:
        resource = await client.get(id_)
    else:
        row = await ctx.tx.get(kind, id_)
        resource = ctx.runtime.kinds[kind].resource_of(row) if row is not None else None
    if resource is not None and (client is None or client.in_process):
        ctx.tx.require(kind, id_)
    return resource


async def create(ctx: Context, kind: str, resource: Any) -> Any:  # noqa: ANN401 - the kind decides the type
    """Make a resource of another kind; gives it as it was made.

    Where its slug is taken, it gets the first free one of `slug-2`, `slug-3`, … . A slug that somebody takes after we
    looked and before the call does counts as taken, too.
    """
    namespace = ctx.runtime.kinds[kind].namespace_of(resource.metadata.org)
    wanted, number = resource.metadata.slug, 1
    while True:
        if await ctx.tx.by_slug(kind, resource.metadata.slug, namespace) is None:
            try:
                return await _make(ctx, kind, resource)
            except StigmerError as error:
                if error.code != Code.ALREADY_EXISTS:
                    raise
        number += 1
        resource.metadata.slug = f"{wanted}-{number}"


async def _make(ctx: Context, kind: str, resource: Any) -> Any:  # noqa: ANN401 - the kind decides the type
    client = ctx.runtime.downstream.of(kind)
    if client is None:
        return _store(ctx, kind, resource)
    if client.in_process:
        return await client.create(resource)
    # The id is ours, so that what a call made can be taken back even where its answer did not come.
    resource.metadata.id = ctx.runtime.ids.new(ctx.runtime.kinds[kind].meta.id_prefix)
    _undo_on_failure(ctx, client, resource.metadata.id)
    return await client.create(resource)


def _undo_on_failure(ctx: Context, client: Client, id_: str) -> None:
    async def undo() -> None:
        await client.delete(id_)

    ctx.tx.on_failure(undo)


def _store(ctx: Context, name: str, resource: Any) -> Resource:  # noqa: ANN401 - the kind decides the type
    """Stage the resource as its kind's create would, without interceptors."""
    kind = ctx.runtime.kinds[name]
    state: Resource = shallow(resource)
    state.metadata = shallow(present(state.metadata))
    state.metadata.id = ctx.runtime.ids.new(kind.meta.id_prefix)
    state.metadata.version = audit.next_version(ctx.runtime.ids, state.metadata, None)
    state.status = kind.new_status(audit.created(ctx.call.caller))
    ctx.tx.create(kind.row_of(state, created_by=ctx.call.caller))
    return state
