"""Jobs: background work of a control plane, which starts and ends with it. Of several replicas one does it at a time.

A replica works on a job while it has the job's lease, a record in the store that says until when, by the store's clock.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stigmer.store.changes import Changes
from stigmer.store.errors import ConflictError
from stigmer.store.rows import ABSENT
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from stigmer.store.contract import Store
    from stigmer.store.rows import Record

TABLE = "leases"
"""The records of the leases, by the job's name; the value is `<until when, in ms>/<who holds it>`."""
LEASE_S = 30.0
"""How long a replica that is gone keeps others from its job."""

log = get_logger("stigmer.pipeline.jobs")


@dataclass(frozen=True, slots=True)
class Job:
    """Work that is done again and again.

    Attributes:
        name: of its lease.
        every_s: from one beginning to the next, in whatever replica.
        work: does it once. It is cancelled when the plane ends or the lease is lost, so it goes in small transactions.
        first_s: how long after the start of a plane it is looked at first.
        is_of_each: whether each replica does it for itself, with no lease.
    """

    name: str
    every_s: float
    work: Callable[[], Awaitable[None]]
    first_s: float = 0.0
    is_of_each: bool = False


class Jobs:
    """Does the jobs of one plane from `start` to `stop`; a job that fails is logged, and done again when it is due.

    Args:
        store: has the leases.
        jobs: each with a name of its own.
        lease_s: how long a lease is taken for; it is renewed after a third of that.
    """

    def __init__(self, store: Store, jobs: Sequence[Job], lease_s: float = LEASE_S) -> None:
        self._store = store
        self._jobs = jobs
        self._lease_s = lease_s
        self._holder = secrets.token_hex(8)
        self._running: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Jobs {', '.join(job.name for job in self._jobs)}>"

    def start(self) -> None:
        """Begin; the store is open."""
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Cancel what is being done, and wait for the end of it; the store is still open."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            await asyncio.wait((running,))

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for job in self._jobs:
                group.create_task(self._repeat(job))

    async def _repeat(self, job: Job) -> None:
        await asyncio.sleep(job.first_s)
        while True:
            try:
                wait_s = await self._look_at(job)
            except ConflictError:
                log.warning("Another replica has taken the lease of a job", job=job.name)
                wait_s = 0.0
            except Exception:  # the next time it may go well, and the other jobs go on
                log.exception("A job failed", job=job.name)
                wait_s = min(job.every_s, self._lease_s)
            await asyncio.sleep(wait_s)

    async def _look_at(self, job: Job) -> float:
        """Do a job where it is due; gives the seconds until it is looked at again."""
        if job.is_of_each:
            await job.work()
            return job.every_s
        now_ms = await self._store.now_ms()
        lease = await self._store.record(TABLE, job.name)
        left_ms = int(lease.value.partition(b"/")[0]) - now_ms if lease is not None else 0
        if left_ms > 0:
            return left_ms / 1000
        held = await self._hold(job, lease, now_ms + round(self._lease_s * 1000))
        work = asyncio.ensure_future(job.work())
        try:
            held = await self._renewed_until_done(job, held, work)
        finally:
            work.cancel()
            await asyncio.wait((work,))
        await self._hold(job, held, now_ms + round(job.every_s * 1000))
        if work.cancelled():  # by itself: as an exception, so that it does not end this task without a word
            raise RuntimeError("the work has raised CancelledError")
        work.result()
        return job.every_s

    async def _renewed_until_done(self, job: Job, held: Record, work: asyncio.Future[None]) -> Record:
        while not (await asyncio.wait((work,), timeout=self._lease_s / 3))[0]:
            held = await self._hold(job, held, await self._store.now_ms() + round(self._lease_s * 1000))
        return held

    async def _hold(self, job: Job, lease: Record | None, until_ms: int) -> Record:
        """Take a lease, or keep it for longer.

        Raises:
            ConflictError: another has it.
        """
        key, value = (TABLE, job.name), f"{until_ms}/{self._holder}".encode()
        expected = lease.revision if lease is not None else ABSENT
        await self._store.commit(Changes(expects={key: expected}, records={key: value}))
        held = await self._store.record(*key)
        if held is None or held.value != value:
            raise ConflictError(key)
        return held
