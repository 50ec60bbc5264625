"""BuildNewState: the resource that create makes of a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer.errors import AlreadyExists, Violation
from stigmer.pipeline.ids import is_well_formed
from stigmer.pipeline.kind import required
from stigmer.pipeline.vault import marks
from stigmer.steps import audit
from stigmer.steps.references import check_references
from stigmer.steps.validate_proto import refuse
from stigmer.wire.lazy import shallow_copy

if TYPE_CHECKING:
    from stigmer.pipeline.context import AnyContext, Context
    from stigmer.pipeline.kind import Resource


@dataclass(frozen=True, slots=True)
class BuildNewState:
    """Give the resource its id, version, slug and audit, and an otherwise empty status.

    Reads the request and `slug`; writes `new_state` and the call's `resource_id`. An id that the caller brings is kept;
    refuses one that is malformed or taken, by whomever, and references to what is not there for the caller.
    """

    def violations(self, ctx: Context[Resource, Resource]) -> list[Violation]:
        """A malformed id, and marks in place of secret values, of which none is kept yet."""
        found = marks(ctx.wire) if ctx.kind.may_hold_secrets else []
        metadata, prefix = ctx.request.metadata, ctx.kind.meta.id_prefix
        if metadata is None or not metadata.id or is_well_formed(metadata.id, prefix):
            return found
        return [*found, Violation("metadata.id", f"is not '{prefix}-' and a lower-case ULID: leave it out to get one")]

    async def __call__(self, ctx: Context[Resource, Resource]) -> None:
        refuse(self.violations(ctx))
        sent = required(ctx.request.metadata)
        state = shallow_copy(ctx.request)
        state.metadata = shallow_copy(sent)
        state.metadata.id = await _id(ctx, sent.id)
        state.metadata.slug = ctx.slug
        state.metadata.version = audit.next_version(ctx.runtime.ids, sent, None)
        state.spec = shallow_copy(state.spec)
        ctx.kind.without_not_kept(state.spec)
        await check_references(ctx, state)
        state.status = ctx.kind.new_status(audit.created(ctx.call.actor))
        ctx.new_state = state
        ctx.call.resource_id = state.metadata.id


async def _id(ctx: AnyContext, brought: str) -> str:
    if not brought:
        return ctx.runtime.ids.new(ctx.kind.meta.id_prefix)
    if await ctx.has_id(ctx.kind.name, brought):
        raise AlreadyExists(ctx.kind.name, brought)
    return brought
