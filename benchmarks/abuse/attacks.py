"""The attacks, each a function of an address, the data and a time to end at; run in processes of their own.

Each gives how its calls ended. None asks for more than a client can: bytes on a socket, of a bounded number.
"""

from __future__ import annotations

import gzip
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, TypeAlias

from benchmarks import messages
from benchmarks.abuse.data import AGENT, TAGS
from benchmarks.abuse.peer import INITIAL_WINDOW_SIZE, Gone, Peer, message
from benchmarks.heavy import HEAVY
from benchmarks.wire import DATA, END_STREAM, HEADERS, PING, RST_STREAM, frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from benchmarks.abuse.data import Data

MB = 1_000_000
EXECUTION_LIST = "/ai.stigmer.agentic.agentexecution.v1.AgentExecutionQueryController/list"
GET_EXECUTION = "/ai.stigmer.agentic.agentexecution.v1.AgentExecutionQueryController/get"
GET_BY_AGENT = "/ai.stigmer.agentic.agentinstance.v1.AgentInstanceQueryController/getByAgent"
REPORT = "ai.stigmer.agentic.agentexecution.v1.AgentExecutionUpdateStatusInput"


@dataclass(frozen=True)
class Target:
    """What is attacked: the address, what is there, and when to stop on the clock of `time.monotonic`.

    `source` is the address that the attack comes from.
    """

    address: tuple[str, int]
    data: Data
    end_s: float
    source: str

    @property
    def on(self) -> bool:
        """Whether to go on."""
        return time.monotonic() < self.end_s

    def peer(self, *, window: int | None = None, greet: bool = True) -> Peer:
        """Connect; see `Peer`."""
        return Peer(self.address, self.source, window=window, greet=greet)


Attack: TypeAlias = "Callable[[Target], Counter[str]]"


def _held(target: Target, peers: Iterable[Peer]) -> Counter[str]:
    """Keep connections open to the end, taking in what comes."""
    peers, outcomes = list(peers), Counter[str]()
    gone: set[int] = set()
    while target.on and len(gone) < len(peers):
        for number, one in enumerate(peers):
            if number not in gone:
                try:
                    one.pump(0.02)
                except Gone:
                    gone.add(number)
        time.sleep(0.02)
    for one in peers:
        with one:
            pass
        outcomes += one.outcomes
    outcomes["connections ended by the server"] += len(gone)
    return outcomes


def _half_sent(target: Target, connections: int, each: int, size: int) -> Counter[str]:
    """Announce messages and send all of each but its last byte, as far as the windows allow."""
    body = message(b"\x0a" * (size - 1), size=size)
    peers = [target.peer() for _ in range(connections)]
    sent = [dict.fromkeys([one.begin(messages.CREATE) for _ in range(each)], 0) for one in peers]
    gone: set[int] = set()
    while target.on and len(gone) < connections:
        for number, one in enumerate(peers):
            try:
                one.pump(0.001)
                _send_on(one, sent[number], body)
            except Gone:
                gone.add(number)
    return _held(target, peers)


def _send_on(one: Peer, sent: dict[int, int], body: bytes) -> None:
    for stream in one.open & sent.keys():
        at = sent[stream]
        room = min(one.room(stream), 65_536, len(body) - at)
        if room > 0:
            sent[stream] += one.data(stream, body[at : at + room])


def half_sent_large(target: Target) -> Counter[str]:
    """60 messages of 9.9 MB on two connections, none of them finished."""
    return _half_sent(target, 2, 30, int(9.9 * MB))


def half_sent_many(target: Target) -> Counter[str]:
    """300 messages of 9.9 MB on one connection, none of them finished."""
    return _half_sent(target, 1, 300, int(9.9 * MB))


def one_byte_frames(target: Target) -> Counter[str]:
    """Messages that come a byte a frame and are never whole."""
    peers = [target.peer() for _ in range(2)]
    for one in peers:
        with suppress(Gone):
            for stream in [one.begin(messages.CREATE) for _ in range(20)]:
                if not target.on:
                    break
                one.data(stream, message(b"", size=MB))
                room = min(60_000, one.room(stream))
                one.send(frame(DATA, 0, stream, b"\x0a") * room)
                one._connection_window -= room  # noqa: SLF001 - the frames went round it
                one._windows[stream] -= room  # noqa: SLF001 - as above
                one.pump(0.01)
    return _held(target, peers)


def _unread(target: Target, connections: int, path: str, bodies: list[bytes], each: int) -> Counter[str]:
    """Ask, and never open the window for the answer."""
    peers = [target.peer(window=0) for _ in range(connections)]
    for one in peers:
        with suppress(Gone):
            for number in range(each):
                if target.on:
                    one.call(path, bodies[number % len(bodies)])
                    one.pump(0.001)
    return _held(target, peers)


def unread_gets(target: Target) -> Counter[str]:
    """300 gets of one 2 MB row on each of two connections, unread."""
    return _unread(target, 2, messages.GET, [messages.get(target.data.large[0])], 300)


def unread_huge(target: Target) -> Counter[str]:
    """1,000 gets of rows of 9 MB, unread."""
    return _unread(target, 1, GET_EXECUTION, [messages.get(id_) for id_ in target.data.huge], 1000)


def unread_lists(target: Target) -> Counter[str]:
    """300 lists of 3 MB on each of two connections, unread."""
    return _unread(target, 2, messages.LIST, [messages.list_sessions(1000)], 300)


def unread_by_agent(target: Target) -> Counter[str]:
    """All 600 instances of 100 kB of an agent, asked for again and again, unread."""
    request = messages.new("ai.stigmer.agentic.agentinstance.v1.GetAgentInstancesByAgentRequest", agent_id=AGENT)
    return _unread(target, 1, GET_BY_AGENT, [request.SerializeToString()], 10)


def slow_subscribers(target: Target) -> Counter[str]:
    """Followers that read nothing of executions of 9 MB, and somebody who reports on these."""
    follower = target.peer(window=0)
    with suppress(Gone):
        for number in range(100):
            follower.call(messages.SUBSCRIBE, messages.get(target.data.huge[number % len(target.data.huge)]))
        with target.peer() as reporter:
            for number in count():
                if not target.on:
                    break
                reporter.call(
                    messages.UPDATE_STATUS, messages.progress(target.data.huge[number % len(target.data.huge)], number)
                )
                reporter.drain(2)
                follower.pump(0.001)
    return _held(target, [follower])


def deaf_connections(target: Target) -> Counter[str]:
    """300 gets of rows of 9 MB on each of four connections, whose sockets nobody reads."""
    peers = [target.peer() for _ in range(4)]
    for one in peers:
        with suppress(Gone):
            for number in range(300):
                one.call(GET_EXECUTION, messages.get(target.data.huge[number % len(target.data.huge)]))
    while target.on:
        time.sleep(0.1)
    return _held(target, peers)


def idle_connections(target: Target) -> Counter[str]:
    """3,000 connections that say nothing, half of them not even the preface."""
    peers: list[Peer] = []
    outcomes: Counter[str] = Counter()
    for number in range(3000):
        if not target.on:
            break
        try:
            peers.append(target.peer(greet=number % 2 == 0))
        except (OSError, Gone):
            outcomes["refused"] += 1
    return outcomes + _held(target, peers)


def _repeated(target: Target, path: str, body: Callable[[int], bytes], *, pause_s: float = 0.0) -> Counter[str]:
    """One call after the other, each waited for; a new connection where one was closed."""
    outcomes: Counter[str] = Counter()
    numbers = count()
    while target.on:
        try:
            with target.peer() as one:
                try:
                    while target.on:
                        one.call(path, body(next(numbers)))
                        one.drain(20)
                        time.sleep(pause_s)
                finally:
                    outcomes += one.outcomes
        except (Gone, OSError):
            outcomes["connections ended by the server"] += 1
            time.sleep(0.05)
    return outcomes


def _heavy(target: Target, name: str, execution_id: str) -> Counter[str]:
    """One of `benchmarks.heavy`, again and again."""
    one = HEAVY[name]
    body = one.body(execution_id)
    return _repeated(target, one.path, lambda _: body)


def map_entries(target: Target) -> Counter[str]:
    """Environments of 99,000 values."""
    return _heavy(target, "99,000 entries of a map", "")


def empty_messages(target: Target) -> Counter[str]:
    """Reports of 99,000 empty messages: 198 kB."""
    return _heavy(target, "198 kB of empty messages", target.data.attacked)


def long_transcripts(target: Target) -> Counter[str]:
    """Reports of 10,000 messages, 9.5 MB together: these are welcome, and must not cost others much."""
    return _heavy(target, "10,000 messages of 1 kB", target.data.huge[-1])


def grown_rows(target: Target) -> Counter[str]:
    """Reports of 32 bytes on an execution of 20,000 messages."""
    return _repeated(target, messages.UPDATE_STATUS, lambda number: _phase(target.data.grown[number % 2]), pause_s=0.01)


def _phase(execution_id: str) -> bytes:
    report = messages.new(REPORT, execution_id=execution_id)
    report.status.phase = 2
    data: bytes = report.SerializeToString()
    return data


def mcp_servers(target: Target) -> Counter[str]:
    """Agents of 512 kB of MCP servers that say nothing."""
    return _heavy(target, "512 kB of MCP servers", "")


def long_names(target: Target) -> Counter[str]:
    """Sessions whose name is five million times `a!`."""
    return _heavy(target, "a name of 5 million a!", "")


def many_tags(target: Target) -> Counter[str]:
    """Sessions of 90,000 tags."""
    return _heavy(target, "90,000 tags", "")


def deep_messages(target: Target) -> Counter[str]:
    """Reports of messages that hold trees of Struct, as deep as may be."""
    return _heavy(target, "Structs as deep as may be", target.data.attacked)


def gzip_bombs(target: Target) -> Counter[str]:
    """Requests that inflate to 100 MB."""
    body = gzip.compress(b"\0" * (100 * MB))
    outcomes: Counter[str] = Counter()
    while target.on:
        try:
            with target.peer() as one:
                for _ in range(20):
                    one.call(messages.CREATE, body, [("grpc-encoding", "gzip")], flag=1)
                    one.drain(10)
            outcomes += one.outcomes
        except (Gone, OSError):
            outcomes["connections ended by the server"] += 1
    return outcomes


def window_tricks(target: Target) -> Counter[str]:
    """1,000 open calls whose window goes up and down all the time."""
    outcomes: Counter[str] = Counter()
    while target.on:
        try:
            with target.peer(window=0) as one:
                for number in range(990):
                    one.call(messages.SUBSCRIBE, messages.get(target.data.running[number % 4]))
                while target.on:
                    for size in (1, 0) * 50:
                        one.settings({INITIAL_WINDOW_SIZE: size})
                    one.pump(0.001)
        except (Gone, OSError):
            outcomes["connections ended by the server"] += 1
            time.sleep(0.05)
        outcomes += one.outcomes
    return outcomes


def pings(target: Target) -> Counter[str]:
    """Pings without end on 50 connections."""
    return _flood(target, 50, lambda _: frame(PING, 0, 0, b"stigmer!") * 500)


def resets(target: Target) -> Counter[str]:
    """Calls that are opened and cancelled at once, on four connections (CVE-2023-44487)."""

    def burst(one: Peer) -> bytes:
        out = bytearray()
        for _ in range(100):
            data, stream = one.headers(messages.GET)
            out += data + frame(RST_STREAM, 0, stream, (8).to_bytes(4, "big"))
            one.open.discard(stream)
        return bytes(out)

    return _flood(target, 4, burst)


def subscriptions(target: Target) -> Counter[str]:
    """Subscriptions that are opened and cancelled at once, on four connections."""

    def burst(one: Peer) -> bytes:
        out = bytearray()
        for number in range(25):
            data, stream = one.headers(messages.SUBSCRIBE)
            out += data + frame(DATA, END_STREAM, stream, message(messages.get(target.data.running[number % 4])))
            out += frame(RST_STREAM, 0, stream, (8).to_bytes(4, "big"))
            one.open.discard(stream)
        return bytes(out)

    return _flood(target, 4, burst)


def large_headers(target: Target) -> Counter[str]:
    """500 calls with 24 kB of metadata each on each of four connections, none of which sends its message."""
    peers = [target.peer() for _ in range(4)]
    for one in peers:
        with suppress(Gone):
            for number in range(500):
                if target.on:
                    one.begin(messages.CREATE, [(f"x-{number}-{part}", "v" * 1000) for part in range(15)])
    return _held(target, peers)


def continuations(target: Target) -> Counter[str]:
    """Header blocks in frames without end (CVE-2024-27316)."""

    def burst(one: Peer) -> bytes:
        one.open.clear()
        return frame(HEADERS, 0, 1, b"\x88") + frame(9, 0, 1, b"\x00\x01a\x01b" * 20) * 200

    return _flood(target, 4, burst)


def refused_calls(target: Target) -> Counter[str]:
    """Calls of methods that are not there, on ten connections."""

    def burst(one: Peer) -> bytes:
        return b"".join(one.headers("/no.such.Service/method", end=True)[0] for _ in range(50))

    return _flood(target, 10, burst)


def failing_calls(target: Target) -> Counter[str]:
    """Calls that are refused by name, on ten connections: each leaves a line in the log."""

    def burst(one: Peer) -> bytes:
        out = bytearray()
        for _ in range(20):
            data, stream = one.headers(messages.GET)
            out += data + frame(DATA, END_STREAM, stream, message(messages.get("no-such-id")))
        return bytes(out)

    return _flood(target, 10, burst)


def _flood(target: Target, connections: int, burst: Callable[[Peer], bytes]) -> Counter[str]:
    """Send bursts round robin; a connection that the server ended is opened again."""
    outcomes: Counter[str] = Counter()
    with ExitStack() as stack:
        peers = [stack.enter_context(target.peer()) for _ in range(connections)]
        while target.on:
            for number, one in enumerate(peers):
                try:
                    if len(one.open) < 500:
                        one.send(burst(one))
                        outcomes["bursts"] += 1
                    one.pump(0.001)
                except Gone:
                    outcomes["connections ended by the server"] += 1
                    outcomes += one.outcomes
                    one.outcomes.clear()
                    with suppress(OSError, Gone):
                        peers[number] = stack.enter_context(target.peer())
    for one in peers:
        outcomes += one.outcomes
    return outcomes


def dear_lists(target: Target) -> Counter[str]:
    """100 lists by 40 tags at once that everybody has, given up after 0.1 s, again and again."""
    request = messages.new("ai.stigmer.agentic.session.v1.ListSessionsRequest", page_size=1, tags=TAGS)
    body: bytes = request.SerializeToString()
    outcomes: Counter[str] = Counter()
    while target.on:
        try:
            with target.peer() as one:
                for _ in range(100):
                    one.call(messages.LIST, body, [("grpc-timeout", "100m")])
                one.pump(0.1)
                for stream in list(one.open):
                    one.send(frame(RST_STREAM, 0, stream, (8).to_bytes(4, "big")))
            outcomes += one.outcomes
        except (Gone, OSError):
            outcomes["connections ended by the server"] += 1
    return outcomes


def large_lists(target: Target) -> Counter[str]:
    """Lists of 1,000 rows of 3 kB, 20 at once, read."""
    outcomes: Counter[str] = Counter()
    while target.on:
        try:
            with target.peer() as one:
                for _ in range(20):
                    one.call(messages.LIST, messages.list_sessions(1000))
                one.drain(20)
            outcomes += one.outcomes
        except (Gone, OSError):
            outcomes["connections ended by the server"] += 1
    return outcomes


def slow_requests(target: Target) -> Counter[str]:
    """500 requests on each of four connections that never get further than their first bytes."""
    peers = [target.peer() for _ in range(4)]
    for one in peers:
        with suppress(Gone):
            for number in range(500):
                stream = one.begin(messages.CREATE)
                one.data(stream, message(b"\x0a", size=1000)[: 3 + number % 3])
    return _held(target, peers)


def _all() -> Iterator[Attack]:
    yield from (half_sent_large, half_sent_many, one_byte_frames, slow_requests, idle_connections)
    yield from (large_headers, continuations, subscriptions, deaf_connections)
    yield from (unread_gets, unread_huge, unread_lists, unread_by_agent, slow_subscribers)
    yield from (map_entries, empty_messages, long_transcripts, grown_rows, mcp_servers, long_names, many_tags)
    yield from (deep_messages, gzip_bombs, window_tricks, pings, resets, refused_calls, failing_calls)
    yield from (dear_lists, large_lists)


ATTACKS = {attack.__name__: attack for attack in _all()}
