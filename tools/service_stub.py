"""What the generated stubs have in common: a copy of tools/service_stub.py, put here by tools/generate.py.

It stands in for betterproto2's own class, whose import brings grpclib's server and HTTP/2 along: the stubs of a control
plane in the same process need neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from grpclib.const import Cardinality

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import betterproto2
    from betterproto2.grpclib.grpclib_client import MetadataLike
    from grpclib.client import Channel
    from grpclib.metadata import Deadline

Reply = TypeVar("Reply", bound="betterproto2.Message")


class ServiceStub:
    """The calls of one service on a channel.

    Args:
        channel: grpclib's, or that of a control plane in this process.
        timeout: seconds for each call that is given none.
        deadline: for each call that is given none; the sooner of the two counts.
        metadata: for each call that is given none.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: MetadataLike | None = None,
    ) -> None:
        self.channel, self.timeout, self.deadline, self.metadata = channel, timeout, deadline, metadata

    async def _unary_unary(
        self, route: str, request: betterproto2.Message, reply_type: type[Reply], **given: Any
    ) -> Reply:
        async with self._request(route, Cardinality.UNARY_UNARY, request, reply_type, **given) as stream:
            await stream.send_message(request, end=True)
            reply: Reply | None = await stream.recv_message()
        if reply is None:
            raise RuntimeError(f"{route} was answered OK without a reply")
        return reply

    async def _unary_stream(
        self, route: str, request: betterproto2.Message, reply_type: type[Reply], **given: Any
    ) -> AsyncIterator[Reply]:
        async with self._request(route, Cardinality.UNARY_STREAM, request, reply_type, **given) as stream:
            await stream.send_message(request, end=True)
            async for reply in stream:
                yield reply

    def _request(
        self, route: str, cardinality: Cardinality, request: betterproto2.Message, reply_type: type[Reply], **given: Any
    ) -> Any:
        own: dict[str, Any] = {"timeout": self.timeout, "deadline": self.deadline, "metadata": self.metadata}
        chosen: dict[str, Any] = {name: value if given[name] is None else given[name] for name, value in own.items()}
        return self.channel.request(route, cardinality, type(request), reply_type, **chosen)
