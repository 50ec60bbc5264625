"""A grpcio client in a process of its own: sends the bytes it is told, says what came back, one JSON line each.

echo '{"path": "/a.B/c", "body": "<base64>"}' | python edge_grpcio.py PORT
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

import grpc


def outcome(channel: grpc.Channel, path: str, body: bytes) -> dict[str, Any]:
    method = channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)
    try:
        reply, call = method.with_call(body, timeout=20)
    except grpc.RpcError as error:
        trailers = {key: len(value) for key, value in error.trailing_metadata() or ()}
        return {"code": error.code().name, "message": error.details(), "trailers": trailers}
    return {"code": call.code().name, "reply": base64.b64encode(reply).decode()}


def main() -> None:
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}", options=options) as channel:
        for line in sys.stdin:
            told = json.loads(line)
            result = outcome(channel, told["path"], base64.b64decode(told["body"]))
            sys.stdout.write(json.dumps(result) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
