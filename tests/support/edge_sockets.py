"""Control planes behind a socket, and channels to them."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from child_process import child
from grpclib.client import Channel
from grpclib.encoding.proto import ProtoStatusDetailsCodec
from grpclib.events import SendRequest, listen
from server_rig import BytesCodec

from stigmer import app as composition
from stigmer.address import TcpAddress
from stigmer.app import assembly
from stigmer.edge.network import Network
from stigmer.rpc import Codec
from stigmer.server.server import Server
from stigmer.settings import Settings
from stigmer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence

    from grpclib.encoding.base import CodecBase
    from server_wire import Addressed

    from stigmer.edge.interceptors import Interceptor


PEER = str(Path(__file__).with_name("edge_grpcio.py"))


class Send(Protocol):
    """Makes a call as edge_grpcio.py is told."""

    async def __call__(self, path: str, body: bytes, **told: Any) -> Any: ...


@asynccontextmanager
async def grpcio_client(server: Addressed, compression: str = "", pems: Sequence[Path] = ()) -> AsyncGenerator[Send]:
    """A grpcio client's way to call a server, over TLS with the files of an authority, a certificate and its key."""
    async with child(PEER, str(server.address[1]), compression, *map(str, pems)) as peer:

        async def send(path: str, body: bytes, **told: Any) -> Any:
            peer.tell(json.dumps({"path": path, "body": base64.b64encode(body).decode(), **told}))
            return json.loads(await peer.line())

        yield send


def dial(server: Addressed, codec: CodecBase | None = None, bearer: str = "") -> Channel:
    """Our own client's channel; its calls bear the token, where there is one."""
    host, port = server.address
    channel = Channel(host, port, codec=codec or Codec(), status_details_codec=ProtoStatusDetailsCodec())

    async def bear(event: SendRequest) -> None:
        event.metadata["authorization"] = f"Bearer {bearer}"

    if bearer:
        listen(channel, SendRequest, bear)
    return channel


@contextmanager
def raw(server: Server) -> Generator[Channel]:
    """A channel whose messages are bytes."""
    channel = dial(server, BytesCodec())
    try:
        yield channel
    finally:
        channel.close()


@asynccontextmanager
async def serving(directory: Path, *interceptors: Interceptor) -> AsyncGenerator[tuple[Channel, assembly.App]]:
    """A control plane of its own: a channel to its port, and itself."""
    async with SqliteStore(directory) as store:
        app = assembly.assemble(store, assembly.Own(interceptors))
        network = Network(app.edge, app.edge.running)
        async with Server(network.handlers(), listen=[TcpAddress("127.0.0.1", 0)], calls=network.running) as server:
            channel = dial(server)
            try:
                yield channel, app
            finally:
                channel.close()
        await app.unit_of_work.settled()


@asynccontextmanager
async def listening(
    directory: Path, *interceptors: Interceptor, **settings: Any
) -> AsyncGenerator[tuple[Server, Channel]]:
    """All that `stigmer serve` listens with, health and reflection too."""
    loaded = await asyncio.to_thread(Settings, listen=("127.0.0.1:0",), data_dir=directory, **settings)
    async with composition.serving(loaded, assembly.Own(interceptors)) as server:
        channel = dial(server)
        try:
            yield server, channel
        finally:
            channel.close()
            if not server.is_drained:
                await server.drain(0)
