"""A grpcio client with one job, run as a process of its own: `server_peer.py JOB PORT|unix:PATH [ARGUMENT]`.

grpcio's health and reflection packages register the same protos as grpclib's, so they must not share a process with the
server. Each job prints lines that the test compares; a line on standard input lets it go on where it waits.
"""

from __future__ import annotations

import sys
from typing import Any

import grpc

ECHO, SUBSCRIBE, WAIT = "/t.T/Echo", "/t.T/Subscribe", "/t.T/Wait"
PATIENCE_S = 60  # a call that takes as long hangs


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def unary(channel: grpc.Channel, path: str = ECHO) -> Any:
    return channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)


def status_of(call: Any) -> str:
    try:
        return f"OK {len(call())}"
    except grpc.RpcError as error:
        return f"{error.code().name} {error.details()}"


def sizes(channel: grpc.Channel, argument: str) -> None:
    for mebibytes in map(int, argument.split(",")):
        say(status_of(lambda n=mebibytes: unary(channel)(b"x" * (n << 20), timeout=PATIENCE_S)))
    say(status_of(lambda: unary(channel)(b"after", timeout=PATIENCE_S)))


def gzip(channel: grpc.Channel, argument: str) -> None:
    say(status_of(lambda: unary(channel)(b"x" * 5000, timeout=PATIENCE_S, compression=grpc.Compression.Gzip)))


def call(channel: grpc.Channel, argument: str) -> None:
    say(status_of(lambda: unary(channel, argument)(b"hello", timeout=PATIENCE_S)))


def streams(channel: grpc.Channel, argument: str) -> None:
    subscribe = channel.unary_stream(SUBSCRIBE, request_serializer=bytes, response_deserializer=bytes)
    calls = [subscribe(b"x") for _ in range(int(argument))]
    say(sum(len(next(call)) for call in calls))
    say(status_of(lambda: unary(channel)(b"hello", timeout=PATIENCE_S)))
    for call in calls:
        call.cancel()
    say(status_of(lambda: unary(channel)(b"hello", timeout=PATIENCE_S)))


def subscribe(channel: grpc.Channel, argument: str) -> None:
    call = channel.unary_stream(SUBSCRIBE, request_serializer=bytes, response_deserializer=bytes)(b"x")
    say(next(call).decode())
    say(status_of(lambda: next(call)))


def deadline(channel: grpc.Channel, argument: str) -> None:
    say(status_of(lambda: unary(channel, "/t.T/Deadline")(b"", timeout=float(argument))))


def health(channel: grpc.Channel, argument: str) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    stub = health_pb2_grpc.HealthStub(channel)
    for name in ("", "t.T", "nobody"):
        try:
            reply = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=PATIENCE_S)
            say(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))
        except grpc.RpcError as error:
            say(error.code().name)
    for reply in stub.Watch(health_pb2.HealthCheckRequest(service=argument), timeout=PATIENCE_S):
        say(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))
        sys.stdin.readline()


def watch(channel: grpc.Channel, argument: str) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    try:
        for reply in health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S):
            say(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))
    except grpc.RpcError as error:
        say(error.code().name)


def reflection(channel: grpc.Channel, argument: str) -> None:
    from google.protobuf.descriptor_pool import DescriptorPool
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    database = ProtoReflectionDescriptorDatabase(channel)
    say(*sorted(database.get_services()))
    pool = DescriptorPool(database)
    for name in argument.split(","):
        service = pool.FindServiceByName(name)
        say(service.full_name, len(service.methods), *(m.input_type.full_name for m in service.methods[:1]))


def reflection_v1(channel: grpc.Channel, argument: str) -> None:
    """Ask as grpcurl does: in v1, symbol by symbol, file by file."""
    from google.protobuf import descriptor_pb2
    from grpc_reflection.v1alpha import reflection_pb2 as pb

    ask = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",  # the messages are the same as in v1alpha
        request_serializer=pb.ServerReflectionRequest.SerializeToString,
        response_deserializer=pb.ServerReflectionResponse.FromString,
    )

    def files(**question: Any) -> list[Any]:
        reply = next(iter(ask(iter([pb.ServerReflectionRequest(**question)]), timeout=PATIENCE_S)))
        if reply.HasField("error_response"):
            say("error", reply.error_response.error_code)
        protos = reply.file_descriptor_response.file_descriptor_proto
        return [descriptor_pb2.FileDescriptorProto.FromString(data) for data in protos]

    seen: dict[str, Any] = {}
    todo = [file for symbol in argument.split(",") for file in files(file_containing_symbol=symbol)]
    while todo:
        file = todo.pop()
        if file.name not in seen:
            seen[file.name] = file
            for name in file.dependency:
                todo += files(file_by_filename=name)
    say(*sorted(seen))
    first, *rest = files(file_containing_symbol=f"{argument.split(',', maxsplit=1)[0]}.create")
    say(first.name, *sorted(file.name for file in rest))
    files(file_containing_symbol="no.such.Thing")
    files(file_by_filename="no/such.proto")
    extension = pb.ExtensionRequest(containing_type="google.protobuf.FieldOptions", extension_number=-1)
    files(file_containing_extension=extension)
    reply = next(
        iter(ask(iter([pb.ServerReflectionRequest(all_extension_numbers_of_type="google.protobuf.FieldOptions")])))
    )
    say(*sorted(reply.all_extension_numbers_response.extension_number))


def tls(channel: grpc.Channel, argument: str) -> None:
    """The argument is the directory with the certificates; the channel without TLS is not used."""
    from pathlib import Path

    port, directory = sys.argv[2], Path(argument)
    authority, cert, key = ((directory / name).read_bytes() for name in ("ca.pem", "client.pem", "client.key"))
    for credentials in (grpc.ssl_channel_credentials(authority, key, cert), grpc.ssl_channel_credentials(authority)):
        with grpc.secure_channel(f"localhost:{port}", credentials) as secured:
            say(status_of(lambda c=secured: unary(c)(b"hello", timeout=PATIENCE_S)).split(" ")[0])


def main() -> None:
    job, port, *argument = sys.argv[1:]
    options = [("grpc.max_send_message_length", -1), ("grpc.enable_retries", 0)]
    target = port if port.startswith("unix:") else f"127.0.0.1:{port}"
    with grpc.insecure_channel(target, options=options) as channel:
        globals()[job](channel, *(argument or [""]))


if __name__ == "__main__":
    main()
