"""A grpcio client in a process of its own: makes the calls it is told, says what came back, one JSON line each.

echo '{"path": "/a.B/c", "body": "<base64>"}' | python edge_grpcio.py PORT [COMPRESSION]
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

import grpc

COMPRESSIONS = {
    "": None,
    "identity": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}


def made(channel: grpc.Channel, told: dict[str, Any]) -> Any:
    """A call that is under way: a stream where it is told how many replies to `take`; then it is cancelled."""
    kind = channel.unary_stream if "take" in told else channel.unary_unary
    method = kind(told["path"], request_serializer=bytes, response_deserializer=bytes)
    make = method if "take" in told else method.future
    return make(
        base64.b64decode(told["body"]),
        timeout=told.get("timeout", 60),
        metadata=told.get("metadata"),
        compression=COMPRESSIONS[told.get("compression", "")],
    )


def replies(call: Any, told: dict[str, Any]) -> list[bytes]:
    if "take" not in told:
        return [call.result()]
    taken = []
    for reply in call:
        taken.append(reply)
        if len(taken) == told["take"]:
            call.cancel()
            break
    return taken


def outcome(channel: grpc.Channel, told: dict[str, Any]) -> dict[str, Any]:
    call = made(channel, told)
    try:
        received = [base64.b64encode(reply).decode() for reply in replies(call, told)]
    except grpc.RpcError as error:
        trailers = {key: len(value) for key, value in error.trailing_metadata() or ()}
        return {"code": error.code().name, "message": error.details(), "trailers": trailers}
    return {"code": call.code().name, "reply": received[0] if received else "", "replies": received}


def main() -> None:
    port, *compression = sys.argv[1:]
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(
        f"127.0.0.1:{port}", options=options, compression=COMPRESSIONS[(compression or [""])[0]]
    ) as channel:
        for line in sys.stdin:
            sys.stdout.write(json.dumps(outcome(channel, json.loads(line))) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
