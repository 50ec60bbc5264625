"""A grpcio client in a process of its own: makes the calls it is told, says what came back, one JSON line each.

echo '{"path": "/a.B/c", "body": "<base64>"}' | python edge_grpcio.py PORT [COMPRESSION [CA [CERTIFICATE KEY]]]
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
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
        sent = error.trailing_metadata() or ()
        trailers = {key: len(value) for key, value in sent}
        details = base64.b64encode(dict(sent).get("grpc-status-details-bin", b"")).decode()
        return {"code": error.code().name, "message": error.details(), "trailers": trailers, "details": details}
    return {"code": call.code().name, "reply": received[0] if received else "", "replies": received}


def connected(port: str, compression: str = "", *pems: str) -> grpc.Channel:
    """A channel, over TLS where an authority is named."""
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    chosen = COMPRESSIONS[compression]
    if not pems:
        return grpc.insecure_channel(f"127.0.0.1:{port}", options=options, compression=chosen)
    ca, cert, key = (*(Path(name).read_bytes() for name in pems), None, None)[:3]
    credentials = grpc.ssl_channel_credentials(ca, key, cert)
    return grpc.secure_channel(f"127.0.0.1:{port}", credentials, options=options, compression=chosen)


def main() -> None:
    with connected(*sys.argv[1:]) as channel:
        for line in sys.stdin:
            sys.stdout.write(json.dumps(outcome(channel, json.loads(line))) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
