"""A grpcio client in a process of its own that makes many calls at once: `grpcio_many.py PORT`.

A line in is a JSON list of calls: {"path", "body" (base64), "at_ms": when to start, "connection": a number,
"timeout_s", "limit_bytes": of a reply, "stream": whether replies stream}. A line out is the list of their outcomes, in
the same order: {"code", "message", "ms": how long it took, "replies": base64 each}.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from typing import Any

import grpc
import grpc.aio

OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),  # a connection for each channel
    ("grpc.enable_retries", 0),
    ("grpc.max_send_message_length", -1),
]


class Client:
    def __init__(self, port: str) -> None:
        self._address = f"127.0.0.1:{port}"
        self._channels: dict[Any, grpc.aio.Channel] = {}

    def channel(self, connection: int, limit_bytes: int | None) -> grpc.aio.Channel:
        key = (connection, limit_bytes)
        if key not in self._channels:
            more = [] if limit_bytes is None else [("grpc.max_receive_message_length", limit_bytes)]
            self._channels[key] = grpc.aio.insecure_channel(self._address, options=[*OPTIONS, *more])
        return self._channels[key]

    async def one(self, call: dict[str, Any]) -> dict[str, Any]:
        channel = self.channel(call.get("connection", 0), call.get("limit_bytes"))
        await channel.channel_ready()
        await asyncio.sleep(call.get("at_ms", 0) / 1000)
        make = channel.unary_stream if call.get("stream") else channel.unary_unary
        method: Any = make(call["path"], request_serializer=bytes, response_deserializer=bytes)
        began, replies = time.perf_counter(), list[str]()
        made = method(base64.b64decode(call["body"]), timeout=call.get("timeout_s", 60))
        code, message = "OK", ""
        try:
            if call.get("stream"):
                async for reply in made:
                    replies.append(base64.b64encode(reply).decode())
            else:
                replies.append(base64.b64encode(await made).decode())
        except grpc.aio.AioRpcError as error:
            code, message = error.code().name, error.details() or ""
        ms = (time.perf_counter() - began) * 1000
        return {"code": code, "message": message, "ms": ms, "replies": replies}


async def main() -> None:
    client = Client(sys.argv[1])
    while line := await asyncio.to_thread(sys.stdin.readline):
        outcomes = await asyncio.gather(*map(client.one, json.loads(line)))
        sys.stdout.write(json.dumps(outcomes) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
