"""A downstream client of any kind, built from the descriptors: what goes along with its calls, what comes back."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from opentelemetry import propagate

from stigmer._gen.service_stub import ServiceStub
from stigmer.edge.interceptors.built_in import REQUEST_ID_KEY
from stigmer.edge.interceptors.error_mapping import relayed
from stigmer.edge.loopback import LoopbackChannel
from stigmer.errors import Code, DeadlineExceeded, Relayed, Unavailable
from stigmer.pipeline.call import CURRENT
from stigmer.telemetry.traces import swallowing
from stigmer.wire import descriptors
from stigmer.wire.message_types import object_class

if TYPE_CHECKING:
    from collections.abc import Generator

    from grpclib.client import Channel


R = TypeVar("R")


class ResourceClient(ServiceStub, Generic[R]):
    """What one domain may ask of another's kind.

    Args:
        kind: such as "AgentInstance".
        channel: grpclib's, or that of this process.

    Attributes:
        in_process: whether its calls join the caller's transaction.
    """

    def __init__(self, kind: str, channel: Channel) -> None:
        super().__init__(channel)
        self.in_process = isinstance(channel, LoopbackChannel)
        meta = descriptors.kind_by_name(kind)
        self._methods = {one.name: one for one in descriptors.methods().values() if one.kind == meta}

    async def get(self, id_: str) -> R | None:
        """The resource, or None where the id names nothing; raises a StigmerError as the call fails."""
        return await self._found("get", id_)

    async def create(self, resource: R, /) -> R:
        """Make a resource, with what the server makes for it; raises a StigmerError as the call fails."""
        return await self._call("create", resource)

    async def delete(self, id_: str) -> None:
        """Delete a resource; it may be gone already."""
        await self._found("delete", id_)

    async def _found(self, rpc: str, id_: str) -> R | None:
        """What a method answers that is told no more than an id, by its request's first field; None for NOT_FOUND."""
        name = self._methods[rpc].request
        field = descriptors.descriptor(name).fields_by_number[1].name
        try:
            return await self._call(rpc, object_class(name)(**{field: id_}))
        except Relayed as error:
            if error.code is Code.NOT_FOUND:
                return None
            raise

    async def _call(self, rpc: str, request: Any) -> R:  # noqa: ANN401 - the method's own
        method = self._methods[rpc]
        reply: Any = object_class(method.reply)
        terms = _NONE if self.in_process else _inherited()
        with _relaying():
            answered: R = await self._unary_unary(method.path, request, reply, **terms)
        return answered


_NONE: dict[str, Any] = {"timeout": None, "deadline": None, "metadata": None}
"""In this process a call inherits what it has to without being told."""


def _inherited() -> dict[str, Any]:
    """What a call over a network takes over from the call within which it is made."""
    call = CURRENT.get()
    metadata: dict[str, str] = {}
    with swallowing():
        propagate.inject(metadata)
    if call is None:
        return {**_NONE, "metadata": metadata}
    if call.request_id:
        metadata[REQUEST_ID_KEY] = call.request_id
    remaining_s = None if call.deadline_s is None else max(0.0, call.deadline_s - time.monotonic())
    return {**_NONE, "metadata": metadata, "timeout": remaining_s}


@contextmanager
def _relaying() -> Generator[None]:
    """Raise a downstream failure as one of `errors`; those of a network included."""
    try:
        yield
    except GRPCError as error:
        raise relayed(error) from error
    except TimeoutError as error:
        raise DeadlineExceeded("the deadline passed before a downstream service answered") from error
    except (OSError, ProtocolError, StreamTerminatedError) as error:
        raise Unavailable(f"a downstream service is out of reach ({type(error).__name__}): try again") from error
