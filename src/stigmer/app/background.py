"""What a plane does beside its calls: its jobs, from its start to its end, and the last checkpoint of the audit."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Self

from stigmer.errors import StigmerError
from stigmer.pipeline.audit.upkeep import CUT_S, SIGN_S, Upkeep
from stigmer.pipeline.idempotency import EXPIRY_S, expire
from stigmer.pipeline.jobs import Job, Jobs
from stigmer.pipeline.uses import PARTS
from stigmer.store.errors import StoreError
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from stigmer.pipeline.audit.trail import Trail
    from stigmer.pipeline.context_expiry import ContextExpiry
    from stigmer.settings import Settings
    from stigmer.store.lifetime import Grace

MAINTENANCE_S = 300.0
"""How often is done what need not be done at once: by the store, and with contexts that may have expired."""

log = get_logger("stigmer.app")


class Background:
    """The jobs of a plane: an async context manager, within that of the store.

    Args:
        trail: of the audit, and its store.
        expiry: ends execution contexts.
        settings: how long contexts live, and the audit is kept, and where its checkpoints go.
        grace: for its end.

    Raises:
        StartupError: on entering; checkpoints cannot be written where the settings say.
    """

    def __init__(self, trail: Trail, expiry: ContextExpiry, settings: Settings, grace: Grace) -> None:
        self._upkeep = upkeep = Upkeep(trail, settings.audit_checkpoint_file, settings.audit_days)
        self._grace = grace
        jobs = [
            Job("maintenance", MAINTENANCE_S, trail.store.maintain, first_s=MAINTENANCE_S),
            Job("contexts", min(MAINTENANCE_S, settings.context_ttl / PARTS), expiry.work, is_of_each=True),
            Job("idempotency", EXPIRY_S, partial(expire, trail.store), first_s=EXPIRY_S),
            Job("audit", SIGN_S, upkeep.sign, first_s=SIGN_S, is_of_each=True),
            Job("audit-cut", CUT_S, upkeep.cut, first_s=SIGN_S),
        ]
        self._jobs = Jobs(trail.store, jobs)

    def __repr__(self) -> str:
        return f"<Background of {self._jobs!r}>"

    async def __aenter__(self) -> Self:
        await self._upkeep.open()
        self._jobs.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Stop the jobs; sign what the audit has since the last checkpoint, where the disk answers in time."""
        await self._jobs.stop()
        try:
            async with asyncio.timeout(self._grace.left_s() / 2):
                await self._upkeep.sign()
        except (StoreError, StigmerError, TimeoutError) as error:
            log.warning("The end of the audit is not signed: the next start does it", error=str(error))
