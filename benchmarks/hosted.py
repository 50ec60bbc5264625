"""What a host's interceptor costs that passes all on: the same calls with it and without, over TCP and in process.

`python -m benchmarks.hosted PORT DIRECTORY [passing]` serves like `stigmer serve`, with such an interceptor or without.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import local, messages, servers
from benchmarks.rounds import Row, interleave
from stigmer import app
from stigmer._gen.ai.stigmer.agentic.session.v1 import ListSessionsRequest, SessionQueryControllerStub
from stigmer.app import assembly
from stigmer.edge.interceptors import Interceptor
from stigmer.settings import Settings
from stigmer.store.sqlite import SqliteStore
from stigmer.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.load import Sample
    from benchmarks.scenarios import Bench

SESSIONS = 1_000
CALLERS = 16
"""Callers at once over TCP."""


class Passing(Interceptor):
    """Hands on what it is given."""

    async def unary(self, call: Any, request: Any, proceed: Any) -> Any:
        """Hand on."""
        return await proceed(call, request)


def hosted(bench: Bench) -> dict[str, Row]:
    """Get and a list of 1,000, with the interceptor beside without it."""
    data, ids = bench.filled("hosted", bench.size.few, SESSIONS)
    bodies = {
        "get": (messages.GET, tuple(messages.get(id_) for id_ in ids), CALLERS),
        "list": (messages.LIST, (messages.list_sessions(SESSIONS),), 1),
    }
    rows: dict[str, Row] = {}
    for name, (path, requests, callers) in bodies.items():
        variants: dict[str, Callable[[], Sample]] = {}
        with ExitStack() as stack:
            for which, flags in (("passing", ["passing"]), ("plain", [])):
                copy = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=bench.directory))) / "data"
                server = stack.enter_context(servers.hosted(data, copy, flags))
                variants[f"tcp {which}"] = bench.calls(server, path, requests, callers)
                near = copy.with_name("near")
                servers.copied(data, near)
                plan = (near, "" if name == "list" else ids[0], which == "passing", bench.size.seconds)
                variants[f"near {which}"] = partial(bench.sample, in_process, *plan)
            taken = interleave(bench.size, variants)
        title = "get" if name == "get" else f"list, a page of {SESSIONS}"
        for where, words in (("tcp", f"over TCP, {callers} callers"), ("near", "in process")):
            rows[f"hosted {name} {where}"] = Row(
                f"{title} through a host's interceptor, {words}",
                "calls",
                "the same without it",
                taken[f"{where} passing"],
                taken[f"{where} plain"],
            )
    return rows


def in_process(directory: Path, id_: str, passing: bool, seconds: float) -> Sample:  # noqa: FBT001 - one of a plan
    """A round of calls on the loopback: gets of a context, or lists where there is no id."""
    return asyncio.run(_in_process(directory, id_, [Passing()] if passing else [], seconds))


async def _in_process(directory: Path, id_: str, interceptors: Sequence[Interceptor], seconds: float) -> Sample:
    async with SqliteStore(directory) as store:
        channel: Any = assembly.assemble(store, assembly.Own(interceptors)).loopback
        if id_:
            return await local.repeat(local.getting(channel, id_), seconds)
        queries: Any = SessionQueryControllerStub(channel)
        return await local.repeat(lambda: queries.list(ListSessionsRequest(page_size=SESSIONS)), seconds)


async def serve(port: int, directory: Path, interceptors: Sequence[Interceptor]) -> None:
    settings = await asyncio.to_thread(Settings, listen=(f"127.0.0.1:{port}",), data_dir=directory)
    await app.serve(settings, interceptors)


if __name__ == "__main__":
    logs.configure("warning", "json")
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2]), [Passing()] if "passing" in sys.argv[3:] else []))
