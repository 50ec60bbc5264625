"""What the frames of one connection come to: h2's events, handed to the calls they concern."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from grpclib import protocol
from h2.exceptions import DenialOfServiceError
from h2.settings import SettingCodes

from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from h2.events import DataReceived, Event, RemoteSettingsChanged, RequestReceived, StreamReset, WindowUpdated

    from stigmer.server.connection import Connection
    from stigmer.server.protocol import Handler
    from stigmer.server.stream import Stream

log = get_logger("stigmer.server.events")

RESETS_PER_STREAM = 4  # a peer may cancel so many times `max_streams` calls within RESET_WINDOW_S
RESET_WINDOW_S = 10.0


class EventsProcessor(protocol.EventsProcessor):
    """h2's events, handed to the calls they concern; unknown ones are ignored (RFC 9113, 5.5)."""

    connection: Connection

    def __init__(self, handler: protocol.AbstractHandler, connection: Connection) -> None:
        super().__init__(handler, connection)
        self._resets = 0
        self._resets_since = 0.0

    def process(self, event: Event) -> None:
        """Act on one event."""
        try:
            super().process(event)
        except NotImplementedError:
            log.debug("Ignored", frame=event)

    def close(self, reason: str = "") -> None:  # noqa: ARG002  # grpclib's signature
        """Act on no more events, and end the connection and its calls."""
        self.connection.close()
        cast("Handler", self.handler).abandon()
        self.processors = {}

    def register(self, stream: protocol.Stream) -> Callable[[], None]:
        """Note a running call; what is returned ends it, once, however often it is called."""
        stream_id = cast("int", stream.id)
        self.streams[stream_id] = stream

        def release_once() -> None:
            if self.streams.pop(stream_id, None) is not None:
                cast("Stream", stream).close()
                self.connection.forget(stream_id)

        return release_once

    def process_request_received(self, event: RequestReceived) -> None:
        """Start a call, or turn it away where the connection has too many."""
        if len(self.streams) >= self.connection.limits.max_streams:
            self.connection.refuse(event.stream_id)
        else:
            super().process_request_received(event)

    def process_data_received(self, event: DataReceived) -> None:
        """Keep a call's bytes; an empty frame is none."""
        size = event.flow_controlled_length
        if size:
            self.connection.received(size)
            stream = self.streams.get(event.stream_id)
            if stream is not None:
                cast("Stream", stream).buffer.add(event.data, size)

    def process_window_updated(self, event: WindowUpdated) -> None:
        """Let calls send that the window held back."""
        self.connection.outbound.window_opened(event.stream_id)

    def process_remote_settings_changed(self, event: RemoteSettingsChanged) -> None:
        """The same, where the windows of all calls changed."""
        if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
            self.connection.outbound.windows_changed()

    def process_stream_reset(self, event: StreamReset) -> None:
        """Cancel a call.

        Raises:
            DenialOfServiceError: the peer opens and cancels calls all the time (CVE-2023-44487).
        """
        super().process_stream_reset(event)
        self.connection.outbound.closed(event.stream_id)
        now = asyncio.get_running_loop().time()
        if now - self._resets_since > RESET_WINDOW_S:
            self._resets, self._resets_since = 0, now
        self._resets += 1
        if self._resets > RESETS_PER_STREAM * self.connection.limits.max_streams:
            raise DenialOfServiceError(f"{self._resets} calls cancelled within {RESET_WINDOW_S} s")
