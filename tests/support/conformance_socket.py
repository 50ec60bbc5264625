"""A served stigmer in a process, a grpcio client in another, and a channel for generated stubs that drives the client.

So one scenario runs over the loopback and over a real socket with another implementation of gRPC.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import subprocess
import sys
import threading
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from google.rpc import error_details_pb2, status_pb2
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from served_process import serving

from stigmer.wire import codec

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKER = Path(__file__).with_name("conformance_worker.py")
_DETAILS = {
    f"google.rpc.{name}": getattr(error_details_pb2, name)
    for name in error_details_pb2.DESCRIPTOR.message_types_by_name
}


@contextlib.contextmanager
def served(data_dir: Path, *flags: str) -> Iterator[GrpcioChannel]:
    """`stigmer serve` on a free port, and a grpcio client of it."""
    with serving("--data-dir", str(data_dir), *flags) as server:
        command = (sys.executable, str(WORKER), str(server.address[1]))
        with subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
            try:
                yield GrpcioChannel(worker)
            finally:
                worker.terminate()


class GrpcioChannel:
    """Give it to a generated stub in place of `grpclib.client.Channel`. One call at a time."""

    def __init__(self, worker: subprocess.Popen[str]) -> None:
        self._worker = worker
        self._turn = threading.Lock()
        self.metadata: list[tuple[str, str]] = []

    def bearing(self, token: str) -> GrpcioChannel:
        """The same connection for the calls of somebody with that token."""
        other = copy(self)
        other.metadata = [("authorization", f"Bearer {token}")]
        return other

    def request(self, name: str, cardinality: Any, _request: Any, reply: type[Any], **options: Any) -> GrpcioStream:
        return GrpcioStream(self, name, reply, options.get("timeout"), streaming=cardinality.server_streaming)

    async def do(self, **job: Any) -> dict[str, Any]:
        answer = await asyncio.to_thread(self._do, job)
        if "code" in answer:
            details = status_pb2.Status.FromString(base64.b64decode(answer["details"])).details
            raise GRPCError(Status(answer["code"]), answer["message"], [_unpacked(one) for one in details] or None)
        return answer

    def _do(self, job: dict[str, Any]) -> dict[str, Any]:
        stdin, stdout = self._worker.stdin, self._worker.stdout
        assert stdin is not None
        assert stdout is not None
        with self._turn:
            stdin.write(json.dumps(job) + "\n")
            stdin.flush()
            answer: dict[str, Any] = json.loads(stdout.readline())
        return answer


class GrpcioStream:
    """One call, as generated stubs drive it."""

    def __init__(
        self, channel: GrpcioChannel, path: str, reply: type[Any], timeout: float | None, *, streaming: bool
    ) -> None:
        self._channel = channel
        self._path = path
        self._reply = reply
        self._timeout = timeout
        self._streaming = streaming
        self._data = ""
        self._stream: int | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._stream is not None:
            await self._channel.do(op="close", stream=self._stream)

    async def send_message(self, message: Any, *, end: bool = False) -> None:
        self._data = base64.b64encode(codec.encode(message)).decode()

    async def recv_message(self) -> Any:
        call = {"path": self._path, "data": self._data, "timeout": self._timeout, "metadata": self._channel.metadata}
        if not self._streaming:
            answer = await self._channel.do(op="unary", **call)
        else:
            if self._stream is None:
                self._stream = (await self._channel.do(op="open", **call))["stream"]
            answer = await self._channel.do(op="next", stream=self._stream)
        return None if "end" in answer else codec.decode(self._reply, base64.b64decode(answer["data"]))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        reply = await self.recv_message()
        if reply is None:
            raise StopAsyncIteration
        return reply


def _unpacked(packed: Any) -> Any:
    detail = _DETAILS[packed.TypeName()]()
    packed.Unpack(detail)
    return detail
