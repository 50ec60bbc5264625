"""Calls that this server makes for nobody, in what it does by itself: an RPC's steps in a transaction of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multidict import MultiDict

from stigmer.access.principal import SERVER
from stigmer.pipeline.call import Call, working_on
from stigmer.pipeline.showing import SECRETS
from stigmer.wire import codec

if TYPE_CHECKING:
    import betterproto2

    from stigmer.pipeline.context import Reply
    from stigmer.pipeline.pipeline import Endpoint
    from stigmer.store.transaction import Transaction


async def stage(tx: Transaction, endpoint: Endpoint, request: betterproto2.Message) -> Reply:
    """Run an RPC's steps in a transaction, which stays open; no interceptor runs, and no secret value is opened.

    Raises:
        StigmerError: a step refuses it.
        ConflictError: what it read has changed since the transaction read it before.
    """
    runtime = endpoint.runtime
    call = Call(
        endpoint.method,
        MultiDict({SECRETS: "redacted"}),
        store=runtime.store,
        request_id=runtime.ids.new("req"),
        principal=SERVER,
        transaction=tx,
    )
    with working_on(call):
        return await endpoint.run(call, codec.to_wire(request))
