"""Page tokens over a socket: good across a restart, and what nobody was given is refused by name."""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING

import samples
from many_calls import Client, call, client
from served_process import served

from stigmer._gen.ai.stigmer.agentic.session.v1 import ListSessionsRequest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

QUERIES = "SessionQueryController"
NUMBERS = (0, 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


async def first_page(caller: Client) -> str:
    """Make two sessions; the token of the second page of one."""
    for _ in range(2):
        await caller.one("SessionCommandController", "create", samples.session())
    token: str = (await caller.one(QUERIES, "list", ListSessionsRequest(page_size=1))).next_page_token
    return token


async def assert_all_refused(caller: Client, tokens: Sequence[str]) -> None:
    outcomes = await caller.all_of([call(QUERIES, "list", ListSessionsRequest(page_token=one)) for one in tokens])
    refused = {(one.code, one.message.partition(":")[0]) for one in outcomes}
    assert refused == {("INVALID_ARGUMENT", "page_token")}


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


async def test_forged_tokens_are_refused_by_the_name_of_their_field(tmp_path: Path) -> None:
    """Attack: a sequence that SQLite cannot hold, with a check that anybody could compute, was INTERNAL."""
    async with served(tmp_path) as server, client(server) as caller:
        token = await first_page(caller)
        raw = base64.urlsafe_b64decode(f"{token}==")
        flipped = [encoded(bytes(b ^ (i == at) for i, b in enumerate(raw))) for at in range(len(raw))]
        moved = [encoded(raw[:1] + struct.pack(">Q", number) + raw[9:]) for number in NUMBERS if number != 2]
        old = [encoded(struct.pack(">Q8s", number, b"\0" * 8)) for number in NUMBERS]
        shaped = [
            "banana",
            token[:-1],
            token + "=",
            f"{token}==",
            token + token,
            f" {token}",
            "\u00fc" * 34,
            "A" * 9000,
        ]
        loose = token[:-1] + chr(ord(token[-1]) + 1)  # the last character's spare bits
        await assert_all_refused(caller, [*flipped, *moved, *old, *shaped, loose])


async def test_a_token_is_good_after_a_restart_and_only_in_its_own_database(tmp_path: Path) -> None:
    async with served(tmp_path / "one") as server, client(server) as caller:
        token = await first_page(caller)
    async with served(tmp_path / "one") as server, client(server) as caller:
        page = await caller.one(QUERIES, "list", ListSessionsRequest(page_token=token))
        assert (len(page.entries), page.next_page_token) == (1, "")
    async with served(tmp_path / "other") as server, client(server) as caller:
        assert await first_page(caller) != token
        await assert_all_refused(caller, [token])
