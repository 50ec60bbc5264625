"""What a connection has to send is written by itself, in one piece at the end of a turn of the loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, PingReceived, ResponseReceived, StreamReset

from stigmer.server.limits import Limits
from stigmer.server.tuned_h2 import CONFIGURATION, FLUSH_BYTES, TunedConnection, new_connection

OK = [(":status", "200"), ("content-type", "application/grpc+proto")]
REQUEST = [(":method", "POST"), (":path", "/t.T/Echo"), (":scheme", "http"), (":authority", "here")]


class Socket(asyncio.Transport):
    """Keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closing = False

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closing


@pytest.fixture
def socket() -> Socket:
    return Socket()


@pytest.fixture
def client() -> H2Connection:
    return H2Connection(H2Configuration(client_side=True))


@pytest.fixture
async def server(socket: Socket, client: H2Connection) -> TunedConnection:
    """With one open call, and nothing to send."""
    server = new_connection(CONFIGURATION, Limits())
    server.attach(socket)
    client.initiate_connection()
    client.send_headers(1, REQUEST)
    client.receive_data(b"".join(socket.written))
    server.receive_data(client.data_to_send())
    await asyncio.sleep(0)
    client.receive_data(socket.written[-1])
    socket.written.clear()
    return server


def kinds(client: H2Connection, socket: Socket) -> list[type]:
    return [type(event) for data in socket.written for event in client.receive_data(data)]


async def test_frames_of_a_turn_go_out_in_one_piece(
    server: TunedConnection, socket: Socket, client: H2Connection
) -> None:
    server.send_headers(1, OK)
    server.send_data(1, b"hello")
    server.ping(b"stigmer?")  # one that h2 writes
    server.reset_stream(1)
    assert not socket.written
    await asyncio.sleep(0)
    assert len(socket.written) == 1
    assert kinds(client, socket) == [ResponseReceived, DataReceived, PingReceived, StreamReset]
    await asyncio.sleep(0)
    assert len(socket.written) == 1


async def test_much_goes_out_at_once(server: TunedConnection, socket: Socket, client: H2Connection) -> None:
    client.increment_flow_control_window(2**20)
    client.increment_flow_control_window(2**20, 1)
    server.receive_data(client.data_to_send())
    server.send_headers(1, OK)
    sent = 0
    while not socket.written:
        server.send_data(1, b"x" * 16_384)
        sent += 16_384
    assert FLUSH_BYTES <= sent < FLUSH_BYTES + 16_384


async def test_nothing_is_written_to_a_socket_that_closes_or_is_closed(server: TunedConnection, socket: Socket) -> None:
    server.send_headers(1, OK)
    socket.closing = True
    await asyncio.sleep(0)
    server.send_data(1, b"hello")
    server.detach()
    await asyncio.sleep(0)
    assert not socket.written
