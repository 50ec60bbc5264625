"""IPv6 addresses in the log are written as people write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from served_process import served
from server_wire import connect, message

if TYPE_CHECKING:
    from pathlib import Path

GET = "/ai.stigmer.agentic.session.v1.SessionQueryController/get"


async def test_addresses_have_their_brackets(tmp_path: Path) -> None:
    async with served(tmp_path, "--listen", "[::1]:0") as server, connect(server) as wire:
        port = wire.writer.get_extra_info("sockname")[1]
        assert (await wire.status(wire.request(message(b""), path=GET))).startswith("3 ")
        assert (await server.logged("call"))["peer"] == f"[::1]:{port}"
    serves = next(line for line in server.lines if line["event"] == "stigmer serves")
    assert serves["listen"] == f"[::1]:{server.address[1]}"
