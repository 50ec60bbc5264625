"""Every failure as one of `errors`: callers see no exception that was not made for them."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

from google.protobuf.message import Message
from grpclib.exceptions import GRPCError

from stigmer.errors import Code, DataLoss, Internal, Relayed, ResourceExhausted, StigmerError, Unavailable
from stigmer.store.errors import DamagedError, StoreUnavailableError, TooManySubscriptionsError
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from stigmer.pipeline.call import Call

log = get_logger("stigmer.edge.interceptors.error_mapping")


def told_as(error: BaseException, call: Call) -> BaseException:
    """What the caller sees in place of an exception that is no StigmerError; itself, where the call is cancelled."""
    if isinstance(error, Exception) or (isinstance(error, asyncio.CancelledError) and not _is_cancelled()):
        return mapped(error, call)  # nothing unforeseen may reach a caller
    return error


def _is_cancelled() -> bool:
    """Whether somebody cancels this call; else a cancellation is a failure like any other."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def relayed(error: GRPCError) -> Relayed:
    """A failure in gRPC's terms, of a host's interceptor or another service; details of unknown types are left out."""
    code = Code(error.status.value) or Code.UNKNOWN  # OK is no failure
    return Relayed(code, error.message or "", [one for one in error.details or () if isinstance(one, Message)])


def mapped(error: BaseException, call: Call) -> StigmerError:
    """The error that a caller sees in place of an exception that was not made for callers."""
    if isinstance(error, GRPCError):
        return relayed(error)
    if isinstance(error, StoreUnavailableError):
        log.warning("The store is out of reach", error=str(error), request_id=call.request_id)
        return Unavailable("the store is out of reach: try again; the server's health says when it is back")
    if isinstance(error, DamagedError):
        log.error("Stored data is damaged", kind=error.kind, id=error.id, error=str(error), request_id=call.request_id)
        return DataLoss(error.kind, error.id)
    if isinstance(error, TooManySubscriptionsError):
        return ResourceExhausted(f"{error}: close some, or raise the server's --max-subscriptions")
    error_id = uuid.uuid4().hex
    log.error("Internal error", error_id=error_id, method=call.method.path, request_id=call.request_id, exc_info=error)
    return Internal(error_id)
