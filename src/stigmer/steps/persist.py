"""Persist: the write, and the reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer.codec import Encoded
from stigmer.kinds import present

if TYPE_CHECKING:
    from stigmer.pipeline import Context


@dataclass(frozen=True, slots=True)
class Persist:
    """Stage `new_state`: as a new row, or in place of the row that was loaded.

    Reads `new_state` and `row`; writes `reply`. The transaction's commit makes it durable, and decides races.
    """

    async def __call__(self, ctx: Context) -> None:
        row = ctx.kind.row_of(present(ctx.new_state), based_on=ctx.row, created_by=ctx.call.caller)
        if ctx.row is None:
            ctx.tx.create(row)
        else:
            ctx.tx.update(row)
        ctx.reply = Encoded(ctx.kind.message, row.data)
