"""Calls that never reach a handler leave their log line too."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from edge_rig import said
from h2.errors import ErrorCodes
from served_process import served
from server_wire import connect, message

from stigmer.address import TcpAddress
from stigmer.server.protocol import PIECE_FRAMES

if TYPE_CHECKING:
    from pathlib import Path

    from server_rig import Serve

GET = "/ai.stigmer.agentic.environment.v1.EnvironmentQueryController/get"
UNKNOWN = "/t.T/" + "x" * 1_000


@pytest.mark.parametrize(
    ("headers", "code", "named"),
    [
        ({":path": UNKNOWN}, "UNIMPLEMENTED", UNKNOWN[:160] + "…"),
        ({"grpc-timeout": "soon"}, "INVALID_ARGUMENT", "/t.T/Echo"),
        ({"x-bin": "no base64: a"}, "INVALID_ARGUMENT", "/t.T/Echo"),
        ({":path": None}, "INVALID_ARGUMENT", ""),
        ({":method": "GET"}, "INVALID_ARGUMENT", "/t.T/Echo"),
        ({"content-type": "text/html"}, "INVALID_ARGUMENT", "/t.T/Echo"),
        ({"te": None}, "INVALID_ARGUMENT", "/t.T/Echo"),
    ],
    ids=["unknown method", "bad deadline", "bad metadata", "no path", "no POST", "no gRPC", "no te"],
)
async def test_a_call_refused_by_the_transport_leaves_one_line(
    serve: Serve, caplog: pytest.LogCaptureFixture, headers: dict[str, Any], code: str, named: str
) -> None:
    caplog.set_level(logging.INFO, "stigmer")
    async with serve(listen=[TcpAddress("::1", 0)]) as server, connect(server) as wire:
        host, port = wire.writer.get_extra_info("sockname")[:2]
        assert await wire.status(wire.request(message(b"hello"), headers=headers)) != "0"
        assert said(caplog, "call") == [
            {
                "event": "call",
                "method": named,
                "code": code,
                "duration_ms": 0.0,
                "request_id": "",
                "kind": "",
                "id": "",
                "caller": "",
                "peer": f"[{host}]:{port}",
                "attempt": 1,
            }
        ]


async def test_a_call_given_up_before_its_handler_has_a_turn_leaves_one_line(tmp_path: Path) -> None:
    """As many frames as are acted on at once, then the resets: one of the calls has a task that has not begun."""
    async with served(tmp_path) as server, connect(server) as wire:
        for _ in range(5):
            calls = [wire.request(message(b"\x0a\x01x"), path=GET, flush=False) for _ in range(PIECE_FRAMES // 2)]
            for number in calls:
                wire.h2.reset_stream(number, ErrorCodes.CANCEL)
            wire.flush()
            assert await wire.status(wire.request(message(b"\x0a\x01y"), path=GET)) == "5 Environment not found: y"
        while sum(code == "NOT_FOUND" for _, code in server.calls()) < 5:
            await server.logged("call")
        assert sum(code == "CANCELLED" for _, code in server.calls()) == 5 * PIECE_FRAMES // 2
