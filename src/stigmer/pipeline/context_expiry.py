"""Execution contexts that the server ends by itself: those that have expired, and those that outlive their execution.

The job of a plane; of several on one store each may do it at the same time. Each context ends in a transaction of its
own, by the steps of the RPC that would end it: the deletion of the context, or, where its execution goes on, the report
that the execution has failed, with which all of its contexts go. Whoever uses the context or reports on the execution
meanwhile goes before: nothing is written then.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import (
    AgentExecutionStatus,
    AgentExecutionUpdateStatusInput,
    ExecutionPhase,
)
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceDeleteInput
from stigmer.pipeline.kind import required
from stigmer.pipeline.made_contexts import MADE_CONTEXTS
from stigmer.pipeline.own_calls import stage
from stigmer.store.changes import Changes
from stigmer.store.errors import ConflictError, DamagedError, StoreUnavailableError
from stigmer.store.transaction import Transaction
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from stigmer.pipeline.pipeline import Endpoint
    from stigmer.pipeline.runtime import Runtime
    from stigmer.store.rows import Record, Row, Use

CONTEXT, EXECUTION = "ExecutionContext", "AgentExecution"
WHY = "its context expired"
"""The error of an execution that fails for that."""
PIECE = 32
"""How many contexts are ended at once, so that their transactions share commits."""
ORPHANS = 1000
"""How many contexts of AgentExecution.create are looked at in one go; the next one goes on with those after them."""
ELSEWHERE_S = 10.0
"""How long another server may take to delete a context."""

log = get_logger("stigmer.pipeline.context_expiry")


@dataclass(frozen=True)
class Means:
    """By which RPCs contexts end.

    Attributes:
        report: on an execution.
        delete: of a context.
    """

    report: Endpoint
    delete: Endpoint


class ContextExpiry:
    """Ends contexts.

    Args:
        runtime: has the store.
        means: how they end.
        ended: told for each of them why: `expired` or `orphaned`.
    """

    def __init__(self, runtime: Runtime, means: Means, ended: Callable[[str], None]) -> None:
        self._runtime, self._means, self._ended = runtime, means, ended
        self._contexts, self._executions = runtime.kinds[CONTEXT], runtime.kinds[EXECUTION]
        self._failing: set[str] = set()
        self._looked_at, self._looks = "", 0

    def __repr__(self) -> str:
        return f"<ContextExpiry, looked {self._looks} times, {len(self._failing)} cannot be ended>"

    async def work(self) -> None:
        """End all that have expired, and those of the next ORPHANS whose execution is gone or has ended.

        Raises:
            StoreUnavailableError: the store cannot answer now.
        """
        await self._end_expired()
        await self._end_orphans()
        self._looks += 1

    async def _end_expired(self) -> None:
        store, expired_ms = self._runtime.store, await self._runtime.uses.expired_ms()
        last: Use | None = None
        while found := await store.unused(expired_ms, last, PIECE):
            await self._each((use.id, self._expire(use, expired_ms)) for use in found if use.kind == CONTEXT)
            last = found[-1]

    async def _end_orphans(self) -> None:
        found = await self._runtime.store.records(MADE_CONTEXTS, after=self._looked_at, limit=ORPHANS)
        self._looked_at = found[-1].key if len(found) == ORPHANS else ""
        for start in range(0, len(found), PIECE):
            await self._each((one.key, self._end_orphan(one)) for one in found[start : start + PIECE])

    async def _each(self, work: Iterable[tuple[str, Awaitable[None]]]) -> None:
        async with asyncio.TaskGroup() as group:
            for id_, ending in work:
                group.create_task(self._guarded(id_, ending))

    async def _guarded(self, id_: str, ending: Awaitable[None]) -> None:
        """What keeps one from being ended keeps no other; it is told once."""
        try:
            await ending
        except ConflictError:
            log.debug("A context was used while it was to be ended", context_id=id_)
        except StoreUnavailableError:
            raise
        except Exception:  # such as for a damaged row
            if id_ not in self._failing:
                log.exception("A context that has expired, or whose execution has ended, cannot be ended", id=id_)
            self._failing.add(id_)
        else:
            self._failing.discard(id_)

    async def _expire(self, use: Use, expired_ms: int) -> None:
        tx = Transaction(self._runtime.store)
        context = await tx.get(CONTEXT, use.id)
        if context is None:
            return
        id_ = self._execution_id(context)
        execution = await self._readable(tx, id_)
        fails = execution is not None and execution.owner == context.owner and not self._has_ended(execution)
        if fails and (reported_ms := self._reported_ms(required(execution))) > expired_ms:
            await self._runtime.store.commit(Changes(uses={(CONTEXT, use.id): reported_ms}))
            return
        await (self._fail(tx, id_) if fails else self._delete(tx, use.id))
        tx.require_unused(CONTEXT, use.id, expired_ms)
        await tx.commit()
        self._tell("expired", use.id, id_, execution_failed=fails)

    async def _readable(self, tx: Transaction, id_: str) -> Row | None:
        """An execution, unless it is damaged: nobody can run that one, and no secret is to stay for it."""
        try:
            return await tx.get(EXECUTION, id_)
        except DamagedError:
            return None

    async def _end_orphan(self, made: Record) -> None:
        """End a context whose execution is gone or has ended, wherever the context is."""
        tx, id_ = Transaction(self._runtime.store), made.value.decode()
        execution = await tx.get(EXECUTION, id_)
        if execution is not None and not self._has_ended(execution):
            return
        client = self._runtime.downstream.get(CONTEXT)
        if client is not None and not client.in_process:
            async with asyncio.timeout(ELSEWHERE_S):
                await client.delete(made.key)
        elif await tx.get(CONTEXT, made.key) is not None:
            await self._delete(tx, made.key)
        tx.remove_record(MADE_CONTEXTS, made.key)
        await tx.commit()
        self._tell("orphaned", made.key, id_)

    async def _delete(self, tx: Transaction, id_: str) -> None:
        await stage(tx, self._means.delete, ApiResourceDeleteInput(resource_id=id_))

    async def _fail(self, tx: Transaction, id_: str) -> None:
        status = AgentExecutionStatus(
            phase=ExecutionPhase.EXECUTION_FAILED,
            error=WHY,
            completed_at=dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        )
        await stage(tx, self._means.report, AgentExecutionUpdateStatusInput(execution_id=id_, status=status))

    def _execution_id(self, context: Row) -> str:
        return cast("str", self._contexts.wire_of(context).spec.execution_id)

    def _has_ended(self, execution: Row) -> bool:
        return self._executions.ended_with(execution) != ""

    def _reported_ms(self, execution: Row) -> int:
        """When the status of an execution was written last."""
        wire: Any = self._executions.wire_of(execution)
        return int(wire.status.audit.status_audit.updated_at.ToMilliseconds())

    def _tell(self, reason: str, context_id: str, execution_id: str, **more: bool) -> None:
        log.info("A context has ended", reason=reason, context_id=context_id, execution_id=execution_id, **more)
        self._ended(reason)
