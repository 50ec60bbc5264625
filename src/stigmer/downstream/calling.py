"""How downstream clients call: what goes along, and what comes back as an error."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from grpclib.exceptions import GRPCError
from opentelemetry import propagate

from stigmer.call import CURRENT
from stigmer.errors import Code
from stigmer.interceptors.request_id import KEY
from stigmer.loopback import LoopbackChannel
from stigmer.route import relayed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator


def is_in_process(channel: object) -> bool:
    """Whether calls on the channel join the caller's transaction."""
    return isinstance(channel, LoopbackChannel)


def inherited() -> dict[str, Any]:
    """The stub's arguments that a call takes over from the call inside which it is made."""
    call = CURRENT.get()
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    if call is None:
        return {"metadata": carrier, "timeout": None}
    remaining = None if call.deadline_s is None else max(0.0, call.deadline_s - time.monotonic())
    return {"metadata": {**carrier, KEY: call.request_id}, "timeout": remaining}


@contextmanager
def relaying() -> Generator[None]:
    """Raise a downstream failure as one of `errors`."""
    try:
        yield
    except GRPCError as error:
        raise relayed(error) from error


async def found(call: Callable[..., Awaitable[Any]], request: object) -> Any:  # noqa: ANN401 - any kind's resource
    """What the call answers, or None where it says NOT_FOUND."""
    try:
        return await call(request, **inherited())
    except GRPCError as error:
        if error.status.value == Code.NOT_FOUND:
            return None
        raise relayed(error) from error
