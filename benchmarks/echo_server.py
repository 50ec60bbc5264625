"""The floor: a stock grpclib server whose handlers do nothing. `python -m benchmarks.echo_server PORT [uvloop]`.

`/echo/Empty` answers an empty message with an empty message, `/echo/Bytes` with as many bytes as asked for,
`/echo/Stream` with such messages without end, the streams taking turns.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
from typing import TYPE_CHECKING, Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.wrappers_pb2 import BytesValue, UInt32Value
from grpclib.const import Cardinality, Handler
from grpclib.server import Server

if TYPE_CHECKING:
    from grpclib.server import Stream

EMPTY, BYTES, STREAM = "/echo/Empty", "/echo/Bytes", "/echo/Stream"


async def empty(stream: Stream[Empty, Empty]) -> None:
    await stream.recv_message()
    await stream.send_message(Empty())


async def some_bytes(stream: Stream[UInt32Value, BytesValue]) -> None:
    await stream.send_message(await _reply(stream))


async def endless(stream: Stream[UInt32Value, BytesValue]) -> None:
    reply = await _reply(stream)
    while True:
        await stream.send_message(reply)
        await asyncio.sleep(0)


async def _reply(stream: Stream[UInt32Value, BytesValue]) -> BytesValue:
    wanted = await stream.recv_message()
    return BytesValue(value=bytes(wanted.value if wanted is not None else 0))


class Echo:
    """The service, as grpclib takes it."""

    def __mapping__(self) -> dict[str, Handler]:
        return {
            EMPTY: Handler(empty, Cardinality.UNARY_UNARY, Empty, Empty),
            BYTES: Handler(some_bytes, Cardinality.UNARY_UNARY, UInt32Value, BytesValue),
            STREAM: Handler(endless, Cardinality.UNARY_STREAM, UInt32Value, BytesValue),
        }


def asked(size: int) -> bytes:
    """The request for a reply of about so many bytes."""
    return UInt32Value(value=size).SerializeToString()


async def serve(port: int) -> None:
    server = Server([Echo()])
    await server.start("127.0.0.1", port)
    await server.wait_closed()


def main(arguments: list[str]) -> None:
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # followers leave in the middle of a stream
    factory: Any = importlib.import_module("uvloop").new_event_loop if "uvloop" in arguments[1:] else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(int(arguments[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
