"""One unary call, one transaction: who opens it, who joins it, who repeats it.

The outermost call opens the transaction in `run`, and alone commits, rolls back and repeats it; a unary call made
within it over the loopback joins it in `join`. `edge.chain` makes every unary call through both.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from stigmer.errors import Aborted
from stigmer.pipeline.call import CURRENT
from stigmer.pipeline.row_queue import RowQueues
from stigmer.store.errors import ConflictError
from stigmer.store.transaction import Transaction
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from stigmer.pipeline.call import Call
    from stigmer.store.contract import Store

T = TypeVar("T")
Undo: TypeAlias = "Callable[[], Awaitable[None]]"

MAX_RUNS = 100
"""How often a call is run before it gives up on a hot row."""
UNDO_S = 10.0
"""How long it may take to undo what a failed call made elsewhere."""

log = get_logger("stigmer.pipeline.unit_of_work")


class UnitOfWork:
    """Runs calls on a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._row_queues = RowQueues()
        self._tasks: set[asyncio.Task[None]] = set()

    async def join(self, call: Call, work: Callable[[], Awaitable[T]]) -> T:
        """Do the work of a call, within the transaction of the call around it where that one runs.

        Of the calls that join the same one, one works at a time. What it staged is committed with that one or not at
        all; where the work fails, it is dropped.

        Raises:
            Aborted: the call around it has ended meanwhile.
            Exception: what the work raised.
        """
        while (around := _running_around(call)) is not None:
            outer, parent = around
            async with parent.joining:
                if not parent.ended:
                    call.attempt, call.transaction = outer.attempt, Transaction(self._store, parent)
                    return await self._joined(call, call.transaction, work, outer)
        return await work()

    async def run(self, call: Call, once: Callable[[], Awaitable[T]]) -> T:
        """Do one run of a call in its transaction; an outermost one commits it, and runs again where it lost a race.

        Args:
            call: its `transaction` and `attempt` are those of the run.
            once: one run; it must start from the request as it came.

        Raises:
            Aborted: MAX_RUNS runs lost, or a call that has joined read what another call was changing.
            Exception: what the last run raised.
        """
        if call.parent is not None and call.transaction is not None and not call.transaction.ended:
            return await self._run_joined(call, call.transaction, once)
        call.attempt = 1
        try:
            return await self._run_alone(call, once)
        except ConflictError as conflict:
            key = conflict.key
        async with self._row_queues.queue() as hold:
            while call.attempt < MAX_RUNS:
                log.debug("Lost a race, running again", key="/".join(key), attempt=call.attempt)
                await hold(key)
                call.attempt += 1
                try:
                    return await self._run_alone(call, once)
                except ConflictError as conflict:
                    key = conflict.key
        message = f"{call.method.name} lost {MAX_RUNS} races: try again when the resource is less busy"
        raise Aborted(message, _CONTENTION)

    async def settled(self) -> None:
        """Wait for what goes on after calls have ended; before the store is closed."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _joined(self, call: Call, transaction: Transaction, work: Callable[[], Awaitable[T]], outer: Call) -> T:
        try:
            result = await work()
        except BaseException:
            await self._drop(call, transaction)
            transaction.end()
            raise
        if call.dry_run and not outer.dry_run:
            await self._drop(call, transaction)
            transaction.end()
        elif not transaction.merge():
            await self._drop(call, transaction)
            raise Aborted(f"the call within which {call.method.name} was made has ended before it", _CONTENTION)
        return result

    async def _run_joined(self, call: Call, transaction: Transaction, once: Callable[[], Awaitable[T]]) -> T:
        """One run; where it fails, nothing stays staged, even where an interceptor goes on in spite of that."""
        try:
            return await once()
        except BaseException as error:
            await self._drop(call, transaction)
            if isinstance(error, ConflictError):  # the outermost call runs again, whatever its caller makes of this one
                message = f"{call.method.name} read what another call was changing: all of it runs again"
                raise Aborted(message, _CONTENTION) from error
            raise

    async def _run_alone(self, call: Call, once: Callable[[], Awaitable[T]]) -> T:
        call.transaction = transaction = Transaction(self._store)
        try:
            result = await _on_one_commit(transaction, once)
            transaction.end()
            if call.attempt == 1 and self._row_queues.interested:
                self._row_queues.yield_to_queues(transaction.written)
            await self._commit(call, transaction)
        except BaseException:
            transaction.end()
            await self._drop(call, transaction)
            raise
        return result

    async def _commit(self, call: Call, transaction: Transaction) -> None:
        """Commit; where something was made elsewhere, the caller's going away must not hide whether it has to go."""
        made = transaction.take_undo()
        if made:
            await asyncio.shield(self._kept(_commit_or_undo(call, transaction, made)))
        else:
            await transaction.commit(dry_run=call.dry_run)

    async def _drop(self, call: Call, transaction: Transaction) -> None:
        """Forget what is staged, and undo what was made elsewhere."""
        made = transaction.take_undo()
        transaction.clear()
        if made:
            await asyncio.shield(self._kept(_undo(call, made)))

    def _kept(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


_CONTENTION = "CONTENTION"


def _running_around(call: Call) -> tuple[Call, Transaction] | None:
    """The innermost call around this one whose run goes on, with its transaction; streams have none."""
    outer = call.parent if not call.method.server_streaming else None
    while outer is not None and not outer.method.server_streaming:
        transaction = outer.transaction
        if transaction is not None and not transaction.ended:
            return outer, transaction
        outer = outer.parent
    return None


async def _on_one_commit(transaction: Transaction, once: Callable[[], Awaitable[T]]) -> T:
    """One run; neither its result nor its failure counts where a commit came between two of its reads.

    Raises:
        ConflictError: one did.
    """
    try:
        result = await once()
    except Exception:
        transaction.reads.check()
        raise
    transaction.reads.check()
    return result


async def _commit_or_undo(call: Call, transaction: Transaction, made: Sequence[Undo]) -> None:
    try:
        await transaction.commit()
    except BaseException:
        await _undo(call, made)
        raise


async def _undo(call: Call, made: Sequence[Undo]) -> None:
    """Take back what a failed run made elsewhere; runs in a task of its own, whatever the call's deadline was."""
    CURRENT.set(replace(call, parent=None, transaction=None, deadline_s=time.monotonic() + UNDO_S))
    for action in reversed(made):
        try:
            await action()
        except Exception:  # the caller sees why its call failed, not why the cleaning up did
            log.exception("Cannot undo what a failed call made elsewhere")
