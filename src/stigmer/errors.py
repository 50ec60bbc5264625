"""Every failure: those that callers see, one class each with its code and message, and StartupError.

Steps, handlers and the store's callers raise them; `edge` alone turns them into gRPC statuses, with the details that
`wire.status_details` makes of their attributes. Nothing in this module knows the server, or imports much: the
command line needs it for its help. Messages say what to do next and never hold a secret value.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.message import Message

CLIP_CHARS = 160
"""How much of a caller's own text an error repeats: statuses travel in headers, which clients limit to 8 KiB."""
MAX_TRAILER_BYTES = 6_000
"""How much of them an error's text may take: percent-encoded as the message, twice in base64 within the details."""
_FRAME_BYTES = 20  # what a broken field takes beside its text


class StartupError(Exception):
    """Why the server cannot start: one clear line saying what to do. The command line exits with status 1."""


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
    """A failure with a status code and a message.

    Attributes:
        code: the status code of this class of failure.
        message: one line that says what is wrong and, where it is not plain, what to do.
        request_id: names the call in the server's log, where a client knows it.
        outcome_unknown: what the call was to write may have been written all the same, as far as a client knows.
    """

    code: ClassVar[Code] = Code.INTERNAL
    request_id: str = ""
    outcome_unknown: bool = False

    def __init__(self, message: str) -> None:
        self.message = bounded(message)
        super().__init__(self.message)

    @property
    def retryable(self) -> bool:
        """Whether the very same call may succeed later, and does nothing twice then."""
        return getattr(self, "retry_after_s", None) is not None and not self.outcome_unknown


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
        super().__init__("; ".join(map(str, fitting(violations))))
        self.violations = violations

    @classmethod
    def of(cls, field: str, description: str) -> InvalidArgument:
        """One broken field."""
        return cls(Violation(field, description))


class NotFound(StigmerError):
    """No such resource."""

    code = Code.NOT_FOUND

    def __init__(self, kind: str, name: str, *, message: str | None = None) -> None:
        super().__init__(message or f"{kind} not found: {clip(name)}")
        self.kind, self.name = kind, clip(name)


class AlreadyExists(StigmerError):
    """The slug or the id is taken; `id` is that of who has it, empty where the caller is not to know."""

    code = Code.ALREADY_EXISTS

    def __init__(self, kind: str, id_: str, *, slug: str | None = None) -> None:
        by = f"with slug '{clip(slug)}' " if slug is not None else ""
        super().__init__(f"{kind} {by}already exists{f': {id_}' if id_ else ''}")
        self.kind, self.id = kind, id_


class Aborted(StigmerError):
    """A concurrent change won; `reason` is VERSION_MISMATCH or CONTENTION."""

    code = Code.ABORTED

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason

    @property
    def retryable(self) -> bool:
        """As of all; of a call that lost a race nothing stays."""
        return self.reason == "CONTENTION"


class VersionMismatch(Aborted):
    """The resource has another version than the one that the caller read: read it again, and make the change anew."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "VERSION_MISMATCH")


class FailedPrecondition(StigmerError):
    """The resource is in a state that does not allow the call, told by `type`; or another reason does not, `reason`.

    `subject` is what has to be changed first: an id, or a resource's `org/slug`.
    """

    code = Code.FAILED_PRECONDITION

    def __init__(self, message: str, *, type_: str = "", reason: str = "", subject: str) -> None:
        super().__init__(message)
        self.type, self.reason, self.subject = type_, reason, subject


class Unauthenticated(StigmerError):
    """Nobody knows who calls; `takes` are the sorts of credentials that the server takes."""

    code = Code.UNAUTHENTICATED

    def __init__(self, message: str, *, takes: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.takes = tuple(takes)


class PermissionDenied(StigmerError):
    """The caller may not do that: it lacks `permission` on resources of `kind`, or on those of another organization."""

    code = Code.PERMISSION_DENIED

    def __init__(self, message: str, *, permission: str, kind: str) -> None:
        super().__init__(message)
        self.permission, self.kind = permission, kind


class ResourceExhausted(StigmerError):
    """A message over the limit, too many subscriptions, or too much held; `retry_after_s` where waiting helps."""

    code = Code.RESOURCE_EXHAUSTED

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


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
    """The server, or its store, is out of reach, or the server drains; try again after `retry_after_s`.

    None where that does not help, as where a client does not trust the server.
    """

    code = Code.UNAVAILABLE

    def __init__(self, message: str, *, retry_after_s: float | None = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Stopping(Unavailable):
    """The server drains."""

    def __init__(self) -> None:
        super().__init__("the server is stopping: call another one, or this one again when it is back")


class DataLoss(StigmerError):
    """What is stored of a resource is not what was written; `name` is its id, empty where it is not known."""

    code = Code.DATA_LOSS

    def __init__(self, kind: str, name: str) -> None:
        what = f"{kind or 'a resource'} {clip(name)}".rstrip()
        super().__init__(f"{what} is damaged on the server's disk: trying again will not help, restoring a backup will")
        self.kind, self.name = kind, clip(name)


class Relayed(StigmerError):
    """A failure that another service, or an interceptor of the host's, put in gRPC's terms; passed on as it is.

    `callers_fault` where the code alone would have the server to blame, and its log say so.
    """

    def __init__(
        self, code: Code, message: str, details: Sequence[Message] = (), *, callers_fault: bool = False
    ) -> None:
        super().__init__(message)
        self.callers_fault = callers_fault
        self.code = code  # type: ignore[misc]  # the one class whose code is each error's own
        self.details = tuple(details)


class Internal(StigmerError):
    """Anything else. The caller sees an error id that the log line bears too, and nothing of the cause."""

    code = Code.INTERNAL

    def __init__(self, error_id: str) -> None:
        super().__init__(f"internal error (error id {error_id}; the server's log has a line with it)")
        self.error_id = error_id


def clip(text: str) -> str:
    """A caller's text, short enough to be repeated in an error."""
    return text if len(text) <= CLIP_CHARS else f"{text[:CLIP_CHARS]}…"


def bounded(text: str) -> str:
    """A text, cut where it would take more than MAX_TRAILER_BYTES."""
    if len(text) <= CLIP_CHARS:
        return text
    kept = text[:MAX_TRAILER_BYTES]
    while (size := _trailer_bytes(kept)) > MAX_TRAILER_BYTES:
        kept = kept[: min(len(kept) - 1, len(kept) * MAX_TRAILER_BYTES // size)]
    return text if len(kept) == len(text) else f"{kept}…"


def fitting(violations: Sequence[Violation]) -> list[Violation]:
    """As many as fit into a header, and how many more there are."""
    kept: list[Violation] = []
    size = 0
    for violation in violations:
        short = Violation(clip(violation.field), clip(violation.description))
        size += _trailer_bytes(str(short)) + _FRAME_BYTES
        if kept and size > MAX_TRAILER_BYTES:
            return [*kept, Violation("", f"and {len(violations) - len(kept)} more")]
        kept.append(short)
    return kept


def _trailer_bytes(text: str) -> int:
    """What a text takes of the trailers."""
    raw = text.encode(errors="replace")
    escaped = sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in raw)
    return escaped + len(raw) * 8 // 3
