"""A loop in a thread of its own, on which `stigmer.sync` has the asynchronous client work."""

from __future__ import annotations

import threading
import weakref
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from anyio.from_thread import start_blocking_portal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Generator

    from anyio.from_thread import BlockingPortal

    from stigmer.client.listing import Listing, Page

T = TypeVar("T")
_END: Final[Any] = object()


class Portal:
    """Runs coroutines on a loop in a thread, which begins with the first one. Any thread may call, on a loop or not."""

    def __init__(self) -> None:
        self._portal: BlockingPortal | None = None
        self._thread, self._lock = ExitStack(), threading.Lock()
        self._end = weakref.finalize(self, self._thread.close)  # at the end of the program too, while threads still run

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns; it is cancelled where the caller is interrupted. Raises as it does."""

        async def awaited() -> T:
            return await work

        future = self._running().start_task_soon(awaited)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # of no effect but where it is the caller that was interrupted
            raise

    def iterate(self, source: AsyncGenerator[T]) -> Generator[T]:
        """What the generator yields, which is closed with this one."""
        try:
            while (one := self.run(_next(source))) is not _END:
                yield one
        finally:
            self.run(_closed(source))

    def close(self) -> None:
        """End the thread, where there is one; what runs in it is waited for."""
        with self._lock:
            self._portal = None
            self._thread.close()

    def _running(self) -> BlockingPortal:
        with self._lock:
            if self._portal is None:
                self._portal = self._thread.enter_context(start_blocking_portal(name="stigmer.sync"))
            return self._portal


class Pages(Generic[T]):
    """A list that a server keeps: `for` gives its entries, `pages` its pages. Each walk begins anew."""

    def __init__(self, portal: Portal, listing: Listing[T]) -> None:
        self._portal, self._listing = portal, listing

    def __iter__(self) -> Generator[T]:
        """Every entry; raises StigmerError where a page cannot be had."""
        return self._portal.iterate(aiter(self._listing))

    def pages(self) -> Generator[Page[T]]:
        """Every page; raises StigmerError where one cannot be had."""
        return self._portal.iterate(self._listing.pages())


async def _next(source: AsyncGenerator[T]) -> T:
    return await anext(source, _END)


async def _closed(source: AsyncGenerator[Any]) -> None:
    with suppress(RuntimeError):  # the thread was interrupted while it waited for it
        await source.aclose()
