"""The codec as grpclib wants it, for our servers and for clients of the generated stubs.

Give it to `grpclib.server.Server` and `grpclib.client.Channel` together with `ProtoStatusDetailsCodec()`: a codec of
one's own turns status details off otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import betterproto2
import google.rpc.error_details_pb2  # noqa: F401  # pyright: ignore[reportUnusedImport]  # grpclib finds details so
from grpclib.encoding.base import CodecBase

from stigmer.wire import codec

if TYPE_CHECKING:
    from stigmer.wire.codec import Encoded

M = TypeVar("M", bound=betterproto2.Message)


class BridgeCodec(CodecBase):
    """Messages as betterproto2 objects, or as `Encoded` where the bytes are there already."""

    @property
    def __content_subtype__(self) -> str:
        return "proto"

    def encode(self, message: M | Encoded[M], message_type: type[M]) -> bytes:
        """The bytes to send; raises TypeError for a message of another type, InvalidArgument as `codec.encode`."""
        kind = message.type if isinstance(message, codec.Encoded) else type(message)
        if not issubclass(kind, message_type):
            raise TypeError(f"the method wants {message_type.__qualname__}, not {kind.__qualname__}")
        return message.data if isinstance(message, codec.Encoded) else codec.encode(message)

    def decode(self, data: bytes, message_type: type[M]) -> M:
        """The message received; raises InvalidArgument where the bytes are no such message."""
        return codec.decode(message_type, data)
