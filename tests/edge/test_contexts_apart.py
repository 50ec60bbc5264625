"""Each call of a network has a context of its own: what is current in one call is current in no other."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import samples
from edge_rig import Stubs
from edge_sockets import dial, listening

from stigmer.edge.interceptors import Interceptor
from stigmer.pipeline.call import CURRENT

if TYPE_CHECKING:
    from pathlib import Path

    from stigmer.edge.interceptors import UnaryNext
    from stigmer.pipeline.call import Call

WHOSE = ContextVar("whose", default="")


class Marked(Interceptor):
    """Leaves its mark in the context of each outermost call, which it must find without one."""

    def __init__(self) -> None:
        self.found: list[str] = []

    async def unary(self, call: Call, request: Any, proceed: UnaryNext) -> Any:
        if call.parent is None:
            self.found.append(WHOSE.get())
            WHOSE.set(call.request_id)
        assert CURRENT.get() is call
        reply = await proceed(call, request)
        assert CURRENT.get() is call
        return reply


async def test_no_call_begins_in_the_context_of_another(tmp_path: Path) -> None:
    """However many there are, so that they are started and go on in turns which others have asked for."""
    marked = Marked()
    async with listening(tmp_path, marked) as (server, _):
        channels = [dial(server) for _ in range(4)]
        try:
            calls = [Stubs(channel).agents.create(samples.agent()) for channel in channels for _ in range(25)]
            await asyncio.gather(*calls)
        finally:
            for channel in channels:
                channel.close()
    assert marked.found == [""] * len(calls)
