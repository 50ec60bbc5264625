"""Guesses at tokens, as fast as they go, beside a caller with a good one from the same address; on both loops."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from bearing import token, tokens_file
from served_process import served
from server_wire import connect, message

from stigmer import rpc
from stigmer.rpc import CallerQueryControllerStub

if TYPE_CHECKING:
    from pathlib import Path

    from served_process import Served

SECRET = "stg_of-a-reader"
WHOAMI = "/ai.stigmer.iam.caller.v1.CallerQueryController/whoami"
GUESSES, AT_ONCE, WAVES = 400, 200, 2
WITHHELD = message(b"x" * 60_000)[:100]
MIB = 2**20


@pytest.mark.parametrize("loop", ["--uvloop", "--no-uvloop"])
async def test_who_guesses_tokens_waits_and_others_do_not(tmp_path: Path, loop: str) -> None:
    """Held-back answers take a second a wave, the good caller goes on meanwhile: that is what is tested."""
    tokens = tokens_file(tmp_path / "tokens", token(SECRET, "ann", "reader"))
    async with served(tmp_path / "data", "--tokens-file", str(tokens), loop) as server:
        guessing = asyncio.create_task(guess(server))
        at_start = server.forget_peak()
        answered = 0
        async with rpc.channel(f"127.0.0.1:{server.address[1]}") as channel:
            caller = CallerQueryControllerStub(channel)
            while not guessing.done():
                assert (await caller.whoami(metadata={"authorization": f"Bearer {SECRET}"})).name == "ann"
                answered += 1
        statuses = await guessing
        assert len(statuses) == GUESSES
        assert {status.partition(" ")[0] for status in statuses} == {"16"}
        assert answered > WAVES
        assert server.memory_bytes("VmHWM") - at_start < 64 * MIB


async def guess(server: Served) -> list[str]:
    """How each guess ends."""
    statuses: list[str] = []
    for wave in range(WAVES):
        async with connect(server) as wire:
            numbers = [
                wire.request(
                    WITHHELD,
                    path=WHOAMI,
                    headers={"authorization": f"Bearer stg_{wave}-{number}"},
                    end=False,
                    flush=False,
                )
                for number in range(AT_ONCE)
            ]
            with suppress(ConnectionError):
                wire.flush()
            statuses += [await wire.status(number) for number in numbers]
    return statuses
