"""A failure as its status travels: the google.rpc messages that go with it, and the failure again that they tell of."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from google.protobuf.message import Message
from google.rpc import error_details_pb2 as rpc  # pyright: ignore[reportMissingTypeStubs]  # it has none

from stigmer import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DOMAIN = "stigmer.ai"


def details_of(error: errors.StigmerError) -> tuple[Message, ...]:
    """The details of a failure; empty for most classes. `Relayed` bears those that came with the status."""
    if isinstance(error, errors.Relayed):
        return error.details
    detail = _detail(error)
    return () if detail is None else (detail,)


def from_status(code: errors.Code, message: str, details: Iterable[object]) -> errors.StigmerError:
    """The failure that a status tells of: one of the class with that code, with what the details say.

    What they do not say is empty; a code that no class has, such as UNKNOWN, makes a `Relayed`.
    """
    known = [one for one in details if isinstance(one, Message)]
    kind = next((one for one in errors.StigmerError.__subclasses__() if vars(one).get("code") is code), None)
    if kind is None:
        return errors.Relayed(code, message, known)
    error = kind.__new__(kind, message)
    attributes: dict[str, object] = {"message": message, **_UNSAID.get(kind, {})}
    for detail in known:
        attributes.update((name, value) for name, value in _said(detail).items() if name in attributes)
    vars(error).update(attributes)
    if attributes.get("reason") == "VERSION_MISMATCH" and kind is errors.Aborted:
        error.__class__ = errors.VersionMismatch
    return error


_UNSAID: Mapping[type[errors.StigmerError], Mapping[str, object]] = {
    errors.InvalidArgument: {"violations": ()},
    errors.NotFound: {"kind": "", "name": ""},
    errors.DataLoss: {"kind": "", "name": ""},
    errors.AlreadyExists: {"kind": "", "id": ""},
    errors.Aborted: {"reason": ""},
    errors.FailedPrecondition: {"type": "", "reason": "", "subject": ""},
    errors.Unauthenticated: {"takes": ()},
    errors.PermissionDenied: {"permission": "", "kind": ""},
    errors.ResourceExhausted: {"retry_after_s": None},
    errors.Unavailable: {"retry_after_s": 1.0},
    errors.Internal: {"error_id": ""},
}
"""The attributes of each class that has some, where no detail says more."""


def _said(detail: Message) -> dict[str, object]:
    """The attributes that a detail tells of, each by the names that the classes give it."""
    match detail:
        case rpc.BadRequest():
            found = [errors.Violation(one.field, one.description) for one in detail.field_violations]
            return {"violations": tuple(found)}
        case rpc.ResourceInfo():
            return {"kind": detail.resource_type, "name": detail.resource_name, "id": detail.resource_name}
        case rpc.ErrorInfo():
            takes = tuple(filter(None, detail.metadata.get("takes", "").split(", ")))
            return {**detail.metadata, "reason": detail.reason, "takes": takes}
        case rpc.PreconditionFailure() if detail.violations:
            return {"type": detail.violations[0].type, "subject": detail.violations[0].subject}
        case rpc.RetryInfo():
            return {"retry_after_s": detail.retry_delay.ToTimedelta().total_seconds()}
        case _:
            return {}


def _detail(error: errors.StigmerError) -> Message | None:
    detail: Message | None = None
    match error:
        case errors.InvalidArgument():
            detail = _bad_request(error)
        case errors.NotFound() | errors.DataLoss():
            detail = _resource_info(error.kind, error.name, error)
        case errors.AlreadyExists():
            detail = _resource_info(error.kind, error.id, error)
        case errors.Aborted():
            detail = _error_info(error.reason)
        case errors.FailedPrecondition():
            reason, subject = error.reason, error.subject
            detail = _error_info(reason, subject=subject) if reason else _precondition_failure(error)
        case errors.Unauthenticated():
            detail = _error_info("UNAUTHENTICATED", takes=", ".join(error.takes))
        case errors.PermissionDenied():
            detail = _error_info("PERMISSION_DENIED", permission=error.permission, kind=error.kind)
        case errors.ResourceExhausted() | errors.Unavailable() if error.retry_after_s is not None:
            detail = _retry_info(error.retry_after_s)
        case errors.Internal():
            detail = _error_info("INTERNAL", error_id=error.error_id)
        case _:
            pass
    return detail


def _error_info(reason: str, **metadata: str) -> rpc.ErrorInfo:
    return rpc.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata)


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
