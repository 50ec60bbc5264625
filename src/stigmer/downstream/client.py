"""A downstream client of any kind: what goes along with its calls, and what comes back as an error."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from opentelemetry import propagate

from stigmer.edge.interceptors.error_mapping import relayed
from stigmer.edge.interceptors.request_id import KEY
from stigmer.edge.loopback import LoopbackChannel
from stigmer.errors import Code, DeadlineExceeded, Relayed, Unavailable
from stigmer.pipeline.call import CURRENT
from stigmer.telemetry.traces import swallowing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator


R = TypeVar("R")


class ResourceClient(Generic[R]):
    """What one domain may ask of another's kind, over a channel that generated stubs accept.

    A subclass names the kind's stubs and the message of its ids.

    Attributes:
        in_process: whether its calls join the caller's transaction.
    """

    commands: ClassVar[type[Any]]
    queries: ClassVar[type[Any]]
    id_message: ClassVar[type[Any]]

    def __init__(self, channel: Any) -> None:  # noqa: ANN401 - grpclib's Channel, or the loopback's
        self._commands = self.commands(channel)
        self._queries = self.queries(channel)
        self.in_process = isinstance(channel, LoopbackChannel)

    async def get(self, id_: str) -> R | None:
        """The resource, or None where the id names nothing; raises a StigmerError as the call fails."""
        resource: R | None = await _found(self._queries.get, self.id_message(value=id_))
        return resource

    async def create(self, resource: R, /) -> R:
        """Make a resource, with what the server makes for it; raises a StigmerError as the call fails."""
        with _relaying():
            created: R = await self._commands.create(resource, **_inherited())
        return created

    async def delete(self, id_: str) -> None:
        """Delete a resource; it may be gone already."""
        await _found(self._commands.delete, self.id_message(value=id_))


def _inherited() -> dict[str, Any]:
    """The stub's arguments that a call takes over from the call inside which it is made."""
    call = CURRENT.get()
    metadata: dict[str, str] = {}
    with swallowing():
        propagate.inject(metadata)
    if call is None:
        return {"metadata": metadata, "timeout": None}
    if call.request_id:
        metadata[KEY] = call.request_id
    remaining = None if call.deadline_s is None else max(0.0, call.deadline_s - time.monotonic())
    return {"metadata": metadata, "timeout": remaining}


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


async def _found(call: Callable[..., Awaitable[Any]], request: object) -> Any:  # noqa: ANN401 - any kind's resource
    """What the call answers, or None where it says NOT_FOUND."""
    try:
        with _relaying():
            return await call(request, **_inherited())
    except Relayed as error:
        if error.code is Code.NOT_FOUND:
            return None
        raise
