"""`stigmer.sync.Client`: the names of the asynchronous one, for threads, within a running loop too."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import stigmer
import stigmer.sync
from stigmer.client import kinds

if TYPE_CHECKING:
    from served_process import Listening


@pytest.fixture
def client(server: Listening, request: pytest.FixtureRequest) -> Any:
    host, port = server.address
    with stigmer.sync.Client(f"{host}:{port}", org=request.node.name.replace("_", "-")) as client:
        yield client


def test_it_has_every_name_of_the_other_one() -> None:
    def public(cls: type) -> set[str]:
        return {name for name in dir(cls) if not name.startswith("_")}

    assert public(stigmer.sync.Client) == public(stigmer.Client)
    for name, cls in inspect.getmembers(kinds, inspect.isclass):
        if cls.__module__ == kinds.__name__ and name != "Kinds":
            twin = getattr(stigmer.sync, name)
            assert public(twin) == public(cls)
            for method in public(cls):
                assert getattr(twin, method).__doc__ == getattr(cls, method).__doc__, method
                assert [*inspect.signature(getattr(twin, method)).parameters] == [
                    *inspect.signature(getattr(cls, method)).parameters
                ]


def test_it_does_what_the_other_one_does(client: stigmer.sync.Client) -> None:
    agent = client.agents.apply(name="Reviewer", instructions="Review the change.")
    assert client.agents.get("reviewer") == agent
    assert client.agents.get("nobody", default=None) is None
    with pytest.raises(stigmer.NotFound):
        client.agents.get("nobody")
    runs = [
        client.executions.create(agent=agent, message="Hello", tags=[client._real._calls.options.org]) for _ in range(3)
    ]
    listed = client.executions.list(page_size=2, tags=[client._real._calls.options.org])
    assert [*listed] == runs[::-1]
    assert [len(page.entries) for page in listed.pages()] == [2, 1]
    seen: list[str | None] = []
    for state in client.executions.watch(runs[0]):
        assert state.status
        seen.append(state.status.phase.name)
        if len(seen) == 1:
            client.executions.update_status(execution=runs[0], status={"phase": "EXECUTION_COMPLETED"})
    assert seen == ["EXECUTION_PENDING", "EXECUTION_COMPLETED"]
    for _ in client.executions.watch(runs[1]):
        break
    with pytest.raises(stigmer.DeadlineExceeded):
        client.executions.wait(runs[1], timeout_s=0.05)


async def test_it_works_within_a_running_loop(client: stigmer.sync.Client) -> None:
    assert client.caller.whoami().name == "local"


def test_threads_share_it(client: stigmer.sync.Client) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(client.caller.whoami().name)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["local"] * 8


def test_its_thread_ends_with_it(server: Listening) -> None:
    before = threading.active_count()
    host, port = server.address
    client = stigmer.sync.Client(f"{host}:{port}")
    assert threading.active_count() == before
    client.with_options(timeout_s=5).caller.whoami()
    assert threading.active_count() == before + 1
    client.close()
    assert threading.active_count() == before
    with pytest.raises(RuntimeError, match="closed"):
        client.caller.whoami()
    client.close()


UNCLOSED = """
import signal, sys, threading, os, stigmer.sync
client = stigmer.sync.Client(sys.argv[1])
print(client.caller.whoami().name)
if len(sys.argv) > 2:
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    agent = client.agents.apply(name="Waiting", org="sync", instructions="Wait for ever.")
    try:
        client.executions.run(agent, "Wait.")
    except KeyboardInterrupt:
        print("interrupted", client.caller.whoami().name)
"""


@pytest.mark.parametrize("interrupted", [[], ["interrupted"]])
def test_a_program_ends_that_forgets_to_close_it(server: Listening, interrupted: list[str]) -> None:
    host, port = server.address
    command = [sys.executable, "-c", UNCLOSED, f"{host}:{port}", *interrupted]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["local", *(["interrupted local"] * len(interrupted))]


async def test_it_holds_up_no_loop_but_the_callers(server: Listening) -> None:
    host, port = server.address
    with stigmer.sync.Client(f"{host}:{port}") as client:
        names = await asyncio.gather(*(asyncio.to_thread(lambda: client.caller.whoami().name) for _ in range(4)))
    assert names == ["local"] * 4
