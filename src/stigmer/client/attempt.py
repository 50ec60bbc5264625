"""One try of a call: whatever it fails with is one of `stigmer.errors`, which tells what is known of the outcome."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from grpclib.exceptions import StreamTerminatedError

from stigmer.client.failures import failure_of
from stigmer.errors import Code

if TYPE_CHECKING:
    from types import TracebackType

    from stigmer.wire.descriptors import Method

_UNKNOWN_OUTCOMES = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.UNKNOWN, Code.CANCELLED})


class Attempt:
    """Around one try.

    Args:
        method: what is called.
        request_id: the call's name.
        server: whom it is for, in words.

    Attributes:
        stream: grpclib's, or the loopback's; None until it is made.
    """

    __slots__ = ("_method", "_request_id", "_server", "stream")

    def __init__(self, method: Method, request_id: str, server: object) -> None:
        self._method, self._request_id, self._server = method, request_id, server
        self.stream: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception):
            return
        _take_back_the_cancellation(error)
        failure = failure_of(error, self._server)
        if failure is None:
            return
        failure.request_id = self._request_id
        failure.outcome_unknown = self._is_written() and failure.code in _UNKNOWN_OUTCOMES
        if failure is not error:
            raise failure from error

    def _is_written(self) -> bool:
        """Whether what the call was to write may be written: it has left for the server."""
        sent = self.stream is not None and getattr(self.stream, "peer", self.stream) is not None
        return sent and is_write(self._method)


def is_write(method: Method) -> bool:
    """Whether a method may change something."""
    return not method.service.endswith("QueryController")


def _take_back_the_cancellation(error: BaseException | None) -> None:
    """Forget that grpclib cancelled this task to wake it up: `asyncio.timeout` would take it for somebody else's."""
    while error is not None:
        by_grpclib = isinstance(error, StreamTerminatedError) or str(error) == "Deadline exceeded"
        if by_grpclib and isinstance(error.__context__, asyncio.CancelledError):
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            return
        error = error.__context__
