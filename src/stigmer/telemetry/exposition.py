"""A port for Prometheus: the text of a registry over plain HTTP, on threads beside the event loop.

Nothing that a scraper does can hold up a call: its text is made and sent on a thread, at most SCRAPES of them at once,
and each request is over after SCRAPE_S, whatever its client does.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import asynccontextmanager, contextmanager, suppress
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import ProcessCollector, make_wsgi_app  # pyright: ignore[reportUnknownVariableType]  # a Callable of anything

from stigmer.address import TcpAddress, tcp_address_of
from stigmer.errors import StartupError
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from prometheus_client import CollectorRegistry

log = get_logger("stigmer.telemetry.exposition")

SCRAPES = 8
"""How many requests are served at once; further connections are closed."""
SCRAPE_S = 10.0
"""How long one may take, its client's slowness included."""
ACCEPT_S = 0.02
"""How long after one the next is accepted: a flood of them, or a lack of descriptors, keeps no loop busy."""
PATHS = ("/metrics", "/")


@contextmanager
def exposed(registry: CollectorRegistry, host: str, port: int) -> Generator[tuple[str, int]]:
    """The registry's text at `http://HOST:PORT/metrics` while it is entered; gives the address, the port as bound.

    Raises:
        StartupError: the address cannot be bound.
    """
    try:
        server = _Server(registry, host, port)
    except OSError as error:
        raise StartupError(
            f"cannot serve metrics on {host}:{port}: {error.strerror}; set metrics to another address"
        ) from None
    server.watch()
    try:
        yield server.server_name, server.server_port
    finally:
        server.server_close()


@asynccontextmanager
async def exposing(registry: CollectorRegistry, address: str | None) -> AsyncGenerator[None]:
    """As `exposed`, with numbers of this process as well, and a log line; nothing where there is no address."""
    if address is None:
        yield
        return
    await asyncio.to_thread(ProcessCollector, registry=registry)
    with exposed(registry, *tcp_address_of(address)) as (host, port):
        log.info("stigmer serves metrics", listen=str(TcpAddress(host, port)), path=PATHS[0])
        yield


class _Server(WSGIServer):
    """Accepts where the loop says that somebody comes, and serves each on a thread of its own."""

    timeout = 0  # accept one that is there, do not wait for one

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._room = threading.Semaphore(SCRAPES)
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        super().__init__((host, port), _Handler)
        self.socket.setblocking(False)  # the socket's signature
        self.set_app(_app(registry))

    def server_bind(self) -> None:
        """Bind, and ask no DNS for a name of it."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def watch(self) -> None:
        """Accept the next one when it comes."""
        self._loop.add_reader(self.fileno(), self._accept)

    def _accept(self) -> None:
        self._loop.remove_reader(self.fileno())
        self._pause = self._loop.call_later(ACCEPT_S, self.watch)
        self.handle_request()

    def server_close(self) -> None:
        """Listen no more."""
        self._loop.remove_reader(self.fileno())
        if self._pause is not None:
            self._pause.cancel()
        super().server_close()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  # as the base
        """Serve it on a thread while there is room, for SCRAPE_S at most."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        request.settimeout(SCRAPE_S)
        self._loop.call_later(SCRAPE_S, _cut, request)
        try:
            threading.Thread(target=self._serve, args=(request, client_address), daemon=True).start()
        except RuntimeError:  # no thread can be had
            self.shutdown_request(request)
            self._room.release()

    def _serve(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  # as the base
        try:
            with suppress(OSError):  # the client went away, or was too slow
                self.finish_request(request, client_address)
        finally:
            self.shutdown_request(request)
            self._room.release()


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base
        """A scrape is no news."""


def _cut(request: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        request.shutdown(socket.SHUT_RDWR)


def _app(registry: CollectorRegistry) -> WSGIApplication:
    """prometheus_client's, at PATHS alone."""
    text = cast("WSGIApplication", make_wsgi_app(registry))

    def app(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] in PATHS:
            return text(environ, start)
        start("404 Not Found", [("Content-Type", "text/plain")])
        return [b"metrics are at /metrics\n"]

    return app
