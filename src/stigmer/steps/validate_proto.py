"""ValidateProto: the first step of every RPC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer.errors import InvalidArgument, Violation
from stigmer.pipeline import rules
from stigmer.wire import bounds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.message import Message

    from stigmer.pipeline.context import AnyContext, Context
    from stigmer.pipeline.kind import Resource


@dataclass(frozen=True, slots=True)
class ValidateProto:
    """Refuse a request that breaks a rule of the protos, is beyond `bounds` or brings more of a resource than is kept.

    Every broken field is named.

    What later steps would refuse for the request's sake alone (their `violations`) is named with it, unless a bound is
    broken. Reads `wire`, the request and `rules`; writes nothing. With `keeps_fixed`, a field that is fixed after
    create may be left empty, because an update then keeps its value.
    """

    keeps_fixed: bool = False

    async def __call__(self, ctx: Context[object, Resource]) -> None:
        run = ctx.runtime.slices.run
        breaches = [*_too_long(ctx), *await run(bounds.breaches(ctx.wire))]
        if breaches and ctx.wire.ByteSize() > rules.PIECE_BYTES:
            refuse(breaches)
        violations = await run(rules.violations(ctx.wire))
        if self.keeps_fixed and violations:
            kept = {path for path in ctx.kind.fixed if _is_empty(ctx.wire, path)}
            violations = [violation for violation in violations if violation.field not in kept]
        refuse([*breaches, *violations] if breaches else ())
        for rule in ctx.rules:
            violations += rule(ctx)
        refuse(violations)


def refuse(violations: Sequence[Violation]) -> None:
    """Raise InvalidArgument where there is anything to refuse."""
    if violations:
        raise InvalidArgument(*violations)


def _too_long(ctx: AnyContext) -> list[Violation]:
    """What a caller writes of a resource must leave room in the answer, of which clients take 4 MiB by default."""
    wire, limit = ctx.wire, ctx.runtime.sizes.max_resource_bytes
    if "spec" not in wire.DESCRIPTOR.fields_by_name or wire.ByteSize() <= limit:
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
