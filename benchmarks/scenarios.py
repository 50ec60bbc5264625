"""What is measured, beside what. Each function gives the rows of one table; `run` calls them, `report` writes them."""

from __future__ import annotations

import importlib.util
import random
import secrets
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks import echo_server, fill, load, local, messages, outside, servers
from benchmarks.load import Calls, Following, Sample
from benchmarks.rounds import Row, Size, Worker, interleave
from benchmarks.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from benchmarks.servers import Running

CONNECTIONS = 4
EXECUTIONS = 4
SESSIONS = 1_000
ECHO = "bare grpclib echo"


@dataclass(frozen=True)
class Bench:
    """What every scenario works with.

    Attributes:
        size: how much is measured.
        worker: the process that measures.
        directory: where databases go.
    """

    size: Size
    worker: Worker
    directory: Path

    def calls(self, server: Running, path: str, bodies: tuple[bytes, ...], callers: int) -> Callable[[], Sample]:
        """A round of unary calls."""
        plan = Calls(path, bodies, callers, self.size.seconds)
        return lambda: self.sample(load.unary, server, plan)

    @property
    def with_uvloop(self) -> bool:
        """Whether servers are measured with uvloop as well."""
        return self.size.uvloop and importlib.util.find_spec("uvloop") is not None

    def sample(self, function: Callable[..., Any], *arguments: Any) -> Sample:
        """A sample that a function takes in the worker."""
        taken: Sample = self.worker.run(function, *arguments)
        return taken

    def filled(self, name: str, contexts: int, sessions: int = 0, organizations: int = 0) -> tuple[Path, list[str]]:
        """A new database with rows, of so many organizations; and the contexts' ids."""
        directory = self.directory / name
        ids: list[str] = self.worker.run(_fill, directory, contexts, sessions, organizations)
        return directory, ids


def _fill(directory: Path, contexts: int, sessions: int, organizations: int) -> list[str]:
    return fill.fill(directory, contexts=contexts, sessions=sessions, organizations=organizations)


def unary(bench: Bench) -> dict[str, Row]:
    """Get and create at 1, 16 and 64 callers."""
    rows: dict[str, Row] = {}
    data, ids = bench.filled("unary", bench.size.few)
    gets = tuple(messages.get(id_) for id_ in ids)
    with ExitStack() as stack:
        pairs = [(stack.enter_context(servers.stigmer(data)), stack.enter_context(servers.echo()))]
        if bench.with_uvloop:
            copy = shutil.copytree(data, bench.directory / "unary-uvloop")
            fast = stack.enter_context(servers.stigmer(copy, uvloop=True))
            pairs.append((fast, stack.enter_context(servers.echo(uvloop=True))))
        for callers in bench.size.callers:
            rows |= _unary_rows(bench, pairs, "get", (messages.GET, gets), callers)
        for callers in bench.size.callers:
            rows |= _unary_rows(bench, pairs, "create", (messages.CREATE, ()), callers)
        rows["outside get 64"] = _outside(bench, *pairs[0], gets)
    return rows


def _unary_rows(
    bench: Bench,
    pairs: list[tuple[Running, Running]],
    name: str,
    requests: tuple[str, tuple[bytes, ...]],
    callers: int,
) -> dict[str, Row]:
    variants: dict[str, Callable[[], Sample]] = {}
    for number, (server, echo) in enumerate(pairs):
        variants[f"subject {number}"] = bench.calls(server, *requests, callers)
        variants[f"floor {number}"] = bench.calls(echo, echo_server.EMPTY, (b"",), callers)
    batch = {1: 1, 64: 64}.get(callers) if name == "create" else None
    if batch is not None:
        floor = (local.commits, bench.directory, batch, bench.size.seconds)
        variants["sqlite"] = lambda: bench.sample(*floor)
    taken = interleave(bench.size, variants)
    uvloop = (taken["subject 1"], taken["floor 1"]) if len(pairs) > 1 else None
    title = f"{name}, {callers} caller{'s' if callers > 1 else ''}"
    rows = {f"{name} {callers}": Row(title, "calls", ECHO, taken["subject 0"], taken["floor 0"], uvloop)}
    if batch is not None:
        floor_name = f"raw SQLite, {batch} row{'s' if batch > 1 else ''} a commit"
        rows[f"{name} {callers} sqlite"] = Row(title, "rows", floor_name, taken["subject 0"], taken["sqlite"])
    return rows


def _outside(bench: Bench, server: Running, echo: Running, gets: tuple[bytes, ...]) -> Row:
    """A usual client in place of ours, to check ours."""
    plans = {
        "subject": (server, Calls(messages.GET, gets, 64, bench.size.seconds)),
        "floor": (echo, Calls(echo_server.EMPTY, (b"",), 64, bench.size.seconds)),
    }
    with Worker() as worker:
        variants = {name: partial(worker.run, outside.unary, *plan) for name, plan in plans.items()}
        taken = interleave(bench.size, variants)
    return Row("get, 64 callers, grpcio.aio as the client", "calls", ECHO, taken["subject"], taken["floor"])


def sizes(bench: Bench) -> dict[str, Row]:
    """Create and getByReference beside few and beside many resources; the servers start anew for each round."""
    few, many = bench.size.few, bench.size.many
    small, _ = bench.filled("few", few)
    large, _ = bench.filled("many", many)
    any_of_many = random.Random(1).sample(range(many), min(many, 20_000))
    plans = {
        "create": ((), ()),
        "getByReference": (_references(range(few)), _references(any_of_many)),
        "getByReference of the same": (_references(range(few)), _references(range(few))),
    }
    rows: dict[str, Row] = {}
    for name, (bodies_few, bodies_many) in plans.items():
        path = messages.CREATE if name == "create" else messages.GET_BY_REFERENCE
        taken = interleave(
            bench.size,
            {
                "few": partial(_anew, bench, small, path, bodies_few, copied=True),
                "many": partial(_anew, bench, large, path, bodies_many, copied=False),
            },
        )
        title = f"{name.removesuffix(' of the same')}, 64 callers, {many:,} contexts"
        title += f", the same {few} asked for" if name.endswith("same") else ""
        rows[f"{name} at many"] = Row(title, "calls", f"the same at {few}", taken["many"], taken["few"])
    return rows


def _references(numbers: range | list[int]) -> tuple[bytes, ...]:
    return tuple(messages.get_by_reference(fill.slug(number)) for number in numbers)


def _anew(bench: Bench, data: Path, path: str, bodies: tuple[bytes, ...], *, copied: bool) -> Sample:
    """A round on a server that has just started; on a copy, where what is created must not stay."""
    copy = bench.directory / "copy"
    if copied:
        shutil.copytree(data, copy)
    try:
        with servers.stigmer(copy if copied else data) as server:
            return bench.calls(server, path, bodies, 64)()
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def fan_out(bench: Bench) -> dict[str, Row]:
    """Many followers of a few executions, each updated without pause."""
    streams = bench.size.streams
    with ExitStack() as stack:
        variants: dict[str, Callable[[], Sample]] = {}
        for number, uvloop in enumerate((False, True) if bench.with_uvloop else (False,)):
            data = bench.directory / f"follow-{number}"
            server = stack.enter_context(servers.stigmer(data, uvloop=uvloop))
            plan, size = following(server, bench.size)
            echo = stack.enter_context(servers.echo(uvloop=uvloop))
            asked = (echo_server.asked(size),)
            idle = Following(echo_server.STREAM, asked, streams, CONNECTIONS, bench.size.seconds)
            variants[f"subject {number}"] = partial(bench.sample, load.follow, server, plan)
            variants[f"floor {number}"] = partial(bench.sample, load.follow, echo, idle)
        taken = interleave(bench.size, variants)
    title = f"subscribe, {streams} followers of {EXECUTIONS} executions, {size} bytes a state"
    uvloops = (taken["subject 1"], taken["floor 1"]) if bench.with_uvloop else None
    floor = f"bare grpclib streams, {size} bytes a message"
    return {"subscribe": Row(title, "deliveries", floor, taken["subject 0"], taken["floor 0"], uvloops)}


def following(server: Running, size: Size) -> tuple[Following, int]:
    """New executions with followers, and how long a state is once they run."""
    with Wire(server.address) as wire:
        request = messages.agent(f"a{secrets.token_hex(4)}")
        agent = messages.parsed(messages.AGENT, wire.unary(messages.CREATE_AGENT, request))
        ids: list[str] = []
        for _ in range(EXECUTIONS):
            request = messages.execution("e", agent.metadata.id)
            made = messages.parsed(messages.EXECUTION, wire.unary(messages.CREATE_EXECUTION, request))
            ids.append(made.metadata.id)
            length = len(wire.unary(messages.UPDATE_STATUS, messages.progress(ids[-1], 0)))
    bodies = tuple(messages.get(id_) for id_ in ids)
    return Following(messages.SUBSCRIBE, bodies, size.streams, CONNECTIONS, size.seconds, tuple(ids)), length


def lists(bench: Bench) -> dict[str, Row]:
    """Pages of sessions."""
    rows: dict[str, Row] = {}
    data, _ = bench.filled("lists", 0, SESSIONS)
    with servers.stigmer(data) as server, servers.echo() as echo:
        for count in (50, 1000):
            request = messages.list_sessions(count)
            with Wire(server.address) as wire:
                size = len(wire.unary(messages.LIST, request))
            variants = {
                "subject": bench.calls(server, messages.LIST, (request,), 1),
                "floor": bench.calls(echo, echo_server.BYTES, (echo_server.asked(size),), 1),
            }
            taken = interleave(bench.size, variants)
            floor = f"bare grpclib, a reply of {size:,} bytes"
            rows[f"list {count}"] = Row(
                f"list, a page of {count}, 1 caller", "pages", floor, taken["subject"], taken["floor"]
            )
    return rows


def loopback(bench: Bench) -> dict[str, Row]:
    """Calls that stay in the process, beside the same ones over TCP."""
    data, ids = bench.filled("loopback", bench.size.few)
    remote = shutil.copytree(data, bench.directory / "loopback-remote")
    seconds = bench.size.seconds
    with servers.stigmer(remote) as server:
        variants: dict[str, Callable[[], Sample]] = {
            "get": lambda: bench.sample(local.loopback, data, "get", seconds),
            "stub get": lambda: bench.sample(local.stub, server, "get", seconds),
            "wire get": bench.calls(server, messages.GET, (messages.get(ids[0]),), 1),
            "get uncached": lambda: bench.sample(local.loopback, data, "get uncached", seconds),
            "create": lambda: bench.sample(local.loopback, data, "create", seconds),
            "sqlite": lambda: bench.sample(local.commits, bench.directory, 1, seconds),
        }
        taken = interleave(bench.size, variants)
    stub, wire = "the same stub over TCP", "the same get over TCP by our prepared client"
    return {
        "loopback get": Row("loopback get, 1 caller", "calls", stub, taken["get"], taken["stub get"]),
        "loopback get wire": Row("loopback get, 1 caller", "calls", wire, taken["get"], taken["wire get"]),
        "loopback get uncached": Row(
            "loopback get, 1 caller, cache off", "calls", stub, taken["get uncached"], taken["stub get"]
        ),
        "loopback create": Row(
            "loopback create, 1 caller", "calls", "raw SQLite, 1 row a commit", taken["create"], taken["sqlite"]
        ),
    }


def conversions(bench: Bench) -> dict[str, Row]:
    """The bridge codec beside the C runtime."""
    rounds: list[Mapping[str, Sample]] = [
        bench.worker.run(local.conversions, bench.size.seconds / 4) for _ in range(bench.size.rounds)
    ]
    return {
        name: Row(
            f"bridge codec, {name} of a stored context",
            "messages",
            f"C runtime {name}",
            [taken[name] for taken in rounds],
            [taken[f"floor {name}"] for taken in rounds],
        )
        for name in ("decode", "encode")
    }
