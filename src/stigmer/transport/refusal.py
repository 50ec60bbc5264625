"""Calls that the transport turns away before a handler sees them: why, and the log line that each of them leaves.

`listener` asks for each call; the lines are like those of `interceptors.logging`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from grpclib.const import Status
from grpclib.metadata import Deadline, decode_bin_value

from stigmer.errors import Unavailable, clip
from stigmer.logs import get_logger
from stigmer.transport.calls import DRAINING

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from google.protobuf.message import Message

    from stigmer.transport.http2 import Headers

log = get_logger("stigmer.call")


class Refusal(NamedTuple):
    """Why a call is answered without its handler."""

    status: Status
    message: str
    details: Sequence[Message] = ()


def stopping() -> Refusal:
    """The server is beyond its grace."""
    error = Unavailable(DRAINING)
    return Refusal(Status.UNAVAILABLE, error.message, error.details)


def refusal_of(headers: Headers, paths: Container[str]) -> Refusal | None:
    """What grpclib would log as a server error and leave unanswered, or answer so that Go clients misread it."""
    fields = dict(headers)
    if not fields.keys() >= {":method", ":path"}:
        return Refusal(Status.INTERNAL, "the request lacks ':method' or ':path'")
    if not all(map(_well_formed, headers)):
        return Refusal(Status.INTERNAL, "metadata must be ASCII, and base64 where its key ends in '-bin'")
    if fields[":path"] not in paths and fields.get("content-type", "").startswith("application/grpc"):
        return Refusal(Status.UNIMPLEMENTED, f"unknown method {clip(fields[':path'])}")
    return None


def deadline_or_refusal(headers: Headers) -> Deadline | Refusal | None:
    """When the caller gives up; None is never."""
    try:
        return Deadline.from_headers(headers)
    except (ValueError, OverflowError):
        return Refusal(Status.INVALID_ARGUMENT, "invalid grpc-timeout header: up to 8 digits and one of H M S m u n")


def note(headers: Headers, refusal: Refusal, peer: str) -> None:
    """Log the call."""
    log.info(
        "call",
        method=clip(dict(headers).get(":path", "")),
        code=refusal.status.name,
        duration_ms=0.0,
        request_id="",
        kind="",
        id="",
        peer=peer,
        attempt=1,
    )


def _well_formed(field: tuple[str, str]) -> bool:
    name, value = field
    if not (value.isascii() and name.isascii()):
        return False
    if name.endswith("-bin"):
        try:
            decode_bin_value(value.encode("ascii"))
        except ValueError:
            return False
    return True
