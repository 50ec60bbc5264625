"""kill -9 at a random moment under load: what was acknowledged is there, and nothing half is."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import store_kill_worker
from benchmarks.servers import free_port

from stigmer.wire import descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LATEST_KILL = 200
"""The server is killed after at most so many acknowledged writes."""

LONG = (pytest.mark.long, pytest.mark.timeout(3600))


class Worker:
    """The client process; see `store_kill_worker`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, store_kill_worker.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tell(self, *lines: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("".join(f"{line}\n" for line in lines))
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()
        assert self._process.returncode == 0


@contextmanager
def serving(directory: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server process and its port; killed at the end if it is not before."""
    port = free_port()
    serve = [sys.executable, "-m", "stigmer", "serve", "--listen", f"127.0.0.1:{port}", "--data-dir", str(directory)]
    with subprocess.Popen([*serve, "--log-level", "warning"]) as process:
        try:
            yield process, port
        finally:
            process.send_signal(signal.SIGKILL)


def written_until_killed(worker: Worker, directory: Path, name: str, after: int) -> dict[str, Any]:
    """The journal of what was acknowledged before a server was killed, after so many acknowledged writes."""
    with serving(directory) as (process, port):
        worker.tell(f"write {port} {name}")
        for number in range(1, after + 1):
            assert worker.answer() == number
        process.send_signal(signal.SIGKILL)
    while isinstance(answer := worker.answer(), int):
        pass
    assert answer["faults"] == []
    journal: dict[str, Any] = answer["journal"]
    assert journal
    return journal


def check(worker: Worker, directory: Path, journal: dict[str, Any]) -> None:
    """Start a server again, and see that the journal holds and nothing half is in the database."""
    with serving(directory) as (_, port):
        worker.tell(f"read {port}", json.dumps(journal))
        answer = worker.answer()
        assert answer["wrong"] == []
        with closing(sqlite3.connect(f"file:{directory / 'stigmer.db'}?mode=ro", uri=True)) as database:
            check_database(database, answer["pages"])


def check_database(database: sqlite3.Connection, pages: dict[str, int]) -> None:
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert database.execute("PRAGMA foreign_key_check").fetchall() == []
    counts = dict(database.execute("SELECT kind, count(*) FROM resources GROUP BY kind"))
    kept = dict(database.execute("SELECT name, value FROM counters WHERE name != '' AND value != 0"))
    assert kept == counts
    assert pages == {kind: counts.get(kind, 0) for kind in pages}
    (revision,) = database.execute("SELECT max(revision) FROM resources").fetchone()
    assert revision <= database.execute("SELECT value FROM counters WHERE name = ''").fetchone()[0]
    for kind, field, parent in (
        ("AgentExecution", "spec.session_id", "Session"),
        ("ExecutionContext", "spec.execution_id", "AgentExecution"),
        ("AgentInstance", "spec.agent_id", "Agent"),
    ):
        assert orphans(database, kind, field, parent) == []
    agent = descriptors.message_class("ai.stigmer.agentic.agent.v1.Agent")
    agents = [agent.FromString(data) for (data,) in database.execute("SELECT data FROM resources WHERE kind = 'Agent'")]
    default_instances = sorted(each.status.default_instance_id for each in agents)  # type: ignore[attr-defined]  # an Agent's
    assert default_instances == sorted(
        id_ for (id_,) in database.execute("SELECT id FROM resources WHERE kind = 'AgentInstance'")
    )


def orphans(database: sqlite3.Connection, kind: str, field: str, parent: str) -> list[tuple[str, str]]:
    """The rows of a kind whose field names no parent, and those whose parent's key is missing."""
    return database.execute(
        "SELECT r.id, k.value FROM resources r LEFT JOIN resource_keys k ON k.sequence = r.sequence AND k.field = ?"
        " WHERE r.kind = ? AND NOT EXISTS (SELECT 1 FROM resources p WHERE p.kind = ? AND p.id = k.value)",
        (field, kind, parent),
    ).fetchall()


@pytest.fixture
def worker() -> Iterator[Worker]:
    started = Worker()
    yield started
    started.close()


@pytest.mark.parametrize("kills", [2, pytest.param(100, marks=LONG)])
def test_an_acknowledged_write_survives_kill_9_and_nothing_half_is_left(
    worker: Worker, tmp_path: Path, kills: int
) -> None:
    chance = random.Random(os.environ.get("STIGMER_KILL_SEED", "stigmer"))
    for kill in range(kills):
        journal = written_until_killed(worker, tmp_path, f"k{kill}", chance.randint(1, LATEST_KILL))
        check(worker, tmp_path, journal)


@pytest.mark.parametrize("kills", [1, pytest.param(40, marks=LONG)])
def test_a_server_that_is_killed_while_it_starts_starts_again(worker: Worker, tmp_path: Path, kills: int) -> None:
    for kill in range(kills):
        directory = tmp_path / str(kill)
        with serving(directory) as (process, _):
            chance = random.Random(kill)
            while process.poll() is None and not any(directory.glob("stigmer.*")):
                pass  # until it has begun to make its files
            for _ in range(chance.randint(0, 3000)):
                process.poll()
        journal = written_until_killed(worker, directory, "after", 20)
        check(worker, directory, journal)
