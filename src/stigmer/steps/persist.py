"""Persist: the write, and the reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer.errors import ResourceExhausted
from stigmer.pipeline.kind import required

if TYPE_CHECKING:
    from stigmer.pipeline.context import AnyContext, Context
    from stigmer.pipeline.kind import Resource
    from stigmer.store.rows import Row


@dataclass(frozen=True, slots=True)
class Persist:
    """Stage `new_state`: as a new row, or in place of the row that was loaded.

    Reads `new_state` and `row`; writes `reply`. The transaction's commit makes it durable, and decides races. Refuses a
    resource that is too long to be answered: its writer would see an error, and write again.

    Attributes:
        reports: it may get longer than that, up to what the step before allows: who reports a long transcript takes
            long answers. What it says nothing of stays, secret values too, and the answer shows none.
    """

    reports: bool = False

    async def __call__(self, ctx: Context[object, Resource]) -> None:
        row = await ctx.save(required(ctx.new_state), over=ctx.row, keeps=self.reports)
        if not self.reports:
            _refuse_unanswerable(ctx, row)
        ctx.reply = await (ctx.overview(row) if self.reports else ctx.answer(row))


def _refuse_unanswerable(ctx: AnyContext, row: Row) -> None:
    limit = ctx.runtime.sizes.max_written_bytes
    if len(row.data) > limit:
        raise ResourceExhausted(
            f"{row.kind} {row.id} would have {len(row.data)} bytes with its status, and an answer at most {limit}:"
            " clients take no more unless told to. Raise the server's --max-resource-bytes, and your client's limit"
        )
