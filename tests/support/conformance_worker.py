"""A grpcio client in a process of its own: `conformance_worker.py PORT`, one JSON object a line in and out.

In: {"op": "unary", "path", "data", "timeout", "metadata"}; {"op": "open", and the same} starts a stream and answers
{"stream": number}; {"op": "next", "stream"} answers its next message, or {"end": true}; {"op": "close", "stream"}.
Data are base64. Failures are {"code", "message", "details"}, the details being `grpc-status-details-bin`.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

import grpc

DETAILS = "grpc-status-details-bin"


class Worker:
    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._streams: list[Any] = []

    def answer(self, job: dict[str, Any]) -> dict[str, Any]:
        try:
            reply: dict[str, Any] = getattr(self, job.pop("op"))(**job)
        except grpc.RpcError as error:
            call: Any = error
            details = dict(call.trailing_metadata() or ()).get(DETAILS, b"")
            return {"code": call.code().value[0], "message": call.details(), "details": _text(details)}
        return reply

    def unary(self, path: str, data: str, **given: Any) -> dict[str, Any]:
        call = self._channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)
        return {"data": _text(call(base64.b64decode(data), **given))}

    def open(self, path: str, data: str, **given: Any) -> dict[str, Any]:
        call = self._channel.unary_stream(path, request_serializer=bytes, response_deserializer=bytes)
        self._streams.append(call(base64.b64decode(data), **given))
        return {"stream": len(self._streams) - 1}

    def next(self, stream: int) -> dict[str, Any]:
        reply = next(self._streams[stream], None)
        return {"end": True} if reply is None else {"data": _text(reply)}

    def close(self, stream: int) -> dict[str, Any]:
        self._streams[stream].cancel()
        return {}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def main() -> None:
    with grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}", options=[("grpc.enable_retries", 0)]) as channel:
        worker = Worker(channel)
        for line in sys.stdin:
            sys.stdout.write(json.dumps(worker.answer(json.loads(line))) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
