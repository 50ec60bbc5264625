"""What a list costs whoever sees one organization of many, beside the same list for a caller of all."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks import local
from benchmarks.fill import organization_of
from benchmarks.rounds import Row, interleave
from stigmer._gen.ai.stigmer.agentic.session.v1 import ListSessionsRequest, SessionQueryControllerStub
from stigmer.access.principal import LOCAL, Principal
from stigmer.app import assembly
from stigmer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.load import Sample
    from benchmarks.scenarios import Bench

ORGANIZATIONS = 100
PAGE_SIZE = 50

OF_ONE = Principal("bench", "editor", frozenset({organization_of(7)}))


def owned(bench: Bench) -> dict[str, Row]:
    """Pages of sessions, as many rows as there are where there are many, in a hundred organizations."""
    data, _ = bench.filled("owned", 0, bench.size.many, ORGANIZATIONS)
    seconds = bench.size.seconds
    variants = {
        "one": partial(bench.sample, pages, data, OF_ONE, seconds),
        "all": partial(bench.sample, pages, data, LOCAL, seconds),
    }
    taken = interleave(bench.size, variants)
    title = f"list, a page of {PAGE_SIZE} of {bench.size.many:,}, 1 organization of {ORGANIZATIONS}, in process"
    return {"list owned": Row(title, "pages", "the same for a caller of all", taken["one"], taken["all"])}


def pages(directory: Path, principal: Principal, seconds: float) -> Sample:
    """A round of first pages on the loopback."""
    return asyncio.run(_pages(directory, principal, seconds))


async def _pages(directory: Path, principal: Principal, seconds: float) -> Sample:
    async with SqliteStore(directory) as store:
        queries: Any = SessionQueryControllerStub(assembly.assemble(store).edge.channel(as_=principal))
        return await local.repeat(lambda: queries.list(ListSessionsRequest(page_size=PAGE_SIZE)), seconds)
