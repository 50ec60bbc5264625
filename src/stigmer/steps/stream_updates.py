"""StreamUpdates: an execution as it goes, until it has ended."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from stigmer.errors import NotFound
from stigmer.pipeline.kind import key_value, required
from stigmer.steps.build_new_state_with_status import TERMINAL

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import AgentExecution
    from stigmer.pipeline.context import AnyContext, Context, Reply
    from stigmer.store.rows import Row

ENDED = frozenset(("status.phase", key_value(phase)) for phase in TERMINAL)
"""The keys of executions that have ended."""


@dataclass(frozen=True, slots=True)
class StreamUpdates:
    """Give the current state, then every later one in commit order; end after the terminal one.

    Reads `row`. Refuses a resource that is, or will be, deleted, also where another one with its id comes after it. The
    subscription is opened before the state is read, and what the feed then tells of older revisions is left out, so
    that nothing is lost or told twice.
    """

    async def stream(self, ctx: Context[object, AgentExecution]) -> AsyncGenerator[Reply, None]:
        """The states, as their stored bytes, with the mark in place of secrets."""
        store, kind, id_ = ctx.runtime.store, ctx.kind, ctx.call.resource_id
        loaded, ends = required(ctx.row), partial(_has_ended, ctx)
        sequence, ctx.call.owner = loaded.sequence, loaded.owner
        del loaded
        with store.feed.subscribe(kind.name, id_, ends) as subscription:
            row = await store.get(kind.name, id_)
            ctx.row = ctx.reply = None  # a follower that waits holds no state
            revision = 0
            while True:
                if row is None or row.sequence != sequence:
                    raise NotFound(kind.name, id_)
                yield await ctx.overview(row)
                if _has_ended(ctx, row):
                    return
                revision, row = max(revision, row.revision), None
                change = await subscription.next()
                while change.revision <= revision:
                    change = await subscription.next()
                row = change.row
                del change


def _has_ended(ctx: AnyContext, row: Row) -> bool:
    """Whether the phase is terminal: by the row's keys where the feed gave them, so that no follower parses it."""
    if row.keys is None:
        return ctx.kind.wire_of(row).status.phase in TERMINAL
    return not ENDED.isdisjoint(row.keys)
