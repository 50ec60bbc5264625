"""ValidateProto: the first step of every RPC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from stigmer.errors import InvalidArgument, Violation
from stigmer.pipeline import rules
from stigmer.pipeline.vault import foreign_values
from stigmer.secrets import fields
from stigmer.wire import bounds
from stigmer.wire.bounds import TRANSCRIPT
from stigmer.wire.shapes import is_map

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from google.protobuf.message import Message

    from stigmer.pipeline.context import AnyContext, Context
    from stigmer.pipeline.kind import Resource

_ENTRIES_A_STEP = 100


@dataclass(frozen=True, slots=True)
class ValidateProto:
    """Refuse a request that breaks a rule of the protos, is beyond `bounds` or brings more of a resource than is kept.

    Every broken field is named, and unless a bound is broken, also what later steps would refuse for the request's sake
    alone (their `violations`). Reads `wire`, the request and `rules`; writes nothing but what `reports_on` says.

    Attributes:
        keeps_fixed: a field that is fixed after create may be left empty, because an update then keeps its value.
        reports_on: the field of a report that names its resource. What the report repeats of the stored transcript is
            not checked again then; writes `row`, `stored` and `unchanged`.
    """

    keeps_fixed: bool = False
    reports_on: str = ""

    async def __call__(self, ctx: Context[object, Resource]) -> None:
        size = ctx.call.request_bytes or ctx.wire.ByteSize()
        violations = [] if _is_plainly_valid(ctx.wire, size) else await self._broken(ctx, size)
        if fields.may_hold(ctx.wire.DESCRIPTOR.full_name):
            violations += foreign_values(ctx.wire)
        for rule in ctx.rules:
            violations += rule(ctx)
        refuse(violations)

    async def _broken(self, ctx: AnyContext, size: int) -> list[Violation]:
        """The rules of the protos that the request breaks; refuses it at once where it breaks a bound."""
        run = ctx.runtime.slices.run
        breaches = await run(bounds.breaches(ctx.wire)) or _too_long(ctx, size)
        if size > rules.PIECE_BYTES:
            refuse(breaches)
            if self.reports_on:
                await _compare(ctx, getattr(ctx.wire, self.reports_on))
        violations = await run(rules.violations(ctx.wire, size, ctx.unchanged))
        if self.keeps_fixed and violations:
            kept = {path for path in ctx.kind.fixed if _is_empty(ctx.wire, path)}
            violations = [violation for violation in violations if violation.field not in kept]
        refuse([*breaches, *violations] if breaches else ())
        return violations


def _is_plainly_valid(wire: Message, size: int) -> bool:
    """Whether a short request breaks neither a bound nor a rule: most do, and it takes no slices to see it."""
    return (
        size <= rules.SMALL_BYTES
        and (bounds.is_unbounded(wire.DESCRIPTOR) or not any(bounds.breaches(wire)))
        and not rules.broken(wire)
    )


def refuse(violations: Sequence[Violation]) -> None:
    """Raise InvalidArgument where there is anything to refuse."""
    if violations:
        raise InvalidArgument(*violations)


async def _compare(ctx: AnyContext, id_: str) -> None:
    """Find out what a long report repeats of the transcript that its resource has; nothing where there is none."""
    ctx.row = await ctx.find(ctx.kind.name, id_)
    if ctx.row is not None:
        ctx.stored, reported = ctx.kind.wire_of(ctx.row), cast("Any", ctx.wire).status
        ctx.unchanged = dict(await ctx.runtime.slices.run(_unchanged(ctx.stored.status, reported)))


def _unchanged(stored: Message, reported: Message) -> Iterator[tuple[str, int] | None]:
    """With how many first entries each list repeats what is stored."""
    for field, entries in reported.ListFields():
        if field.full_name in TRANSCRIPT and not is_map(field):
            count = 0
            for one, other in zip(entries, getattr(stored, field.name), strict=False):
                if one != other:
                    break
                count += 1
                if not count % _ENTRIES_A_STEP:
                    yield None
            yield field.name, count


def _too_long(ctx: AnyContext, size: int) -> list[Violation]:
    """What a caller writes of a resource must leave room in the answer, of which clients take 4 MiB by default."""
    wire, limit = ctx.wire, ctx.runtime.sizes.max_resource_bytes
    if "spec" not in wire.DESCRIPTOR.fields_by_name or size <= limit:
        return []
    sizes: dict[str, int] = {name: getattr(wire, name).ByteSize() for name in ("metadata", "spec")}
    if sum(sizes.values()) <= limit:
        return []
    text = f"metadata and spec have {sum(sizes.values())} bytes; at most {limit} are kept: leave some out"
    return [Violation(max(sizes, key=sizes.__getitem__), text)]


def _is_empty(message: Message, path: str) -> bool:
    *parents, leaf = path.split(".")
    for parent in parents:
        message = getattr(message, parent)
    return not getattr(message, leaf)
