"""How downstream clients call: what goes along, and what comes back as an error."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from opentelemetry import propagate

from stigmer.call import CURRENT
from stigmer.errors import Code, DeadlineExceeded, Relayed, Unavailable
from stigmer.interceptors.error_mapping import relayed
from stigmer.interceptors.request_id import KEY
from stigmer.loopback import LoopbackChannel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator


def is_in_process(channel: object) -> bool:
    """Whether calls on the channel join the caller's transaction."""
    return isinstance(channel, LoopbackChannel)


def inherited() -> dict[str, Any]:
    """The stub's arguments that a call takes over from the call inside which it is made."""
    call = CURRENT.get()
    metadata: dict[str, str] = {}
    propagate.inject(metadata)
    if call is None:
        return {"metadata": metadata, "timeout": None}
    if call.request_id:
        metadata[KEY] = call.request_id
    remaining = None if call.deadline_s is None else max(0.0, call.deadline_s - time.monotonic())
    return {"metadata": metadata, "timeout": remaining}


@contextmanager
def relaying() -> Generator[None]:
    """Raise a downstream failure as one of `errors`; those of a network included."""
    try:
        yield
    except GRPCError as error:
        raise relayed(error) from error
    except TimeoutError as error:
        raise DeadlineExceeded("the deadline passed before a downstream service answered") from error
    except (OSError, ProtocolError, StreamTerminatedError) as error:
        raise Unavailable(f"a downstream service is out of reach ({type(error).__name__}): try again") from error


async def found(call: Callable[..., Awaitable[Any]], request: object) -> Any:  # noqa: ANN401 - any kind's resource
    """What the call answers, or None where it says NOT_FOUND."""
    try:
        with relaying():
            return await call(request, **inherited())
    except Relayed as error:
        if error.code is Code.NOT_FOUND:
            return None
        raise
