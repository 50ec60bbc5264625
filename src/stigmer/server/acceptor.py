"""Listening sockets, and the connections that are accepted on them, as far as there is room.

`server` listens with it. Connections are accepted here and not by the loop, because a loop takes all that come, and one
without file descriptors logs each failure.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from stigmer.server.sockets import Listening, listen
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

    from stigmer.address import Address
    from stigmer.server.limits import Limits

log = get_logger("stigmer.server")

ACCEPTS_AT_ONCE = 32  # in one turn of the loop
SPARE = 8  # descriptors kept for the rest of the process, for when clients have taken all others
RETRY_S = 0.1  # how long new connections wait before it is tried again to accept one
QUIET_S = 60.0  # between two lines about the same shortage
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Accepted:
    """One connection that was accepted.

    Attributes:
        since_s: when, on the loop's clock.
        with_tls: whether it begins with a handshake.
        task: opens it; done when it is open, or could not be.
    """

    __slots__ = ("_acceptor", "_close", "_sent_away", "since_s", "task", "with_tls")

    def __init__(self, acceptor: Acceptor, since_s: float, *, with_tls: bool) -> None:
        self._acceptor, self.since_s = acceptor, since_s
        self.with_tls = with_tls
        self._close: Callable[[], None] | None = None
        self._sent_away = False
        self.task: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is served: its TLS handshake is done."""
        return self._close is not None

    def opened(self, close: Callable[[], None]) -> None:
        """It is served now, until `close` is called; at once where it was sent away before."""
        self._close = close
        if self._sent_away:
            close()

    def called(self) -> None:
        """It made a call: it is one of those that work."""
        self._acceptor.idle.pop(self, None)

    def left(self) -> None:
        """It is closed."""
        self._acceptor.left(self)

    def close(self) -> None:
        """Send it away; as soon as it is open, where it is not yet."""
        self._sent_away = True
        if self._close is not None:
            self._close()
        elif self.task is not None and self.with_tls:  # else it is open in a moment
            self.task.cancel()


class Acceptor:
    """Accepts connections while there is room.

    Args:
        serve: makes what serves a connection.
        limits: how many there may be.

    Attributes:
        listening: the sockets.
        idle: the connections that made no call yet, the oldest first.
    """

    def __init__(self, serve: Callable[[Accepted], asyncio.BaseProtocol], limits: Limits) -> None:
        self._serve, self._limits = serve, limits
        self._loop = asyncio.get_running_loop()
        self._ssl: ssl.SSLContext | None = None
        self.listening: tuple[Listening, ...] = ()
        self.idle: dict[Accepted, None] = {}
        self._accepted: set[Accepted] = set()
        self._spare: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._told_at: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<Acceptor {len(self._accepted)} connections, {len(self.idle)} of them idle>"

    async def listen(
        self, addresses: Iterable[Address], *, ssl: ssl.SSLContext | None, only_here: str | None = None
    ) -> None:
        """Listen on the addresses; see `sockets.listen`. TLS is for those of TCP.

        Raises:
            StartupError: one cannot be bound, or other machines could reach it and must not.
        """
        self._ssl = ssl
        self.listening = await listen(addresses, only_here=only_here)
        self._keep_spare()
        self._watch()

    def stop(self) -> None:
        """Listen no more."""
        self._ignore()
        if self._retry is not None:
            self._retry.cancel()
        for one in self.listening:
            one.close()
        self.listening = ()
        self._release_spare()

    def abort_handshakes(self) -> list[asyncio.Task[None]]:
        """End the connections that are not open yet; the tasks that do so."""
        opening = [accepted for accepted in self._accepted if not accepted.is_open]
        for accepted in opening:
            accepted.close()
        return [accepted.task for accepted in opening if accepted.task is not None]

    def left(self, accepted: Accepted) -> None:
        """A connection is closed."""
        self._accepted.discard(accepted)
        self.idle.pop(accepted, None)
        if self._retry is not None:
            self._try_again()

    # Coming in.

    def _watch(self) -> None:
        for one in self.listening:
            self._loop.add_reader(one.socket, self._accept, one)

    def _ignore(self) -> None:
        for one in self.listening:
            self._loop.remove_reader(one.socket)

    def _accept(self, listening: Listening) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                connection, _ = listening.socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                self._hold_out(error)
                return
            self._welcome(connection, listening)

    def _welcome(self, connection: socket.socket, listening: Listening) -> None:
        connection.setblocking(False)  # the socket's signature
        limits = self._limits
        if len(self._accepted) >= limits.max_connections and not self._make_room():
            self._tell("Too many connections: new ones are closed", limit=limits.max_connections)
            connection.close()
            return
        if len(self.idle) >= limits.max_idle_connections:
            self._make_room()
        with_tls = self._ssl is not None and listening.file is None
        accepted = Accepted(self, self._loop.time(), with_tls=with_tls)
        self._accepted.add(accepted)
        self.idle[accepted] = None
        accepted.task = self._loop.create_task(self._open(accepted, connection))
        accepted.task.add_done_callback(lambda _: self._opened(accepted, connection))
        if self._timer is None:
            self._timer = self._loop.call_later(limits.idle_connection_s, self._sweep)

    async def _open(self, accepted: Accepted, connection: socket.socket) -> None:
        """Serve it, once its TLS handshake is done; one that fails, or takes too long, is the client's own affair."""
        security, handshake_s = (self._ssl, self._limits.handshake_timeout_s) if accepted.with_tls else (None, None)
        with suppress(OSError):
            if connection.family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(
                lambda: self._serve(accepted), connection, ssl=security, ssl_handshake_timeout=handshake_s
            )

    def _opened(self, accepted: Accepted, connection: socket.socket) -> None:
        if not accepted.is_open:  # and never will be
            accepted.left()
            connection.close()

    # Room.

    def _make_room(self) -> bool:
        """Send the oldest of those away that made no call; False where there is none."""
        accepted = next(iter(self.idle), None)
        if accepted is None:
            return False
        del self.idle[accepted]
        accepted.close()
        return True

    def _sweep(self) -> None:
        """Send those away that made no call for too long."""
        self._timer = None
        now, idle_s = self._loop.time(), self._limits.idle_connection_s
        for accepted in list(self.idle):
            left_s = accepted.since_s + idle_s - now
            if left_s > 0:
                self._timer = self._loop.call_later(left_s, self._sweep)
                return
            self._make_room()

    # Descriptors.

    def _hold_out(self, error: OSError) -> None:
        """New connections wait in the kernel; those that are open have what they need."""
        self._ignore()
        self._release_spare()
        self._make_room()
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._tell("No more connections can be accepted: new ones wait", error=error.strerror, descriptors=most)
        self._retry = self._loop.call_later(RETRY_S, self._try_again)

    def _try_again(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        try:
            self._keep_spare()
        except OSError as error:
            self._hold_out(error)
        else:
            self._watch()

    def _keep_spare(self) -> None:
        while len(self._spare) < SPARE:
            self._spare.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def _release_spare(self) -> None:
        while self._spare:
            os.close(self._spare.pop())

    def _tell(self, what: str, **more: object) -> None:
        now = self._loop.time()
        if now - self._told_at.get(what, -QUIET_S) >= QUIET_S:
            self._told_at[what] = now
            log.warning(what, connections=len(self._accepted), **more)
