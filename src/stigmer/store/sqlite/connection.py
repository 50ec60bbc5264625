"""A SQLite connection with a thread of its own: the one place that reaches into aiosqlite. `worker` feeds it."""

from __future__ import annotations

import asyncio
import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import aiosqlite

from stigmer.store.lifetime import tell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

Raw = TypeVar("Raw", bound=sqlite3.Connection)
Result = TypeVar("Result")


def connect(path: Path, *, timeout_s: float, kind: type[Raw]) -> Raw:
    """Open a database that any one thread at a time may use.

    Args:
        path: of the database.
        timeout_s: how long a statement waits for another process's lock.
        kind: the class of the connection.
    """
    return sqlite3.connect(
        path, timeout=timeout_s, isolation_level=None, cached_statements=256, check_same_thread=False, factory=kind
    )


class SqliteConnection(aiosqlite.Connection):
    """aiosqlite's connection over an open one, with a way to run a function on its thread.

    Its thread runs from here on to `end`. Nothing of that needs the event loop, so that a store can be closed whatever
    becomes of the loop.
    """

    def __init__(self, raw: sqlite3.Connection) -> None:
        super().__init__(lambda: raw, iter_chunk_size=64)
        self._connection = raw
        self._thread.daemon = True  # else a store that is not closed hangs the interpreter's exit
        self._thread.start()

    async def run(self, function: Callable[[sqlite3.Connection], Result]) -> Result:
        """Call `function` with the sqlite3 connection, on the connection's thread.

        Raises:
            ValueError: it is closed.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.post(function, partial(_settle, future))
        return await future

    def post(
        self,
        function: Callable[[sqlite3.Connection], Result],
        then: Callable[[Result | None, BaseException | None], None],
    ) -> None:
        """Call `function` with the sqlite3 connection, on the connection's thread; what it gave is told on the loop.

        Args:
            function: what to call.
            then: called with its result, or with what it raised.

        Raises:
            ValueError: it is closed.
        """
        if not self._running:
            raise ValueError("Connection closed")
        loop = asyncio.get_running_loop()

        def call() -> None:
            try:
                result = function(self._conn)
            except BaseException as error:  # noqa: BLE001 - it is the caller's to see
                tell(loop, partial(then, None, error))
            else:
                tell(loop, partial(then, result, None))

        self._queue(call)

    def end(self, then: Callable[[], None]) -> None:
        """Close it once what was asked for is done; `then` is called on its thread, which ends after that."""
        self._running = False

        def close() -> None:
            try:
                if self._connection is not None:
                    self._connection.close()
            finally:
                self._connection = None
                self.stop()  # pyright: ignore[reportUnknownMemberType]  # no event loop runs here: it queues the end of the thread, and no future
                then()

        self._queue(close)

    def _queue(self, call: Callable[[], None]) -> None:
        """Have the thread make a call, and tell nobody of it: aiosqlite's own way needs a loop that still runs."""
        self._tx.put_nowait((None, call))  # pyright: ignore[reportUnknownMemberType]  # its futures have no type


def end_all(connections: Sequence[SqliteConnection], then: Callable[[], None]) -> None:
    """Close them one after another, each on its own thread; `then` is called on the last one's."""
    if not connections:
        then()
        return
    first, *others = connections
    first.end(lambda: end_all(others, then))


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
