"""Callers in other processes that start a few milliseconds apart: what callers who start in one turn cannot meet."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import samples
from many_calls import call, client
from served_process import served

if TYPE_CHECKING:
    from pathlib import Path

KINDS = {
    "AgentCommandController": samples.agent,
    "EnvironmentCommandController": samples.environment,
    "SessionCommandController": samples.session,
}


@pytest.mark.parametrize("loop", ["--uvloop", "--no-uvloop"])
@pytest.mark.parametrize(
    ("appliers", "rounds"), [(8, 6), (32, 3), *(pytest.param(n, 60, marks=pytest.mark.long) for n in (8, 32))]
)
async def test_of_appliers_a_few_milliseconds_apart_one_creates_and_none_is_refused(
    tmp_path: Path, loop: str, appliers: int, rounds: int
) -> None:
    """Attack: apply's first read finds no holder, and the create that it then runs finds one."""
    moment = random.Random(appliers * rounds)
    async with served(tmp_path, loop) as server, client(server) as caller:
        for number in range(rounds):
            service, make = list(KINDS.items())[number % len(KINDS)]
            resource = make(name=f"contended-{number}")
            calls = [
                call(service, "apply", resource, at_ms=moment.uniform(0, 6), connection=n % 8) for n in range(appliers)
            ]
            outcomes = await caller.all_of(calls)
            assert Counter(one.code for one in outcomes) == {"OK": appliers}, {one.message for one in outcomes}
            events = [one.reply.status.audit.spec_audit.event for one in outcomes]
            assert Counter(events) == {"created": 1, "updated": appliers - 1}
