"""A unary call is over when its reply has been handed over: until then its deadline counts, and its log line waits.

The attack: call without ever opening a window; the call was logged OK after 0.4 ms and its reply held for ever.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import samples
from h2.settings import SettingCodes
from served_process import served
from server_wire import connect, message

from stigmer.wire import codec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from served_process import Served
    from server_wire import Wire

CREATE = "/ai.stigmer.agentic.session.v1.SessionCommandController/create"
LIMIT_MS = 200


@asynccontextmanager
async def unread(directory: Path, uvloop: str) -> AsyncGenerator[tuple[Served, Wire]]:
    """A server, and a client whose calls have no window."""
    async with served(directory, uvloop) as server, connect(server) as wire:
        wire.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        wire.flush()
        yield server, wire


def create(wire: Wire, **headers: str) -> int:
    return wire.request(message(codec.encode(samples.session())), path=CREATE, headers=headers)


async def line_of(server: Served) -> dict[str, Any]:
    """The line of the create; each of them made a row."""
    line = await server.logged("call")
    assert line["method"] == CREATE
    assert line["id"].startswith("ses-")
    return line


@pytest.fixture(params=["--uvloop", "--no-uvloop"])
def uvloop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_the_deadline_ends_a_reply_that_nobody_reads(tmp_path: Path, uvloop: str) -> None:
    async with unread(tmp_path, uvloop) as (server, wire):
        late = create(wire, **{"grpc-timeout": f"{LIMIT_MS}m"})
        assert (await wire.status(late)).startswith("4 ")
        line = await line_of(server)
    assert line["code"] == "DEADLINE_EXCEEDED"
    # The deadline counts from the headers, the line from the first interceptor on.
    assert LIMIT_MS / 2 <= line["duration_ms"] < 60 * LIMIT_MS


async def test_a_client_that_goes_away_meanwhile_cancels_its_call(tmp_path: Path, uvloop: str) -> None:
    async with unread(tmp_path, uvloop) as (server, wire):
        given_up = create(wire)
        await begun(wire, given_up)
        wire.h2.reset_stream(given_up)
        wire.flush()
        assert (await line_of(server))["code"] == "CANCELLED"

        create(wire)
        await begun(wire, given_up + 2)
        wire.writer.transport.abort()
        assert (await line_of(server))["code"] == "CANCELLED"


async def test_a_reply_that_is_read_late_is_logged_then(tmp_path: Path, uvloop: str) -> None:
    async with unread(tmp_path, uvloop) as (server, wire):
        slow = create(wire)
        await begun(wire, slow)
        quick = wire.request(message(b"\x0a\x03???"), path=CREATE)
        assert (await wire.status(quick)).startswith("3 ")
        assert (await server.logged("call"))["code"] == "INVALID_ARGUMENT"
        wire.h2.increment_flow_control_window(1_000_000, slow)
        wire.flush()
        assert await wire.status(slow) == "0"
        assert (await line_of(server))["code"] == "OK"


async def begun(wire: Wire, stream_id: int) -> None:
    """Wait for the reply's headers."""
    while not any(getattr(event, "stream_id", None) == stream_id for event in wire.events):
        assert await wire.read()
