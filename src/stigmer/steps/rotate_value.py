"""RotateValue: one value of an execution context given anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceMetadata
from stigmer.errors import InvalidArgument, clip
from stigmer.pipeline.kind import required
from stigmer.pipeline.vault import new_value
from stigmer.steps import audit
from stigmer.steps.build_update_state import check_version
from stigmer.wire.lazy import shallow_copy

if TYPE_CHECKING:
    from stigmer._gen.ai.stigmer.agentic.executioncontext.v1 import ExecutionContext, RotateExecutionValueInput
    from stigmer.errors import Violation
    from stigmer.pipeline.context import Context


@dataclass(frozen=True, slots=True)
class RotateValue:
    """Replace one value; whether it is secret stays, and so does all else but version and audit.

    Reads the request and `row`; writes `new_state`. Refuses another version than the one that is wanted, a key that the
    context does not have, the mark of a value that is not shown, and another server's ciphertext.
    """

    def violations(self, ctx: Context[RotateExecutionValueInput, ExecutionContext]) -> list[Violation]:
        """The mark, and another server's ciphertext."""
        return new_value("value", ctx.request.value)

    async def __call__(self, ctx: Context[RotateExecutionValueInput, ExecutionContext]) -> None:
        existing: ExecutionContext = await ctx.load(required(ctx.row))
        kept = required(existing.metadata)
        check_version(ctx, ctx.request.version_id, kept)
        before = required(existing.spec).data.get(ctx.request.key)
        if before is None:
            raise InvalidArgument.of("key", f"{clip(ctx.request.key)} is none that the context has: name one of them")
        value = shallow_copy(before)
        value.value = ctx.request.value
        state = shallow_copy(existing)
        state.metadata, state.spec = shallow_copy(kept), shallow_copy(required(existing.spec))
        state.metadata.version = audit.next_version(ctx.runtime.ids, ApiResourceMetadata(), kept)
        state.spec.data = {**state.spec.data, ctx.request.key: value}
        state.status = audit.updated(existing.status, ctx.call.actor)
        ctx.new_state = state
