"""One try of a call: whatever it fails with is one of `stigmer.errors`, which tells what is known of the outcome."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from grpclib.exceptions import StreamTerminatedError

from stigmer.client.failures import failure_of
from stigmer.errors import Code

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from grpclib.utils import Wrapper

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

    __slots__ = ("_cancelling", "_method", "_request_id", "_server", "_task", "stream")

    def __init__(self, method: Method, request_id: str, server: object) -> None:
        self._method, self._request_id, self._server = method, request_id, server
        self.stream: Any = None

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._cancelling = 0 if self._task is None else self._task.cancelling()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception):
            return
        if _has_woken_the_task(error):
            self._take_back_its_cancellation(error)
        failure = failure_of(error, self._server)
        if failure is None:
            return
        failure.request_id = self._request_id
        failure.outcome_unknown = self._is_written() and failure.code in _UNKNOWN_OUTCOMES
        if failure is not error:
            raise failure from error

    def begun(self) -> None:
        """Have grpclib cancel the task once, where a connection that ends says so twice: that can be taken back."""
        wrapper = getattr(self.stream, "_wrapper", None)
        if wrapper is not None:
            wrapper.cancel = partial(_once, wrapper, wrapper.cancel)

    def _take_back_its_cancellation(self, error: Exception) -> None:
        """Forget that grpclib cancelled the task: `asyncio.timeout` would take it for somebody else's.

        Raises:
            CancelledError: somebody else cancelled it at the same time.
        """
        task = asyncio.current_task()
        before = self._cancelling if task is self._task else 0  # a stream's replies may be awaited by another task
        if task is not None and task.uncancel() > before:
            raise asyncio.CancelledError from error

    def _is_written(self) -> bool:
        """Whether what the call was to write may be written: it has left for the server."""
        sent = self.stream is not None and getattr(self.stream, "peer", self.stream) is not None
        return sent and is_write(self._method)


def is_write(method: Method) -> bool:
    """Whether a method may change something."""
    return not method.service.endswith("QueryController")


def _once(wrapper: Wrapper, cancel: Callable[[Exception], None], error: Exception) -> None:
    if not wrapper.cancelled:
        cancel(error)


def _has_woken_the_task(error: BaseException | None) -> bool:
    """Whether grpclib has cancelled this task to raise the error in it."""
    while error is not None:
        by_grpclib = isinstance(error, StreamTerminatedError) or str(error) == "Deadline exceeded"
        if by_grpclib and isinstance(error.__context__, asyncio.CancelledError):
            return True
        error = error.__context__
    return False
