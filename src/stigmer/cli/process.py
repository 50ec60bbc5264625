"""What `stigmer serve` makes of its process: one that stops by a signal, within the grace, and is tuned for a server.

A host that embeds the control plane decides these things itself; nothing but the command does them.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import sys
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from stigmer import app
from stigmer.store.errors import StoreUnavailableError
from stigmer.store.lifetime import Grace, outlast
from stigmer.telemetry import log_stream
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

    from stigmer.settings import Settings

T = TypeVar("T")

log = get_logger("stigmer.cli")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
EXIT_S = 0.1
"""Of the grace, or a twentieth of it where that is less: for the process to end."""

GC_THRESHOLDS = (2_000, 10, 500)
"""How seldom the collector looks at all objects: with 8,000 calls open it takes a second, and finds nothing.

Calls and connections leave no cycles behind, so that their memory does not wait for it.
"""
SWITCH_S = 0.0001
"""How long a thread of the store waits until a busy loop gives Python's lock up, which it needs 20 times a list."""

_M_MMAP_THRESHOLD = -3  # of mallopt: see malloc.h
_LARGE_BYTES = 256 * 1024


async def serve_until_signal(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain; also where the signal came before there was anything to drain.

    Raises:
        StartupError: see `app.serve`.
        StoreUnavailableError: the grace is over and the disk does not answer.
    """
    grace = Grace(settings.grace_s - min(EXIT_S, settings.grace_s / 20))
    with stop_signals() as stop:
        async with AsyncExitStack() as stack:
            server = await _started(stack.enter_async_context(app.serving(settings, grace=grace)), stop, grace)
            if server is not None:
                tune()
                name = signal.Signals(await stop).name
                log.info("Draining; a second signal ends at once", signal=name, grace_s=round(grace.left_s(), 3))


def tune() -> None:
    """Set the process up for a server that has started, and that has it for itself."""
    gc.collect()
    gc.freeze()  # what is there now stays: the collector need not look at it again
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_S)
    with suppress(OSError, AttributeError):  # another C library
        # Large blocks go back to the system when they are freed; glibc would soon keep them for the next ones.
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        library.malloc_trim(0)  # what the start alone took goes back, a megabyte or two


async def _started(starting: Coroutine[Any, Any, T], stop: asyncio.Future[int], grace: Grace) -> T | None:
    """What starts; after a signal it has half of the grace to come so far, then it is given up: None.

    Raises:
        StoreUnavailableError: it does not even end, because the disk does not answer.
    """
    start, over = asyncio.ensure_future(starting), asyncio.Event()
    start.add_done_callback(lambda _: over.set())
    try:
        await asyncio.wait((start, stop), return_when=asyncio.FIRST_COMPLETED)
        if not start.done():
            await asyncio.wait((start,), timeout=grace.left_s() / 2)
    finally:
        if not start.done():
            start.cancel()
            await outlast(over, grace.closing_s())
    if not start.done():
        raise StoreUnavailableError("the start was given up, and the disk does not answer")
    if start.cancelled():
        log.info("stigmer stops before it serves")
        return None
    return start.result()


@contextmanager
def stop_signals() -> Generator[asyncio.Future[int]]:
    """A future of the number of the first SIGTERM or SIGINT, which from now on end nothing by themselves.

    Enter it before anything is opened: a signal that comes while the server starts is kept until it serves. A second
    signal ends the process at once, with status 128 + its number. The signals' former handlers are back when it is
    left, but for those set with `loop.add_signal_handler`.
    """
    loop = asyncio.get_running_loop()
    first: asyncio.Future[int] = loop.create_future()

    def on_signal(number: int) -> None:
        if not first.done():
            first.set_result(number)
            return
        log.warning("A second signal: ending at once", signal=signal.Signals(number).name)
        log_stream.flush()
        os._exit(128 + number)

    former = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield first
    finally:
        for number, handler in former.items():
            loop.remove_signal_handler(number)
            if handler is not None:  # None: set by other than Python code, which cannot be put back
                signal.signal(number, handler)
