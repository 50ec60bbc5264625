"""No RPC blocks the event loop; `tests/conftest.py` has blockbuster watch each test, and here it is seen to bite."""

from __future__ import annotations

import io
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest
from edge_rig import Around, Rig, Seen, Stubs, sessions
from edge_sockets import listening
from edge_workload import every_rpc
from grpclib.exceptions import GRPCError

from stigmer.telemetry.log_stream import LogStream
from stigmer.wire import descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from stigmer.edge.interceptors import UnaryNext
    from stigmer.pipeline.call import Call


@pytest.fixture(autouse=True)
def logged(capsys: pytest.CaptureFixture[str]) -> Generator[io.StringIO]:
    """With the handler that the command line uses, at debug level."""
    stream, log = io.StringIO(), logging.getLogger("stigmer")
    handler, level = LogStream(stream), log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    yield stream
    log.removeHandler(handler)
    log.setLevel(level)
    handler.close()
    assert "a log line was lost" not in capsys.readouterr().err  # as Logger says of a handler that raises


async def test_no_rpc_over_the_loopback(wire: Callable[..., Rig]) -> None:
    seen = Seen()
    await every_rpc(wire(seen))
    assert {call.method.path for call in seen.calls} == set(descriptors.methods())


async def test_no_rpc_over_a_network(tmp_path: Path, logged: io.StringIO) -> None:
    seen = Seen()
    async with listening(tmp_path, seen) as (_, channel):
        await every_rpc(Stubs(channel))
    assert {call.method.path for call in seen.calls} >= set(descriptors.methods())
    assert logged.getvalue()


async def test_a_host_s_interceptor_that_blocks_is_found(wire: Callable[..., Rig]) -> None:
    async def block(call: Call, request: Any, proceed: UnaryNext) -> Any:
        time.sleep(0.001)  # noqa: ASYNC251 - the mistake to find
        return await proceed(call, request)

    rig = wire(Around("SessionQueryController/list", block))
    with pytest.raises(GRPCError, match="internal error"):
        await rig.find_sessions.list(sessions.ListSessionsRequest())
