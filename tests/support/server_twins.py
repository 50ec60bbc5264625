"""Two server sides of one connection, told the same: one writes its frames as stigmer does, one as h2 does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from hyperframe.frame import Frame, GoAwayFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame

from stigmer.server.limits import Limits
from stigmer.server.tuned_h2 import TunedConnection, new_connection

if TYPE_CHECKING:
    from collections.abc import Callable

REQUEST = [(":method", "POST"), (":scheme", "http"), (":path", "/t.T/Echo"), (":authority", "x"), ("te", "trailers")]
UNCHECKED = {f"{verb}_{way}bound_headers": False for verb in ("validate", "normalize") for way in ("in", "out")}


def configuration(*, client: bool) -> H2Configuration:
    """As grpclib makes it."""
    return H2Configuration(client_side=client, header_encoding="ascii", **UNCHECKED)  # type: ignore[arg-type]  # by name


class Reference(TunedConnection):
    """Ours, but for its frames: h2 writes them."""

    def send_headers(self, *arguments: Any, **named: Any) -> None:
        H2Connection.send_headers(self, *arguments, **named)

    def send_data(self, *arguments: Any, **named: Any) -> None:
        H2Connection.send_data(self, *arguments, **named)

    def _receive_frame(self, frame: Frame) -> list[Any]:
        return H2Connection._receive_frame(self, frame)


class Twins:
    """Does everything to both; each act compares what comes of it: bytes, error, states, windows.

    Attributes:
        written: all that came out since the requests, the same from both.
        failures: the errors' names, the same from both.
    """

    def __init__(self, streams: int = 1, *, ended: bool = True) -> None:
        client = H2Connection(configuration(client=True))
        client.initiate_connection()
        for number in range(streams):
            client.send_headers(2 * number + 1, REQUEST, end_stream=ended)
        hello = client.data_to_send()
        self.ours = new_connection(configuration(client=False), Limits())
        self.theirs = new_connection(configuration(client=False), Limits())
        self.theirs.__class__ = Reference
        self.written, self.failures = b"", list[str]()
        self.act(lambda one: one.receive_data(hello))
        self.written = b""

    def act(self, deed: Callable[[TunedConnection], Any]) -> None:
        ours, theirs = _come_of(deed, self.ours), _come_of(deed, self.theirs)
        assert ours == theirs
        self.written += ours["bytes"]
        self.failures += [ours["error"][0].__name__] if ours["error"] else []

    def headers(self, *fields: Any, stream: int = 1, **named: Any) -> None:
        self.act(lambda one: one.send_headers(stream, fields, **named))

    def data(self, data: Any, *, stream: int = 1, **named: Any) -> None:
        self.act(lambda one: one.send_data(stream, data, **named))

    def hear(self, frame: Frame) -> None:
        """Take a frame from the peer."""
        self.act(lambda one: one.receive_data(frame.serialize()))

    def hear_settings(self, **settings: int) -> None:
        self.hear(SettingsFrame(0, {getattr(SettingsFrame, name.upper()): value for name, value in settings.items()}))

    def hear_window(self, size: int, stream: int = 0) -> None:
        self.hear(WindowUpdateFrame(stream, size))

    def hear_reset(self, stream: int = 1) -> None:
        self.hear(RstStreamFrame(stream, 8))

    def hear_goodbye(self) -> None:
        self.hear(GoAwayFrame(0, error_code=ErrorCodes.PROTOCOL_ERROR))


def _come_of(deed: Callable[[TunedConnection], Any], one: TunedConnection) -> dict[str, Any]:
    error: Any = None
    try:
        deed(one)
    except Exception as raised:  # noqa: BLE001  # whatever h2 raises, both must
        error = type(raised), str(raised)
    return {"bytes": one.data_to_send(), "error": error, **_state(one)}


def _state(one: TunedConnection) -> dict[str, Any]:
    streams = {
        number: (vars(stream.state_machine), stream.outbound_flow_control_window)
        for number, stream in one.streams.items()
    }
    return {"state": one.state_machine.state, "window": one.outbound_flow_control_window, "streams": streams}
