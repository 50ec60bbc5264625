"""What executions of an older version held in `runtime_env` goes into contexts at the first start; see `first_sealing`.

An execution that has not ended gets a context with these values, as its create would have made it; of others they are
dropped. Either way the names of the keys are noted.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any, cast

from stigmer._gen.ai.stigmer.agentic.executioncontext.v1 import ExecutionValue
from stigmer.errors import AlreadyExists, StigmerError
from stigmer.pipeline.context import decoded
from stigmer.pipeline.made_contexts import MADE_CONTEXTS, RUNTIME_ENV_KEYS, context_of
from stigmer.pipeline.own_calls import stage
from stigmer.store.errors import DamagedError
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from stigmer._gen.ai.stigmer.agentic.executioncontext.v1 import ExecutionContext
    from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceMetadata
    from stigmer.pipeline.pipeline import Endpoint
    from stigmer.store.rows import Row
    from stigmer.store.transaction import Transaction

EXECUTION = "AgentExecution"

log = get_logger("stigmer.pipeline.older_executions")


class OlderExecutions:
    """Moves values.

    Args:
        create: ExecutionContext.create.
    """

    def __init__(self, create: Endpoint) -> None:
        self._create, self._runtime = create, create.runtime

    def __repr__(self) -> str:
        return f"<OlderExecutions by {self._create.method.path}>"

    async def strip(self, tx: Transaction, row: Row, wire: Message) -> bool:
        """Take the values out of a resource of any kind, and stage where they go; whether it had any.

        Args:
            tx: the transaction.
            row: as it is stored; its new state is for the caller to stage.
            wire: its resource, which is changed.
        """
        if row.kind != EXECUTION:
            return False
        spec: Any = cast("Any", wire).spec
        given = {key: ExecutionValue(value=one.value, is_secret=one.is_secret) for key, one in spec.runtime_env.items()}
        spec.ClearField("runtime_env")
        if given:
            tx.put_record(RUNTIME_ENV_KEYS, row.id, json.dumps(sorted(given)).encode())
        data = {key: one for key, one in given.items() if one.value}
        if data and not self._runtime.kinds[EXECUTION].ended_with(row):
            await self._move(tx, context_of(row.id, await self._session(spec.session_id), data), row.id)
        return bool(given)

    async def _move(self, tx: Transaction, context: ExecutionContext, execution_id: str) -> None:
        """Stage the context, with the first slug that is free; one that is refused is told, and its values dropped."""
        metadata = cast("ApiResourceMetadata", context.metadata)
        for number in itertools.count(1):
            metadata.slug = f"{metadata.name}-{number}" if number > 1 else metadata.name
            try:
                made: Any = decoded(await stage(tx, self._create, context))
            except AlreadyExists:
                continue
            except StigmerError as error:
                message = "The values of an execution make no context: it has to do without"
                log.error(message, execution_id=execution_id, error=error.message)  # noqa: TRY400 - no traceback says more
                return
            tx.put_record(MADE_CONTEXTS, made.metadata.id, execution_id.encode())
            return

    async def _session(self, id_: str) -> ApiResourceMetadata | None:
        """The metadata of a session, where it can be read."""
        try:
            row = await self._runtime.store.get("Session", id_)
        except DamagedError:
            return None
        found: Any = self._runtime.kinds[row.kind].resource_of(row) if row is not None else None
        return found.metadata if found is not None else None
