"""The google.rpc messages that go with a failure's status, for programs that read it."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from google.rpc import error_details_pb2 as rpc  # pyright: ignore[reportMissingTypeStubs]  # it has none

from stigmer import errors

if TYPE_CHECKING:
    from google.protobuf.message import Message

DOMAIN = "stigmer.ai"


def details_of(error: errors.StigmerError) -> tuple[Message, ...]:
    """The details of a failure; empty for most classes. `Relayed` bears those that came with the status."""
    if isinstance(error, errors.Relayed):
        return error.details
    detail = _detail(error)
    return () if detail is None else (detail,)


def _detail(error: errors.StigmerError) -> Message | None:
    detail: Message | None = None
    match error:
        case errors.InvalidArgument():
            detail = _bad_request(error)
        case errors.NotFound() | errors.DataLoss():
            detail = _resource_info(error.kind, error.name, error)
        case errors.AlreadyExists():
            detail = _resource_info(error.kind, error.holder, error)
        case errors.Aborted():
            detail = rpc.ErrorInfo(reason=error.reason, domain=DOMAIN)
        case errors.FailedPrecondition():
            detail = _precondition_failure(error)
        case errors.ResourceExhausted() | errors.Unavailable() if error.retry_after_s is not None:
            detail = _retry_info(error.retry_after_s)
        case errors.Internal():
            detail = rpc.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"error_id": error.error_id})
        case _:
            pass
    return detail


def _bad_request(error: errors.InvalidArgument) -> rpc.BadRequest:
    found = errors.fitting(error.violations)
    entries = [rpc.BadRequest.FieldViolation(field=one.field, description=one.description) for one in found]
    return rpc.BadRequest(field_violations=entries)


def _resource_info(kind: str, name: str, error: errors.StigmerError) -> rpc.ResourceInfo:
    return rpc.ResourceInfo(resource_type=kind, resource_name=name, description=error.message)


def _precondition_failure(error: errors.FailedPrecondition) -> rpc.PreconditionFailure:
    violation = rpc.PreconditionFailure.Violation(type=error.type, subject=error.subject, description=error.message)
    return rpc.PreconditionFailure(violations=[violation])


def _retry_info(after_s: float) -> rpc.RetryInfo:
    info = rpc.RetryInfo()
    info.retry_delay.FromTimedelta(dt.timedelta(seconds=after_s))
    return info
