"""The failures that callers see, one class each: code, message, details.

Steps, handlers and the store's callers raise these; `edge` alone turns them into gRPC statuses. Nothing in this module
knows the transport. Messages say what to do next and never hold a secret value.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from google.rpc import error_details_pb2 as rpc  # pyright: ignore[reportMissingTypeStubs]  # it has none

from stigmer.error_text import MAX_TRAILER_BYTES, bounded, clip, trailer_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.message import Message

DOMAIN = "stigmer.ai"
_FRAME_BYTES = 20  # what a broken field takes beside its text


class Code(IntEnum):
    """The canonical gRPC status codes (google.rpc.Code)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class StigmerError(Exception):
    """A failure with a status code, a message for people and details for programs.

    Attributes:
        code: the status code of this class of failure.
        message: one line that says what is wrong and, where it is not plain, what to do.
    """

    code: ClassVar[Code] = Code.INTERNAL

    def __init__(self, message: str) -> None:
        self.message = bounded(message)
        super().__init__(self.message)

    @property
    def details(self) -> tuple[Message, ...]:
        """The google.rpc detail messages that go with the status; empty for most classes."""
        return ()


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken field: its path from the request's root and what is wrong with it."""

    field: str
    description: str

    def __str__(self) -> str:
        return f"{self.field}: {self.description}" if self.field else self.description


class InvalidArgument(StigmerError):
    """The request breaks a rule; every broken field is named."""

    code = Code.INVALID_ARGUMENT

    def __init__(self, *violations: Violation) -> None:
        super().__init__("; ".join(map(str, _fitting(violations))))
        self.violations = violations

    @classmethod
    def of(cls, field: str, description: str) -> InvalidArgument:
        """One broken field."""
        return cls(Violation(field, description))

    @property
    def details(self) -> tuple[Message, ...]:
        """A google.rpc.BadRequest."""
        return (_bad_request(_fitting(self.violations)),)


class NotFound(StigmerError):
    """No such resource."""

    code = Code.NOT_FOUND

    def __init__(self, kind: str, name: str, *, message: str | None = None) -> None:
        super().__init__(message or f"{kind} not found: {clip(name)}")
        self.kind, self.name = kind, clip(name)

    @property
    def details(self) -> tuple[Message, ...]:
        """A google.rpc.ResourceInfo."""
        return (rpc.ResourceInfo(resource_type=self.kind, resource_name=self.name, description=self.message),)


class AlreadyExists(StigmerError):
    """The slug or the id is taken; `holder` is the id of who has it."""

    code = Code.ALREADY_EXISTS

    def __init__(self, kind: str, holder: str, *, slug: str | None = None) -> None:
        by = f"with slug '{clip(slug)}' " if slug is not None else ""
        super().__init__(f"{kind} {by}already exists: {holder}")
        self.kind, self.holder = kind, holder

    @property
    def details(self) -> tuple[Message, ...]:
        """A google.rpc.ResourceInfo that names the holder."""
        return (rpc.ResourceInfo(resource_type=self.kind, resource_name=self.holder, description=self.message),)


class Aborted(StigmerError):
    """A concurrent change won; `reason` is VERSION_MISMATCH or CONTENTION."""

    code = Code.ABORTED

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason

    @property
    def details(self) -> tuple[Message, ...]:
        """A google.rpc.ErrorInfo."""
        return (rpc.ErrorInfo(reason=self.reason, domain=DOMAIN),)


class FailedPrecondition(StigmerError):
    """The resource is in a state that does not allow the call."""

    code = Code.FAILED_PRECONDITION

    def __init__(self, message: str, *, type_: str, subject: str) -> None:
        super().__init__(message)
        self.type, self.subject = type_, subject

    @property
    def details(self) -> tuple[Message, ...]:
        """A google.rpc.PreconditionFailure."""
        violation = rpc.PreconditionFailure.Violation(type=self.type, subject=self.subject, description=self.message)
        return (rpc.PreconditionFailure(violations=[violation]),)


class ResourceExhausted(StigmerError):
    """A message over the limit, too many subscriptions, or too much held; `retry_after_s` where waiting helps."""

    code = Code.RESOURCE_EXHAUSTED

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

    @property
    def details(self) -> tuple[Message, ...]:
        """A google.rpc.RetryInfo where waiting helps."""
        return () if self.retry_after_s is None else (_retry_info(self.retry_after_s),)


class Unimplemented(StigmerError):
    """The method, or the encoding of its message, is not served here."""

    code = Code.UNIMPLEMENTED


class DeadlineExceeded(StigmerError):
    """The caller's deadline passed; nothing is half written."""

    code = Code.DEADLINE_EXCEEDED


class Cancelled(StigmerError):
    """The caller went away."""

    code = Code.CANCELLED


class Unavailable(StigmerError):
    """The server drains, or its store is out of reach; try again after `retry_after_s`."""

    code = Code.UNAVAILABLE

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

    @property
    def details(self) -> tuple[Message, ...]:
        """A google.rpc.RetryInfo."""
        return (_retry_info(self.retry_after_s),)


class DataLoss(StigmerError):
    """What is stored of a resource is not what was written; `name` is its id, empty where it is not known."""

    code = Code.DATA_LOSS

    def __init__(self, kind: str, name: str) -> None:
        what = f"{kind or 'a resource'} {clip(name)}".rstrip()
        super().__init__(f"{what} is damaged on the server's disk: trying again will not help, restoring a backup will")
        self.kind, self.name = kind, clip(name)

    @property
    def details(self) -> tuple[Message, ...]:
        """A google.rpc.ResourceInfo."""
        return (rpc.ResourceInfo(resource_type=self.kind, resource_name=self.name, description=self.message),)


class Relayed(StigmerError):
    """A failure that another service, or an interceptor of the host's, put in gRPC's terms; passed on as it is."""

    def __init__(self, code: Code, message: str, details: Sequence[Message] = ()) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # the one class whose code is each error's own
        self._details = tuple(details)

    @property
    def details(self) -> tuple[Message, ...]:
        """What came with the status."""
        return self._details


class Internal(StigmerError):
    """Anything else. The caller sees an error id that the log line bears too, and nothing of the cause."""

    code = Code.INTERNAL

    def __init__(self, error_id: str) -> None:
        super().__init__(f"internal error (error id {error_id}; the server's log has a line with it)")
        self.error_id = error_id

    @property
    def details(self) -> tuple[Message, ...]:
        """A google.rpc.ErrorInfo with the error id in its metadata."""
        return (rpc.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"error_id": self.error_id}),)


At: TypeAlias = "tuple[At, str, object] | None"
"""Where a field stands: what it is in, its name, the index or key where it is an entry; None is the request itself.

Cheap to make on the way through a message; `path_of` puts it in words.
"""


def path_of(at: At) -> str:
    """The path of a field from the request's root: `spec.sub_agents[0].name`, `metadata.labels["key"]`."""
    pieces: list[str] = []
    while at is not None:
        at, name, entry = at
        pieces.append(name if entry is None else f"{name}[{json.dumps(entry, ensure_ascii=False)}]")
    return ".".join(reversed(pieces))


def _fitting(violations: Sequence[Violation]) -> list[Violation]:
    """As many as fit into a header, and how many more there are."""
    kept: list[Violation] = []
    size = 0
    for violation in violations:
        short = Violation(clip(violation.field), clip(violation.description))
        size += trailer_bytes(str(short)) + _FRAME_BYTES
        if kept and size > MAX_TRAILER_BYTES:
            return [*kept, Violation("", f"and {len(violations) - len(kept)} more")]
        kept.append(short)
    return kept


def _retry_info(after_s: float) -> rpc.RetryInfo:
    info = rpc.RetryInfo()
    info.retry_delay.FromTimedelta(dt.timedelta(seconds=after_s))
    return info


def _bad_request(violations: Sequence[Violation]) -> rpc.BadRequest:
    entries = [rpc.BadRequest.FieldViolation(field=v.field, description=v.description) for v in violations]
    return rpc.BadRequest(field_violations=entries)
