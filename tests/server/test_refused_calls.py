"""Calls that never reach a handler leave their log line too."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from edge_rig import said
from server_wire import connect, message

if TYPE_CHECKING:
    from server_rig import Serve

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
    async with serve(host="::1") as server, connect(server) as wire:
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
                "peer": f"[{host}]:{port}",
                "attempt": 1,
            }
        ]
