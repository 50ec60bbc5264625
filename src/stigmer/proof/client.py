"""Calls to a server, as bytes; whatever it answers that may hold no secret is searched."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from stigmer import rpc
from stigmer.proof.requests import is_resource
from stigmer.proof.search import Search
from stigmer.wire import codec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from google.protobuf.message import Message

    from stigmer.proof.canaries import Canaries
    from stigmer.wire.descriptors import Method

ERRORS, FRAMES, MARKED = "errors", "lists and streams", "replies to who may see no secrets"
TIME_LIMIT_S = 30.0
LOST = "LOST"
"""In place of a code: the connection is gone, or the time over."""


class Caller(NamedTuple):
    """Who calls.

    Attributes:
        headers: of its calls.
        sees: whether secret values are shown to it.
    """

    name: str
    headers: tuple[tuple[str, str], ...] = ()
    sees: bool = False


class Outcome(NamedTuple):
    """How a call ended: with the name of a status, after so many replies."""

    code: str
    replies: Sequence[bytes] = ()


class Client:
    """A client of one server: an async context manager.

    Args:
        address: of the server.
        search: has what is answered to who may not see values.
        canaries: to see which of them are shown to who may.

    Attributes:
        codes: how often each code was the answer, by the names of callers.
        shown: the canaries that were shown to who may see them.
    """

    def __init__(self, address: str, search: Search, canaries: Canaries) -> None:
        self._channel = rpc.channel(address)
        self._search, self._shown = search, Search(canaries)
        self.codes: Counter[tuple[str, str]] = Counter()
        self._unshown: list[bytes] = []

    def __repr__(self) -> str:
        return f"<Client, {sum(self.codes.values())} calls>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._channel.close()

    @property
    def shown(self) -> set[str]:
        """The names of the canaries that were shown to who may see them."""
        return {finding.canary for finding in self._shown.findings}

    async def call(
        self,
        method: Method,
        request: Message | bytes,
        caller: Caller,
        *,
        timeout_s: float = TIME_LIMIT_S,
        to_the_end: bool = False,
    ) -> Outcome:
        """A call, and how it ended; of a stream the first reply alone is read, unless it is followed to its end."""
        replies: list[bytes] = []
        code = "OK"
        try:
            async with aclosing(self._replies(method, request, caller, timeout_s)) as received:
                async for reply in received:
                    replies.append(reply)
                    if method.server_streaming and not to_the_end:
                        break
        except GRPCError as error:
            code = error.status.name
            look_at_error(self._search, error)
        except (StreamTerminatedError, ProtocolError, OSError, TimeoutError):
            code = LOST
        self.codes[caller.name, code] += 1
        return Outcome(code, replies)

    async def _replies(
        self, method: Method, request: Message | bytes, caller: Caller, timeout_s: float
    ) -> AsyncGenerator[bytes]:
        """The replies of a call as they come, each of them searched."""
        body = request if isinstance(request, bytes) else request.SerializeToString()
        kind = Cardinality.UNARY_STREAM if method.server_streaming else Cardinality.UNARY_UNARY
        headers = list(caller.headers)
        sent: Any = codec.Encoded[Any](bytes, body)
        call: Any = self._channel.request(method.path, kind, bytes, bytes, timeout=timeout_s, metadata=headers)
        async with asyncio.timeout(timeout_s + 1), call as stream:
            await stream.send_message(sent, end=True)
            while (reply := await stream.recv_message()) is not None:
                self._look(method, caller, reply)
                yield reply

    def _look(self, method: Method, caller: Caller, reply: bytes) -> None:
        is_single = is_resource(method.reply) and not method.server_streaming and method.name != "updateStatus"
        if is_single and caller.sees:
            self._shown.look("shown", reply)
        else:
            self._unshown.append(reply)
            self._search.look(MARKED if is_single else FRAMES, reply)

    def look_again(self) -> None:
        """Search the replies for what was not known as a secret when they came."""
        for reply in self._unshown:
            self._search.look(FRAMES, reply)


def look_at_error(search: Search, error: GRPCError) -> None:
    """Search what a caller is told of a failure."""
    search.look(ERRORS, (error.message or "").encode())
    for detail in error.details or ():
        search.look(ERRORS, detail.SerializeToString())
