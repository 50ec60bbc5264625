"""Header fields: what a request's say, put right, or why its call is turned away; and those of replies.

`dispatch` asks for each call; the log lines are like those of `edge`'s call log. HTTP statuses other than 200 are
those that gRPC over HTTP/2 asks for, or RFC 9110; beside them stands a gRPC status, as grpc-go and grpc-java do it.
"""

from __future__ import annotations

import binascii
import time
from base64 import b64decode
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from grpclib.const import Status
from grpclib.encoding.proto import ProtoStatusDetailsCodec
from grpclib.metadata import Deadline, encode_bin_value, encode_grpc_message
from multidict import MultiDict

from stigmer.errors import InvalidArgument, StigmerError, Stopping, Unimplemented, clip
from stigmer.server.compression import ACCEPTED
from stigmer.telemetry.logs import get_logger
from stigmer.wire.status_details import details_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from google.protobuf.message import Message

Headers: TypeAlias = "list[tuple[str, str]]"
Metadata: TypeAlias = "MultiDict[str | bytes]"

log = get_logger("stigmer.call")

_DETAILS = ProtoStatusDetailsCodec()
_GRPC = "application/grpc"
_SERVED = frozenset({_GRPC, f"{_GRPC}+proto"})
_NO_METADATA = frozenset({"te", "content-type", "user-agent"})
_BREAKS = frozenset("\0\r\n")  # no HTTP header may hold them (RFC 9113, 8.2.1)


class Admitted(NamedTuple):
    """A call that a handler may see.

    Attributes:
        path: of its method.
        metadata: what the caller sent beside the request.
        deadline_s: when the caller gives up, on the clock of `time.monotonic`; None is never.
        encoding: how compressed messages of the request are compressed; empty where the caller says nothing.
        accepted: the encodings that the caller takes, as it names them.
    """

    path: str
    metadata: Metadata
    deadline_s: float | None
    encoding: str
    accepted: str


class Refusal(NamedTuple):
    """Why a call is answered without its handler."""

    status: Status
    message: str
    details: Sequence[Message] = ()
    http: str = "200"
    more: Headers = []  # noqa: RUF012  # never changed


CALLER_GONE = Refusal(Status.CANCELLED, "the caller went away")


def stopping() -> Refusal:
    """The server is beyond its grace."""
    return refusal_of(Stopping())


def unknown(path: str) -> Refusal:
    """No such method is served."""
    return refusal_of(Unimplemented(f"unknown method {clip(path)}"))


def admitted(headers: Headers) -> Admitted | Refusal:
    """The call, of whatever method and by whomever; or why it is none.

    Args:
        headers: as they came, bytes that are not ASCII as Latin-1.
    """
    fields = dict(headers)
    refusal = _as_http(fields)
    if refusal is not None:
        return refusal
    try:
        metadata: Metadata = MultiDict([field for name, value in headers for field in _metadata(name, value)])
        encoding, accepted = fields.get("grpc-encoding", ""), fields.get("grpc-accept-encoding", "")
        return Admitted(fields[":path"], metadata, _deadline_s(headers), encoding, accepted)
    except InvalidArgument as error:
        return refusal_of(error)


def refusal_of(error: StigmerError, http: str = "200", more: Iterable[tuple[str, str]] = ()) -> Refusal:
    """The failure as the answer to a call that no handler sees."""
    return Refusal(Status(int(error.code)), error.message, details_of(error), http, list(more))


def _as_http(fields: Mapping[str, str]) -> Refusal | None:
    """What is no call of gRPC's, or none that is encoded as here."""
    if not fields.keys() >= {":method", ":path"}:
        return refusal_of(InvalidArgument.of("", "the request lacks ':method' or ':path'"), "400")
    if fields[":method"] != "POST":
        return refusal_of(InvalidArgument.of(":method", "must be POST"), "405", [("allow", "POST")])
    if not _is_grpc(fields.get("content-type", "")):
        return refusal_of(InvalidArgument.of("content-type", f"must be {_GRPC}, or {_GRPC}+proto"), "415")
    if fields.get("te") != "trailers":
        return refusal_of(InvalidArgument.of("te", "must be 'trailers': does a proxy between us drop trailers?"), "400")
    if _media_type(fields["content-type"]) not in _SERVED:
        return refusal_of(Unimplemented(f"messages are encoded as {_GRPC}+proto, not {clip(fields['content-type'])}"))
    return None


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _is_grpc(content_type: str) -> bool:
    return _media_type(content_type).partition("+")[0] == _GRPC


def _metadata(name: str, value: str) -> Iterable[tuple[str, str | bytes]]:
    """The field as metadata: none, one, or one for each value in a list of binary ones.

    Raises:
        InvalidArgument: it is broken.
    """
    if name in _NO_METADATA or name[:1] == ":" or name[:5] == "grpc-":
        return ()
    if not name.isascii():
        raise InvalidArgument.of("", "the name of a header is not ASCII")
    if name.endswith("-bin"):
        return [(name, _decoded(name, part)) for part in value.split(",")]
    if value.isascii() and value.isprintable():
        return ((name, value),)
    if _BREAKS.intersection(value):
        raise InvalidArgument.of(clip(name), "holds a control character")
    return ()  # valid HTTP, but no metadata: gRPC says not to fail, and that it may be thrown away


def _decoded(name: str, value: str) -> bytes:
    """One binary value, padded or not.

    Raises:
        InvalidArgument: it is no base64.
    """
    try:
        text = value.strip().encode("ascii").rstrip(b"=")
        return b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise InvalidArgument.of(clip(name), "is not base64, as the value of a '-bin' key must be") from None


def _deadline_s(headers: Headers) -> float | None:
    """When the caller gives up.

    Raises:
        InvalidArgument: it cannot be told.
    """
    try:
        deadline = Deadline.from_headers(headers)
    except (ValueError, OverflowError):
        raise InvalidArgument.of("grpc-timeout", "must be up to 8 digits and one of H M S m u n") from None
    return None if deadline is None else time.monotonic() + deadline.time_remaining()


def note(path: str, refusal: Refusal, peer: str) -> None:
    """Log the call; of whoever made it, no more than the address is told."""
    log.info(
        "call",
        method=clip(path),
        code=refusal.status.name,
        duration_ms=0.0,
        request_id="",
        kind="",
        id="",
        caller="",
        peer=peer,
        attempt=1,
    )


def reply_fields(encoding: str = "", http: str = "200", more: Iterable[tuple[str, str]] = ()) -> Headers:
    """What a reply begins with."""
    fields = [(":status", http), *more, ("content-type", f"{_GRPC}+proto"), ("grpc-accept-encoding", ACCEPTED)]
    return [*fields, ("grpc-encoding", encoding)] if encoding else fields


def status_fields(status: Status, message: str | None, details: Any) -> Headers:  # noqa: ANN401  # as grpclib has them
    """What a reply ends with."""
    fields = [("grpc-status", str(status.value))]
    if message is not None:
        fields.append(("grpc-message", _message_text(message)))
    if details:
        encoded = encode_bin_value(_DETAILS.encode(status, message, details))
        fields.append(("grpc-status-details-bin", encoded.decode("ascii")))
    return fields


def _message_text(message: str) -> str:
    """The message as gRPC writes it; no space at either end, which HTTP/2 forbids (RFC 9113, 8.2.1)."""
    text = encode_grpc_message(message)
    start, end = len(text) - len(text.lstrip(" ")), len(text.rstrip(" "))
    return "%20" * start + text[start:end] + "%20" * (len(text) - max(start, end))
