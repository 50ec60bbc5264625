"""The keys that secrets are sealed under: what is told of them, and their rotation. No key itself is in any reply."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer._gen.ai.stigmer.admin.v1 import RewrapProgress, SealingKey, SealingKeyList, SealingKeyState
from stigmer.pipeline.audit.trail import event
from stigmer.secrets.audit import Op

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from stigmer._gen.ai.stigmer.admin.v1 import SealingKeyId
    from stigmer.pipeline.context import Context, Reply
    from stigmer.pipeline.key_rotation import KeyUse
    from stigmer.pipeline.kind import Resource


@dataclass(frozen=True, slots=True)
class ListKeys:
    """Tell which keys there are, and how many resources are under each. Writes `reply`."""

    async def __call__(self, ctx: Context[object, Resource]) -> None:
        keys, damaged = await ctx.runtime.rotation.keys()
        ctx.reply = SealingKeyList(entries=[_told(key) for key in keys], damaged_resources=damaged)


@dataclass(frozen=True, slots=True)
class AddKey:
    """Add a key to the keyring. Writes `reply`. Refuses where a key service has the keys."""

    async def __call__(self, ctx: Context[object, Resource]) -> None:
        ctx.reply = _told(await ctx.runtime.rotation.add(event(ctx.call, Op.KEY_ADD)))


@dataclass(frozen=True, slots=True)
class ActivateKey:
    """Have a key seal from now on. Reads the request; writes `reply`. Refuses a key that is retired or not there."""

    async def __call__(self, ctx: Context[SealingKeyId, Resource]) -> None:
        ctx.reply = _told(await ctx.runtime.rotation.activate(ctx.request.value, event(ctx.call, Op.KEY_ACTIVATE)))


@dataclass(frozen=True, slots=True)
class RetireKey:
    """Throw a key away. Reads the request; writes `reply`. Refuses one that is active or in use."""

    async def __call__(self, ctx: Context[SealingKeyId, Resource]) -> None:
        ctx.reply = _told(await ctx.runtime.rotation.retire(ctx.request.value, event(ctx.call, Op.KEY_RETIRE)))


@dataclass(frozen=True, slots=True)
class RewrapKeys:
    """Bring all secrets under the active key, in transactions of its own, as fast as its caller reads how far it is."""

    async def stream(self, ctx: Context[object, Resource]) -> AsyncGenerator[Reply, None]:
        """After each transaction how far it has come."""
        async with aclosing(ctx.runtime.rotation.rewrap(event(ctx.call, Op.KEY_REWRAP))) as progress:
            async for done, total, damaged in progress:
                yield RewrapProgress(rewrapped=done, total=total, damaged=damaged)


def _told(key: KeyUse) -> SealingKey:
    state = SealingKeyState.missing if key.state is None else SealingKeyState[key.state]
    return SealingKey(id=key.id, state=state, created_at=key.created, resources=key.resources)
