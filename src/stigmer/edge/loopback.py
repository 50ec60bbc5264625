"""A channel that every generated stub accepts, whose calls stay in this process and pass the network calls' own door.

A unary call made inside another one joins its transaction. Metadata, deadline, cancellation and errors are as over the
network; the caller's message is never touched.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol, Self

from grpclib.metadata import decode_metadata, encode_metadata
from multidict import MultiDict

from stigmer.pipeline.call import Terms

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType

    import betterproto2
    from betterproto2.grpclib.grpclib_client import MetadataLike
    from grpclib.client import Channel
    from grpclib.const import Cardinality
    from grpclib.metadata import Deadline

    from stigmer.access.principal import Principal
else:
    Channel = object  # importing grpclib's would bring HTTP/2 along


class Callee(Protocol):
    """What carries out the calls: `edge.door.Edge`."""

    async def unary(self, path: str, request: betterproto2.Message, terms: Terms) -> betterproto2.Message:
        """A call with one reply."""
        ...

    def stream(
        self, path: str, request: betterproto2.Message, terms: Terms
    ) -> AsyncGenerator[betterproto2.Message, None]:
        """A call with a stream of replies."""
        ...


class LoopbackChannel(Channel):
    """What a generated stub takes: to type checkers a `grpclib.client.Channel`, closed when its plane is.

    Args:
        callee: carries out its calls.
        principal: who makes them; see `Edge.channel`.
    """

    def __init__(self, callee: Callee, principal: Principal | None = None) -> None:
        self._callee, self._principal = callee, principal

    def __repr__(self) -> str:
        return f"<LoopbackChannel to {self._callee!r}>"

    def request(  # noqa: PLR0913 - grpclib's signature
        self,
        name: str,
        cardinality: Cardinality,
        request_type: type[Any],
        reply_type: type[Any],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: MetadataLike | None = None,
    ) -> Any:  # noqa: ANN401 - a LoopbackStream: as much of grpclib's as the stubs use
        """A call to the method `name`; of `timeout` (in seconds) and `deadline` the sooner counts.

        Raises:
            ValueError, TypeError: a key or a value of the metadata could not be sent over a network either.
        """
        del request_type, reply_type  # the messages tell
        limits = [timeout] if timeout is not None else []
        limits += [deadline.time_remaining()] if deadline is not None else []
        deadline_s = time.monotonic() + min(limits) if limits else None
        sent = decode_metadata(encode_metadata(metadata)) if metadata else MultiDict[str | bytes]()
        terms = Terms(sent, deadline_s, self._principal)
        return LoopbackStream(self._callee, name, terms, streaming=bool(cardinality.value.server_streaming))

    def close(self) -> None:
        """Nothing: no connection is open. It can be used on, as grpclib's can, which connects again."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.close()


class LoopbackStream:
    """One call, as generated stubs drive it: send the request, receive the reply or iterate over the replies."""

    def __init__(self, callee: Callee, path: str, terms: Terms, *, streaming: bool) -> None:
        self._callee, self._path, self._terms, self._streaming = callee, path, terms, streaming
        self._called = False
        self._request: betterproto2.Message | None = None
        self._replies: AsyncGenerator[betterproto2.Message, None] | None = None

    def __repr__(self) -> str:
        return f"<LoopbackStream {self._path}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._replies is not None:
            await self._replies.aclose()

    async def send_message(self, message: betterproto2.Message, *, end: bool = False) -> None:
        """Take the request."""
        del end  # requests are single messages
        self._request = message

    async def recv_message(self) -> betterproto2.Message | None:
        """Make the call; the next reply, or None where a stream has ended.

        Raises:
            GRPCError: the call failed.
        """
        if self._request is None:
            raise RuntimeError("send the request first")
        if not self._streaming:
            if self._called:
                return None
            self._called = True
            return await self._callee.unary(self._path, self._request, self._terms)
        if self._replies is None:
            self._replies = self._callee.stream(self._path, self._request, self._terms)
        return await anext(self._replies, None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> betterproto2.Message:
        reply = await self.recv_message()
        if reply is None:
            raise StopAsyncIteration
        return reply
