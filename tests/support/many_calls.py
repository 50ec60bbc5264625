"""Drives `grpcio_many.py`: many calls at once to a served process, each a moment before or after the others."""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from child_process import Child, child

from stigmer.wire import codec, descriptors
from stigmer.wire.message_types import object_class

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from server_wire import Addressed

CLIENT = str(Path(__file__).with_name("grpcio_many.py"))


def path_of(service: str, rpc: str) -> str:
    """The path of a method, by the end of its service's name: `AgentCommandController`, `apply`."""
    (path,) = (one for one in descriptors.methods() if one.endswith(f".{service}/{rpc}"))
    return path


@dataclass
class Outcome:
    """How a call ended: `replies` are messages, `ms` is how long it took at the client."""

    code: str
    message: str
    ms: float
    replies: list[Any]

    @property
    def reply(self) -> Any:
        """The one reply of a call that must have succeeded."""
        assert self.code == "OK", (self.code, self.message)
        (reply,) = self.replies
        return reply


def call(service: str, rpc: str, request: Any, **how: Any) -> dict[str, Any]:
    """A call to make: `at_ms`, `connection`, `timeout_s` and `limit_bytes` are as grpcio_many.py has them."""
    return {"path": path_of(service, rpc), "body": base64.b64encode(codec.encode(request)).decode(), **how}


class Client:
    """A client process."""

    def __init__(self, process: Child) -> None:
        self._process = process

    async def all_of(self, calls: Sequence[dict[str, Any]]) -> list[Outcome]:
        """The outcomes of calls that are made at once."""
        self.start(calls)
        return await self.outcomes(calls)

    def start(self, calls: Sequence[dict[str, Any]]) -> None:
        """Make calls; `outcomes` waits for their ends."""
        streams = [{"stream": descriptors.methods()[one["path"]].server_streaming, **one} for one in calls]
        self._process.tell(json.dumps(streams))

    async def outcomes(self, calls: Sequence[dict[str, Any]]) -> list[Outcome]:
        """The outcomes of the calls that were started."""
        told = json.loads(await self._process.line())
        return [_outcome(made, one) for made, one in zip(calls, told, strict=True)]

    async def one(self, service: str, rpc: str, request: Any, **how: Any) -> Any:
        """The reply of a call that must succeed."""
        (outcome,) = await self.all_of([call(service, rpc, request, **how)])
        return outcome.reply


def _outcome(made: dict[str, Any], told: dict[str, Any]) -> Outcome:
    method = descriptors.methods()[made["path"]]
    reply: Any = object_class(method.reply)
    # grpcio may hand over what it has not inflated yet where the deadline passes meanwhile: that is no reply
    whole = told["replies"] if method.server_streaming or told["code"] == "OK" else ()
    replies = [codec.decode(reply, base64.b64decode(one)) for one in whole]
    return Outcome(told["code"], told["message"], told["ms"], replies)


@asynccontextmanager
async def client(server: Addressed) -> AsyncGenerator[Client]:
    async with child(CLIENT, str(server.address[1])) as process:
        yield Client(process)
