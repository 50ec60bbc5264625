"""One unary call, one transaction: who opens it, who joins, who repeats.

`pipeline` runs through here. The outermost call opens the transaction and alone commits, rolls back and repeats it; a
unary call made inside it over the loopback joins.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from stigmer.errors import Aborted
from stigmer.pipeline.call import CURRENT
from stigmer.pipeline.row_queue import RowQueues
from stigmer.store.base import ConflictError, StoreError
from stigmer.store.transaction import SealedError, Transaction
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence

    from stigmer.pipeline.call import Call
    from stigmer.store.base import Store
    from stigmer.store.layer import Layer

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
        self._apart: set[asyncio.Task[None]] = set()

    async def run(self, call: Call, once: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `once`, again where its transaction lost a race, and commit what it staged.

        Args:
            call: its `transaction` and `attempt` are set for each run.
            once: one run; it reads and stages through the transaction and must start from the request as it came.

        Raises:
            Aborted: MAX_RUNS runs lost.
            Exception: what the last run raised.
        """
        call.ended = False
        try:
            return await self._joining_or_not(call, once)
        finally:
            call.ended = True

    async def _joining_or_not(self, call: Call, once: Callable[[Transaction], Awaitable[T]]) -> T:
        while (around := _running_around(call)) is not None:
            try:
                return await self._joined(call, *around, once)
            except SealedError:
                log.debug("The call that this one joined has ended: running it again", method=call.method.path)
        if call.parent is not None:
            await self._settle_apart()
        return await self._outermost(call, once)

    async def inside(self, call: Call, whole: Callable[[], Awaitable[T]]) -> T:
        """Make a call of this process with its interceptors: where it joins a transaction, they are part of it too.

        Args:
            call: its parent says what it joins.
            whole: the call; run again where another call of the same transaction was faster.
        """
        while (around := _running_around(call)) is not None:
            try:
                return await self._joined(call, *around, lambda _: whole())
            except SealedError:
                log.debug("The call that this one joined has ended: making it again", method=call.method.path)
        return await whole()

    async def settled(self) -> None:
        """Wait for what goes on after calls have ended; before the store is closed."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _joined(
        self, call: Call, outer: Call, parent: Transaction, once: Callable[[Transaction], Awaitable[T]]
    ) -> T:
        """Hand the staged writes to the parent; again where one that joined at the same time was faster."""
        for call.attempt in range(outer.attempt, outer.attempt + MAX_RUNS):
            try:
                async with self._run(call, Transaction(self._store, parent)) as transaction:
                    result = await once(transaction)
                    transaction.merge()
                    return result
            except ConflictError as conflict:
                if parent.sealed:
                    raise SealedError("the call that this one joined has ended") from conflict
                if parent.reads.torn is not None:
                    raise _torn(call) from conflict
                log.debug("Lost a race within the transaction, running again", key="/".join(conflict.key))
        raise _busy(call)

    async def _outermost(self, call: Call, once: Callable[[Transaction], Awaitable[T]]) -> T:
        call.attempt = 1
        try:
            return await self._attempt(call, once)
        except ConflictError as conflict:
            key = conflict.key
        async with self._row_queues.queue() as hold:
            while call.attempt < MAX_RUNS:
                log.debug("Lost a race, running again", key="/".join(key), attempt=call.attempt)
                await hold(key)
                call.attempt += 1
                try:
                    return await self._attempt(call, once)
                except ConflictError as conflict:
                    key = conflict.key
        raise _busy(call)

    async def _attempt(self, call: Call, once: Callable[[Transaction], Awaitable[T]]) -> T:
        async with self._run(call, Transaction(self._store)) as transaction:
            result = await _on_one_commit(transaction, once)
            layer, apart = transaction.seal()
            self._commit_apart(transaction, apart)
            if call.attempt == 1:
                self._row_queues.yield_to_queues((*layer.puts, *layer.removes))
            await self._commit(call, transaction, layer)
            return result

    async def _commit(self, call: Call, transaction: Transaction, layer: Layer) -> None:
        """Commit; where something was made elsewhere, the caller's going away must not hide whether it has to go."""
        if not layer.undo:
            await transaction.commit(layer)
            return
        made, layer.undo = layer.undo, []
        await asyncio.shield(self._kept(_commit_or_undo(call, transaction, layer, made)))

    @asynccontextmanager
    async def _run(self, call: Call, transaction: Transaction) -> AsyncGenerator[Transaction]:
        """One run of a call in its transaction; where it fails, undo what it made elsewhere."""
        around, call.transaction = call.transaction, transaction
        try:
            yield transaction
        except BaseException:
            failed, apart = transaction.seal()
            if not transaction.hand_up(apart):
                self._commit_apart(transaction, apart)
            if failed.undo:
                made, failed.undo = failed.undo, []
                await asyncio.shield(self._kept(_undo(call, made)))
            raise
        finally:
            call.transaction = around

    def _commit_apart(self, transaction: Transaction, layers: list[Layer]) -> None:
        """Commit what tasks that outlive the call were told is done."""
        for layer in layers:
            task = self._kept(_commit_alone(transaction, layer))
            self._apart.add(task)
            task.add_done_callback(self._apart.discard)

    async def _settle_apart(self) -> None:
        """Wait for such commits, so that those tasks see what they were told is done."""
        while self._apart:
            await asyncio.wait(self._apart)

    def _kept(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _running_around(call: Call) -> tuple[Call, Transaction] | None:
    """The innermost call, this one or one around it, whose run goes on, with its transaction; streams have none."""
    outer: Call | None = call
    while outer is not None and not outer.method.server_streaming:
        transaction = outer.transaction
        if transaction is not None and not transaction.sealed:
            return outer, transaction
        outer = outer.parent
    return None


def _busy(call: Call) -> Aborted:
    message = f"{call.method.name} lost {MAX_RUNS} races: try again when the resource is less busy"
    return Aborted(message, reason="CONTENTION")


def _torn(call: Call) -> Aborted:
    """What a joined call is told; the outermost one runs again, whatever its caller makes of it."""
    return Aborted(f"{call.method.name} read what another call was changing: all of it runs again", "CONTENTION")


async def _on_one_commit(transaction: Transaction, once: Callable[[Transaction], Awaitable[T]]) -> T:
    """One run; neither its result nor its failure counts where a commit came between two of its reads.

    Raises:
        ConflictError: one did.
    """
    try:
        result = await once(transaction)
    except Exception:
        transaction.reads.check()
        raise
    transaction.reads.check()
    return result


async def _commit_alone(transaction: Transaction, layer: Layer) -> None:
    try:
        await transaction.commit(layer)
    except StoreError as error:
        log.exception("A call in a task that outlived its caller's call was lost", error=str(error))


async def _commit_or_undo(call: Call, transaction: Transaction, layer: Layer, made: Sequence[Undo]) -> None:
    try:
        await transaction.commit(layer)
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
