"""References to other resources, as who is not of all organizations may set them: to what is there for the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stigmer.errors import NotFound
from stigmer.steps.load_by_reference import find

if TYPE_CHECKING:
    from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceReference
    from stigmer.pipeline.context import AnyContext
    from stigmer.pipeline.kind import Reference, Resource


async def check_references(ctx: AnyContext, state: Resource, existing: Resource | None = None) -> None:
    """Require of each reference of the kind's that is set, and was not before, that it names something.

    What is found must still be there at commit. Callers of all organizations may refer to anything, as may the server,
    which makes what it refers to.

    Args:
        ctx: of the call that writes the resource.
        state: the resource as it will be.
        existing: as it is; None for a new one.

    Raises:
        NotFound: one names nothing, or nothing that is there for the caller.
        InvalidArgument: one names several things.
    """
    principal = ctx.call.principal
    if principal.is_of_all or principal.on_behalf_of is not None:
        return
    for reference in ctx.kind.refers_to:
        value = reference.value_in(state)
        before = reference.value_in(existing) if existing is not None else None
        if isinstance(value, str):
            if value and value != before:
                await _check_id(ctx, reference.kind, value)
        else:
            await _check_list(ctx, reference, value, [_place(one) for one in before or ()])


async def _check_id(ctx: AnyContext, kind: str, id_: str) -> None:
    if await ctx.find(kind, id_) is None:
        raise NotFound(kind, id_)
    ctx.tx.require(kind, id_)


async def _check_list(
    ctx: AnyContext, reference: Reference, refs: list[ApiResourceReference], before: list[Any]
) -> None:
    for number, ref in enumerate(refs):
        if _place(ref) not in before:
            row = await find(ctx, reference.kind, ref, f"{reference.path}[{number}]")
            ctx.tx.require(row.kind, row.id)


def _place(ref: ApiResourceReference) -> tuple[str, str]:
    return ref.org, ref.slug
