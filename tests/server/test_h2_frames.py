"""Frames that stigmer writes itself are h2's own, byte for byte, and refused where h2 refuses them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from effort import examples
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, TrailersReceived
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st
from server_twins import REQUEST, Twins, configuration
from server_wire import connect, message

from stigmer.server.limits import Limits
from stigmer.server.tuned_h2 import CONFIGURATION, TunedConnection, new_connection

if TYPE_CHECKING:
    from server_rig import Serve

OK = (":status", "200")
TYPE = ("content-type", "application/grpc+proto")
DONE = ("grpc-status", "0")
LONG = ("grpc-message", "m" * 20_000)
UNICODE = ("grpc-message", "\N{SNOWMAN}")


@pytest.fixture
def twins() -> Twins:
    return Twins()


@pytest.fixture
def left_to_h2(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which calls were handed to h2."""
    seen: list[str] = []

    def note(name: str) -> None:
        real = getattr(H2Connection, name)

        def noted(self: H2Connection, *arguments: Any, **named: Any) -> None:
            if type(self) is TunedConnection:
                seen.append(name)
            real(self, *arguments, **named)

        monkeypatch.setattr(H2Connection, name, noted)

    note("send_headers")
    note("send_data")
    return seen


def test_a_usual_reply_is_written_without_h2_and_a_client_reads_it(left_to_h2: list[str]) -> None:
    client, server = H2Connection(configuration(client=True)), new_connection(configuration(client=False), Limits())
    client.initiate_connection()
    client.send_headers(1, REQUEST, end_stream=True)
    server.receive_data(client.data_to_send())
    server.send_headers(1, [OK, TYPE])
    server.send_data(1, b"hello")
    server.send_data(1, b"")
    server.send_headers(1, [DONE], end_stream=True)
    assert left_to_h2 == []
    events = [event for event in client.receive_data(server.data_to_send()) if getattr(event, "stream_id", None)]
    assert [type(event) for event in events] == [
        ResponseReceived, DataReceived, DataReceived, TrailersReceived, StreamEnded,
    ]  # fmt: skip
    assert [getattr(event, "headers", None) or getattr(event, "data", None) for event in events[:4]] == [
        [OK, TYPE], b"hello", b"", [DONE],
    ]  # fmt: skip


def test_h2_is_asked_neither_to_check_headers_nor_to_change_them() -> None:
    assert not CONFIGURATION.validate_outbound_headers
    assert not CONFIGURATION.normalize_outbound_headers


@pytest.mark.parametrize(
    "fields",
    [
        [OK, TYPE], [(b":status", b"200"), (b"X-Mixed", b" v ")], [OK, UNICODE], [DONE], [("", "")],
        [OK, ("x", "v" * 200)], [(":status", "100")], [(":path", "/"), (":status", "100")],
        [(":status", "404"), TYPE], [(b":status", b"103")],
        [OK, LONG], [], [OK, ("x", "\ud800")],
    ],
)  # fmt: skip
@pytest.mark.parametrize("end_stream", [False, True])
def test_header_blocks_are_those_of_h2(twins: Twins, fields: list[Any], end_stream: bool) -> None:
    twins.headers(*fields, end_stream=end_stream)
    twins.data(b"body")
    twins.headers(*fields, end_stream=True)
    assert twins.written or twins.failures


def test_a_block_that_is_longer_than_a_frame_goes_on_in_others(twins: Twins, left_to_h2: list[str]) -> None:
    twins.headers(OK, LONG)
    assert left_to_h2 == ["send_headers"]
    assert twins.written[3] == 1
    assert twins.written[9 + 16384 + 3] == 9  # a continuation


def test_a_block_that_just_fits_is_one_frame(twins: Twins, left_to_h2: list[str]) -> None:
    twins.headers(OK, ("x", "v" * (16384 - 7)))
    assert (int.from_bytes(twins.written[:3], "big"), left_to_h2) == (16384, [])
    twins.headers(("x", "v" * (16384 - 5)), end_stream=True)
    assert left_to_h2 == ["send_headers"]


def test_a_peer_that_changes_its_header_table_is_told_that_we_know(twins: Twins, left_to_h2: list[str]) -> None:
    twins.hear_settings(header_table_size=100)
    twins.headers(OK, TYPE)
    assert left_to_h2 == ["send_headers"]
    twins.headers(DONE, end_stream=True)
    assert left_to_h2 == ["send_headers"]


@pytest.mark.parametrize(
    "named",
    [{"priority_weight": 3}, {"priority_depends_on": 1}, {"priority_exclusive": True}, {"priority_weight": None}],
)  # fmt: skip
def test_a_server_has_no_priorities(twins: Twins, named: dict[str, Any]) -> None:
    twins.headers(OK, **named)
    assert twins.failures == ([] if None in named.values() else ["RFC1122Error"])


def test_trailers_end_the_stream_and_come_once(twins: Twins) -> None:
    twins.headers(OK)
    twins.headers(DONE)
    assert twins.failures == ["ProtocolError"]
    other = Twins(ended=False)
    other.headers(OK)
    other.headers(DONE, end_stream=True)
    other.headers(DONE, end_stream=True)
    assert other.failures == ["ProtocolError"]


def test_data_comes_after_headers_and_before_the_end(twins: Twins) -> None:
    twins.data(b"too early")
    other = Twins()
    other.headers(OK)
    other.headers(DONE, end_stream=True)
    other.data(b"too late")
    assert other.failures == ["StreamClosedError"]


@pytest.mark.parametrize(
    ("data", "named"),
    [(b"x" * 300, {}), (b"x", {"end_stream": True}), (b"", {"end_stream": True}), (b"x", {"pad_length": 0}),
     (b"x", {"pad_length": 255}), (b"x", {"pad_length": 256}), (memoryview(b"xyz"), {}), (bytearray(b"xyz"), {})],
)  # fmt: skip
def test_data_frames_are_those_of_h2(twins: Twins, data: Any, named: dict[str, Any]) -> None:
    twins.headers(OK)
    twins.data(data, **named)
    twins.headers(DONE, end_stream=True)
    assert DONE[0].encode() in twins.written or twins.failures


@pytest.mark.parametrize(("size", "failures"), [(9, []), (10, []), (11, ["FlowControlError"])])
def test_data_stay_within_the_window_of_the_stream(twins: Twins, size: int, failures: list[str]) -> None:
    twins.headers(OK)
    twins.hear_settings(initial_window_size=10)
    twins.data(b"x" * size)
    assert twins.failures == failures
    twins.hear_settings(initial_window_size=5)  # below zero now
    twins.data(b"")
    twins.data(b"x")
    twins.hear_window(100, stream=1)
    twins.data(b"x" * 30)
    assert twins.failures.count("FlowControlError") == len(failures) + (size != 11)


def test_data_stay_within_the_window_of_the_connection() -> None:
    twins = Twins(2)
    twins.hear_settings(initial_window_size=100_000)
    twins.headers(OK, stream=1)
    twins.headers(OK, stream=3)
    for _ in range(3):
        twins.data(b"x" * 16_384)
    twins.data(b"x" * (65_535 - 3 * 16_384), stream=3)
    assert twins.failures == []
    twins.data(b"x", stream=3)
    assert twins.failures == ["FlowControlError"]
    twins.hear_window(1)
    twins.data(b"x", stream=1)
    assert twins.failures == ["FlowControlError"]


def test_data_stay_within_the_largest_frame(twins: Twins) -> None:
    twins.headers(OK)
    twins.data(b"x" * 16_384)
    twins.data(b"x" * 16_385)
    assert twins.failures == ["FrameTooLargeError"]
    twins.hear_settings(max_frame_size=16_386)
    twins.data(b"x" * 16_386)
    assert twins.failures == ["FrameTooLargeError"]


@pytest.mark.parametrize("stream", [1, 3, 0])
def test_a_stream_that_is_closed_or_none_is_refused_alike(twins: Twins, stream: int) -> None:
    twins.hear_reset()
    twins.headers(OK, stream=stream)
    twins.data(b"x", stream=stream)
    twins.act(lambda one: one.forget(1))
    twins.headers(OK, stream=stream)
    twins.data(b"x", stream=stream)
    assert len(twins.failures) == 4


def test_a_connection_that_has_ended_takes_nothing(twins: Twins) -> None:
    twins.headers(OK)
    twins.hear_goodbye()
    twins.data(b"x")
    twins.headers(DONE, end_stream=True)
    assert twins.failures == ["ProtocolError", "ProtocolError"]


async def test_a_message_goes_out_in_pieces_as_the_peer_s_window_opens(serve: Serve) -> None:
    async with serve() as server, connect(server, hello=False) as wire:
        wire.hello()
        wire.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 10})
        assert await wire.status(wire.request(message(bytes(range(64))))) == "0"
        pieces = [event.data for event in wire.events if isinstance(event, DataReceived)]
        assert b"".join(pieces) == message(bytes(range(64)))
        assert max(map(len, pieces)) == 10


streams = st.sampled_from((1, 3))
blocks = st.lists(st.sampled_from((TYPE, DONE, UNICODE, LONG, (b"x-bin", b"AA"))), max_size=3)
starts = st.sampled_from(((OK,), (), (OK,), ((":status", "405"),)))
sizes = st.sampled_from((0, 1, 9, 10, 300, 16_383, 16_384, 16_385, 40_000))
steps = st.one_of(
    st.builds(lambda to, first, more, end: ("headers", (*first, *more), {"stream": to, "end_stream": end}),
              streams, starts, blocks, st.booleans()),
    st.builds(lambda to, size, end: ("data", (b"x" * size,), {"stream": to, "end_stream": end}),
              streams, sizes, st.sampled_from((False, False, False, True))),
    st.builds(lambda to, pad: ("data", (b"padded",), {"stream": to, "pad_length": pad}), streams, st.integers(-1, 256)),
    st.builds(lambda name, value: ("hear_settings", (), {name: value}), st.just("initial_window_size"), sizes),
    st.builds(lambda size: ("hear_settings", (), {"max_frame_size": size}), st.sampled_from((16_384, 16_385, 65_536))),
    st.builds(lambda value: ("hear_settings", (), {"header_table_size": value}), sizes),
    st.builds(lambda size, to: ("hear_window", (size, to), {}), sizes, st.sampled_from((0, 1, 3))),
    st.builds(lambda to: ("hear_reset", (to,), {}), streams),
    st.builds(lambda to: ("act", (lambda one: one.forget(to),), {}), streams),
    st.builds(lambda to: ("act", (lambda one: one.reset_stream(to),), {}), streams),
    st.just(("hear_goodbye", (), {})),
)  # fmt: skip
opening: tuple[str, Any, Any] = ("headers", (OK,), {})


@given(st.lists(steps, max_size=14), st.booleans())
@pytest.mark.longer
@settings(deadline=None, max_examples=examples(100, 5_000))
def test_whatever_is_sent_and_heard_it_comes_to_the_same(acts: list[tuple[str, Any, Any]], ended: bool) -> None:
    twins = Twins(2, ended=ended)
    for name, arguments, named in [opening, *acts]:
        getattr(twins, name)(*arguments, **named)
