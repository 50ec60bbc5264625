"""A server that a command calls: connected to, called, and left; what fails says what to do."""

from __future__ import annotations

import asyncio
import os
import ssl
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from stigmer.errors import Code, StartupError, StigmerError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from grpclib.client import Channel

    from stigmer.address import Address

CONNECT_S = 10.0
"""How long it may take to be connected."""


class Target(NamedTuple):
    """A server: where it is, the client's side of TLS, None for plain text, and the token to call with, or none."""

    address: Address
    tls: ssl.SSLContext | None
    token: str

    @contextmanager
    def told(self) -> Generator[None]:
        """Raise as a StartupError, which says what to do, what calls fail with."""
        from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError  # noqa: PLC0415  # not for help

        from stigmer.rpc import error_of  # noqa: PLC0415  # as above

        try:
            yield
        except BrokenPipeError:  # whoever reads what is printed reads no more; typer knows what to do
            raise
        except ssl.SSLError as error:
            raise StartupError(
                f"{self.address}: TLS failed ({error}); check --ca, --client-cert and --client-key"
            ) from None
        except OSError as error:
            raise StartupError(f"{self.address}: {_reason(error)}; start a server with `stigmer serve`") from None
        except (GRPCError, StigmerError) as error:
            failure = error if isinstance(error, StigmerError) else error_of(error)
            hint = "; --token-file names its file" if failure.code is Code.UNAUTHENTICATED and not self.token else ""
            raise StartupError(f"{self.address}: {failure.code.name}: {failure.message}{hint}") from None
        except (StreamTerminatedError, ProtocolError) as error:
            wanted = "TLS (--ca)" if self.tls is None else "a client certificate (--client-cert, --client-key)"
            raise StartupError(f"{self.address}: {error}; is it a gRPC server, and does it want {wanted}?") from None

    @asynccontextmanager
    async def channel(self) -> AsyncGenerator[Channel]:
        """A channel that is connected, on which every call bears the token; raises as `told`."""
        from grpclib.events import SendRequest, listen  # noqa: PLC0415  # not for help

        from stigmer import rpc  # noqa: PLC0415  # as above

        async def bear(event: SendRequest) -> None:
            if self.token:
                event.metadata["authorization"] = f"Bearer {self.token}"

        async with rpc.channel(str(self.address), tls=self.tls or False) as channel:
            listen(channel, SendRequest, bear)
            with self.told():
                try:
                    async with asyncio.timeout(CONNECT_S):
                        await channel.__connect__()
                except TimeoutError:
                    raise StartupError(f"{self.address}: no answer within {CONNECT_S:g} s") from None
                yield channel
                _hang_up(channel)


def _hang_up(channel: Channel) -> None:
    """Drop the connection at once: over TLS grpclib's close leaves a farewell behind that nobody would wait for."""
    protocol = channel._protocol  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no public way to the transport
    if protocol is not None:
        protocol.connection._transport.abort()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as above


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
