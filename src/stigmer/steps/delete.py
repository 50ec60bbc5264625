"""The steps of delete: ExtractResourceId, LoadExistingForDelete, DeleteResource."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer.pipeline.kind import required
from stigmer.steps.load_target import by_id

if TYPE_CHECKING:
    from stigmer.pipeline.context import AnyContext


@dataclass(frozen=True, slots=True)
class ExtractResourceId:
    """Take the id out of the request, whose field is `value` or `resource_id`.

    Writes the call's `resource_id`.
    """

    async def __call__(self, ctx: AnyContext) -> None:
        request = ctx.request
        ctx.call.resource_id = request.value if hasattr(request, "value") else request.resource_id


@dataclass(frozen=True, slots=True)
class LoadExistingForDelete:
    """Load what is deleted.

    Reads the call's `resource_id`; writes `row` and `reply`. Refuses an id that names nothing.
    """

    async def __call__(self, ctx: AnyContext) -> None:
        ctx.row = await by_id(ctx, ctx.call.resource_id)
        ctx.reply = await ctx.answer(ctx.row)


@dataclass(frozen=True, slots=True)
class DeleteResource:
    """Stage the deletion of the resource and of the kind's dependents.

    Reads `row`. Refuses what is not the caller's to delete.

    Attributes:
        also_kind: the kind of one more resource that goes with it, and with its own dependents.
        also_status_id: the field of the status that holds the id of that one.
    """

    also_kind: str = ""
    also_status_id: str = ""

    async def __call__(self, ctx: AnyContext) -> None:
        row = required(ctx.row)
        await ctx.delete(row)
        if self.also_kind:
            id_ = getattr(ctx.kind.wire_of(row).status, self.also_status_id)
            if id_:
                await ctx.discard(self.also_kind, id_, row.owner)
