"""What a gRPC client in Python needs: `channel` to a server, every generated stub, the codec that both speak.

```python
async with stigmer.rpc.channel("127.0.0.1:7234") as channel:
    agent = await stigmer.rpc.AgentQueryControllerStub(channel).get(AgentId("agt-…"))
```

A host's own grpclib server takes the same `Codec`, for its own services and for those of `Plane.services`.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError, Message
from grpclib.encoding.base import CodecBase

from stigmer._gen.stubs import *  # noqa: F403 - generated; its __all__ says what there is
from stigmer.address import UnixAddress, address_of
from stigmer.errors import Code, InvalidArgument, StigmerError
from stigmer.wire import codec, status_details

if TYPE_CHECKING:
    from os import PathLike

    import betterproto2
    from grpclib.client import Channel
    from grpclib.config import Configuration
    from grpclib.exceptions import GRPCError

    Sent = betterproto2.Message | Message | codec.Encoded[Any]


def channel(
    address: str = "127.0.0.1:7234", *, tls: ssl.SSLContext | bool = False, keepalive_s: float | None = None
) -> Channel:
    """A channel for the stubs: an async context manager, which connects at its first call and again when it has to.

    Make it inside the running loop.

    Args:
        address: of the server, as HOST:PORT, [IPV6]:PORT or unix:PATH.
        tls: True trusts the authorities that this system trusts; `tls_context` makes one of PEM files.
        keepalive_s: how often to ask whether the connection lives while there are calls on it; where nothing answers
            for a third of that, it ends with them. Never where None.

    Raises:
        ValueError: the address is none, or TLS is asked for on a Unix socket.
    """
    from grpclib.client import Channel  # noqa: PLC0415 - HTTP/2, which stubs of a plane in this process do without
    from grpclib.encoding.proto import ProtoStatusDetailsCodec  # noqa: PLC0415 - as above

    at = address_of(address)
    security = tls_context() if tls is True else tls or None
    if security is not None and isinstance(at, UnixAddress):
        raise ValueError(f"{at}: a Unix socket has no TLS; leave tls out")
    where: Any = {"path": at.path} if isinstance(at, UnixAddress) else {"host": at.host, "port": at.port}
    config = _alive(keepalive_s) if keepalive_s is not None else None
    details = ProtoStatusDetailsCodec()
    return Channel(**where, ssl=security, codec=Codec(), status_details_codec=details, config=config)


def _alive(keepalive_s: float) -> Configuration:
    """Grpclib's settings for it, which it has for both sides and does not document."""
    from grpclib.config import Configuration  # noqa: PLC0415 - with the channel

    return Configuration(
        _keepalive_time=keepalive_s,
        _keepalive_timeout=keepalive_s / 3,
        _http2_max_pings_without_data=0,  # as many as there are: a subscription may be silent for days
        _http2_min_sent_ping_interval_without_data=keepalive_s / 2,
    )


def error_of(error: GRPCError) -> StigmerError:
    """The failure that a call's status tells of, as one of the classes in `stigmer.errors`.

    ```python
    except GRPCError as error:
        raise stigmer.rpc.error_of(error) from error
    ```
    """
    code = Code(error.status.value) or Code.UNKNOWN  # OK is no failure
    return status_details.from_status(code, error.message or "", error.details or ())


def tls_context(
    ca: str | PathLike[str] | None = None,
    *,
    cert: str | PathLike[str] | None = None,
    key: str | PathLike[str] | None = None,
) -> ssl.SSLContext:
    """The client's side of TLS. It reads files: on an event loop, have a thread call it.

    Args:
        ca: a PEM file of the authorities to trust; those that this system trusts where None.
        cert: a PEM file of the client's certificate, where the server wants one.
        key: a PEM file of its private key; may be in `cert` too.

    Raises:
        OSError: a file cannot be read or is no such PEM file, or key and certificate are no pair.
    """
    for file in (one for one in (ca, cert, key) if one is not None):
        Path(file).open("rb").close()  # its error names the file, which those of ssl do not
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    if cert is not None:
        context.load_cert_chain(cert, key)
    return context


class Codec(CodecBase):
    """Messages of `stigmer.types`, and google.protobuf's, as bytes and back; the one codec of channels and servers.

    Give it to a grpclib channel or server together with grpclib's ProtoStatusDetailsCodec(), which one with a codec of
    its own would not have otherwise.
    """

    @property
    def __content_subtype__(self) -> str:
        return "proto"

    def encode(self, message: Sent, message_type: type[Any]) -> bytes:
        """The bytes to send.

        Raises:
            TypeError: the message is not one of `message_type`.
            InvalidArgument: the wire cannot hold what is in it.
        """
        kind = message.type if isinstance(message, codec.Encoded) else type(message)
        if not issubclass(kind, message_type):
            raise TypeError(f"the method wants {message_type.__qualname__}, not {kind.__qualname__}")
        if isinstance(message, codec.Encoded):
            return message.data
        return message.SerializeToString() if isinstance(message, Message) else codec.encode(message)

    def decode(self, data: bytes, message_type: type[Any]) -> Any:  # noqa: ANN401 - a message of either library
        """The message received, or its bytes where a method takes bytes; raises InvalidArgument where they are none."""
        if message_type is bytes:
            return data
        if not issubclass(message_type, Message):
            return codec.decode(message_type, data)
        try:
            return message_type.FromString(data)
        except DecodeError as error:
            raise InvalidArgument.of("", f"the bytes are no {message_type.DESCRIPTOR.full_name}") from error
