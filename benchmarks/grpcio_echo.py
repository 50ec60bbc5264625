"""The other floor: a stock grpcio.aio server that answers an empty message. `python -m benchmarks.grpcio_echo PORT`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc.aio

from benchmarks.echo_server import EMPTY


class Empty(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    """One method, whose messages stay bytes."""

    def service(self, handler_call_details: Any) -> Any:  # grpcio's method
        """The handler, where it is asked for."""
        return grpc.unary_unary_rpc_method_handler(_empty) if handler_call_details.method == EMPTY else None


async def _empty(_request: bytes, _context: Any) -> bytes:
    return b""


async def serve(port: int) -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Empty(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
