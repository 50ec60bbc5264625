"""One unary call, one transaction: who opens it, who joins, who repeats.

`pipeline` runs through here. The outermost call opens the transaction and alone commits, rolls back and repeats it; a
unary call made inside it over the loopback joins.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from stigmer.errors import Aborted
from stigmer.logs import get_logger
from stigmer.store.base import ConflictError, StoreError
from stigmer.store.transaction import SealedError, Transaction

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from stigmer.call import Call
    from stigmer.store.base import Store
    from stigmer.store.transaction import Layer

T = TypeVar("T")

MAX_RUNS = 100
"""How often a call is run before it gives up on a hot row."""

log = get_logger("stigmer.unit_of_work")


class UnitOfWork:
    """Runs calls on a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turns = Turns()
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
        parent = call.parent.transaction if call.parent is not None else None
        if parent is not None and not parent.sealed:
            try:
                return await self._joined(call, parent, once)
            except SealedError:
                log.debug("The call that this one joined has ended: running it on its own", method=call.method.path)
        return await self._outermost(call, once)

    async def _joined(self, call: Call, parent: Transaction, once: Callable[[Transaction], Awaitable[T]]) -> T:
        call.attempt = call.parent.attempt if call.parent is not None else 1
        async with self._run(call, Transaction(self._store, parent)) as transaction:
            result = await once(transaction)
            transaction.merge()
            return result

    async def _outermost(self, call: Call, once: Callable[[Transaction], Awaitable[T]]) -> T:
        async with self._turns.queue() as turn:
            for call.attempt in range(1, MAX_RUNS + 1):
                try:
                    return await self._attempt(call, once)
                except ConflictError as conflict:
                    key = conflict.key
                log.debug("Lost a race, running again", key="/".join(key), attempt=call.attempt)
                await turn(key)
        raise Aborted(
            f"{call.method.name} lost {MAX_RUNS} races: try again when the resource is less busy", reason="CONTENTION"
        )

    async def _attempt(self, call: Call, once: Callable[[Transaction], Awaitable[T]]) -> T:
        async with self._run(call, Transaction(self._store)) as transaction:
            result = await once(transaction)
            layer, apart = transaction.seal()
            self._commit_apart(transaction, apart)
            await transaction.commit(layer)
            return result

    @asynccontextmanager
    async def _run(self, call: Call, transaction: Transaction) -> AsyncGenerator[Transaction]:
        """One run of a call in its transaction; where it fails, undo what it made elsewhere."""
        call.transaction = transaction
        try:
            yield transaction
        except BaseException:
            failed, apart = transaction.seal()
            self._commit_apart(transaction, apart)
            if failed.undo:
                await asyncio.shield(_undo(failed))
            raise

    def _commit_apart(self, transaction: Transaction, layers: list[Layer]) -> None:
        """Commit what tasks that outlive the call were told is done."""
        for layer in layers:
            task = asyncio.get_running_loop().create_task(_commit_alone(transaction, layer))
            self._apart.add(task)
            task.add_done_callback(self._apart.discard)


class Turns:
    """Queues, one for each contended key: losers wait their turn instead of racing again."""

    def __init__(self) -> None:
        self._locks: defaultdict[tuple[str, ...], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._interested: defaultdict[tuple[str, ...], int] = defaultdict(int)

    def __repr__(self) -> str:
        return f"<Turns for {len(self._locks)} keys>"

    @asynccontextmanager
    async def queue(self) -> AsyncGenerator[Callable[[tuple[str, ...]], Awaitable[None]]]:
        """A place in the queues: call it with a key to wait for the turn there; it lasts until the next, or the end."""
        held: list[tuple[str, ...]] = []

        async def turn(key: tuple[str, ...]) -> None:
            if key in held:
                return
            self._release(held)
            await self._acquire(key)
            held.append(key)

        try:
            yield turn
        finally:
            self._release(held)

    async def _acquire(self, key: tuple[str, ...]) -> None:
        self._interested[key] += 1
        try:
            await self._locks[key].acquire()
        except BaseException:
            self._forget(key)
            raise

    def _release(self, held: list[tuple[str, ...]]) -> None:
        for key in held:
            self._locks[key].release()
            self._forget(key)
        held.clear()

    def _forget(self, key: tuple[str, ...]) -> None:
        self._interested[key] -= 1
        if not self._interested[key]:
            del self._interested[key], self._locks[key]


async def _commit_alone(transaction: Transaction, layer: Layer) -> None:
    try:
        await transaction.commit(layer)
    except StoreError as error:
        log.exception("A call in a task that outlived its caller's call was lost", error=str(error))


async def _undo(layer: Layer) -> None:
    for action in reversed(layer.undo):
        try:
            await action()
        except Exception:  # the caller sees why its call failed, not why the cleaning up did
            log.exception("Cannot undo what a failed call made elsewhere")
