"""BuildUpdateState: the resource that update makes of a request and what is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer.errors import InvalidArgument, VersionMismatch, Violation, clip
from stigmer.pipeline.kind import Resource, required
from stigmer.steps import audit
from stigmer.steps.references import check_references
from stigmer.wire.lazy import shallow_copy

if TYPE_CHECKING:
    from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceMetadata
    from stigmer.pipeline.context import AnyContext, Context


@dataclass(frozen=True, slots=True)
class BuildUpdateState:
    """Replace name, labels, annotations, tags and spec as a whole; keep id, slug, org, owner_scope and status.

    Reads the request and `row`; writes `new_state`. Refuses another value of a fixed field, a new reference to what is
    not there for the caller and, unless apply runs it, a version id that is not the current one.
    """

    async def __call__(self, ctx: Context[Resource, Resource]) -> None:
        existing: Resource = await ctx.load(required(ctx.row))
        sent, kept = required(ctx.request.metadata), required(existing.metadata)
        if not ctx.applying:
            check_version(ctx, sent.version.id if sent.version is not None else "", kept)
        state = shallow_copy(ctx.request)
        state.metadata = _metadata(sent, kept)
        state.metadata.version = audit.next_version(ctx.runtime.ids, sent, kept)
        state.spec = shallow_copy(state.spec)
        ctx.kind.without_not_kept(state.spec)
        _keep_fixed(ctx.kind.fixed, state, existing)
        await check_references(ctx, state, existing)
        state.status = audit.updated(existing.status, ctx.call.actor)
        ctx.new_state = state


def check_version(ctx: AnyContext, wanted: str, kept: ApiResourceMetadata) -> None:
    """Refuse a write that was meant for another version; raises VersionMismatch. With none wanted it is for any."""
    current = kept.version.id if kept.version is not None else ""
    if wanted and wanted != current:
        raise VersionMismatch(
            f"{ctx.kind.name} {kept.id} is at version {current}, not {clip(wanted)}: get it, repeat the change"
        )


def _metadata(sent: ApiResourceMetadata, kept: ApiResourceMetadata) -> ApiResourceMetadata:
    metadata = shallow_copy(sent)
    metadata.id, metadata.slug = kept.id, kept.slug
    metadata.org, metadata.owner_scope = kept.org, kept.owner_scope
    return metadata


def _keep_fixed(paths: tuple[str, ...], state: Resource, existing: Resource) -> None:
    violations: list[Violation] = []
    for path in paths:
        name = path.removeprefix("spec.")
        before, after = getattr(existing.spec, name), getattr(state.spec, name)
        if after and after != before:
            violations.append(Violation(path, f"is fixed after create: leave it out or send '{before}'"))
        setattr(state.spec, name, before)
    if violations:
        raise InvalidArgument(*violations)
