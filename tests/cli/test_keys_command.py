"""`stigmer keys`: rotation on a stopped database, from the first list to the retired key."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sealed_rows import keys_in_use, read, sealing_keys, write

import stigmer
from stigmer.cli import main
from stigmer.secrets.keyring import Keyring
from stigmer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., tuple[int, str, str]]


SRC = Path(stigmer.__file__).parents[1]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with three resources that have secrets."""
    monkeypatch.setenv("HOME", str(tmp_path))
    directory = tmp_path / "data"

    async def fill() -> None:
        async with SqliteStore(directory) as store:
            sealing = sealing_keys(store, Keyring(directory / "keyring.json"))
            await sealing.open()
            for number in range(3):
                await write(sealing, f"ctx-{number}")

    asyncio.run(fill())
    return directory


@pytest.fixture
def run(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["stigmer", "keys", *arguments, "--data-dir", str(data)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return command


def table(run: Run) -> list[list[str]]:
    status, out, _ = run("list")
    assert status == 0
    return [[row.split()[0], row.split()[1], row.split()[3]] for row in out.splitlines()[1:]]


def test_a_key_is_rotated_and_the_secrets_still_open(data: Path, run: Run) -> None:
    ((old, state, count),) = table(run)
    assert (state, count) == ("active", "3")
    status, out, err = run("add")
    new = out.strip()
    assert (status, new[:4]) == (0, "key-")
    assert "Back the keyring up now" in err
    assert table(run) == [[old, "active", "3"], [new, "enabled", "0"]]
    assert run("activate", new)[0] == 0
    assert run("rewrap") == (0, "", "Rewrapped: the secrets of 3 resources\n")
    assert run("rewrap") == (0, "", "Rewrapped: the secrets of 0 resources\n")
    assert run("retire", old)[0] == 0
    assert table(run) == [[old, "retired", "0"], [new, "active", "3"]]

    async def look() -> None:
        async with SqliteStore(data) as store:
            sealing = sealing_keys(store, Keyring(data / "keyring.json"))
            await sealing.open()
            assert await read(sealing, "ctx-1") == b"canary"
            assert await keys_in_use(store) == {new}

    asyncio.run(look())


def test_no_key_is_ever_printed(data: Path, run: Run) -> None:
    printed = "".join("".join(map(str, run(*words))) for words in (["add"], ["list"], ["rewrap"], ["retire", "key-x"]))
    keyring = Keyring(data / "keyring.json")
    keyring.open(make=False)
    assert len(keyring.keys) == 2
    text = (data / "keyring.json").read_text()
    for line in text.splitlines():
        if '"key":' in line:
            assert line.split('"')[3] not in printed


def test_what_is_refused_exits_with_one_and_one_line(data: Path, run: Run) -> None:
    ((old, *_),) = table(run)
    refused = f"stigmer: key {old}: it is active: activate another one first\n"
    assert run("retire", old) == (1, "", refused)
    run("activate", run("add")[1].strip())
    refused = f"stigmer: key {old}: the secrets of 3 resources are under it: rewrap them first\n"
    assert run("retire", old) == (1, "", refused)
    assert run("activate", "key-x") == (1, "", "stigmer: key not found: key-x\n")


def test_a_database_that_a_server_has_open_is_left_alone(data: Path, run: Run) -> None:
    async def while_open() -> tuple[int, str, str]:
        async with SqliteStore(data):
            return await asyncio.to_thread(run, "list")

    status, _, err = asyncio.run(while_open())
    assert status == 1
    assert "a running server has the data directory" in err
    assert "--server ADDRESS" in err


def test_neither_a_database_nor_a_keyring_is_made(data: Path, run: Run) -> None:
    (data / "keyring.json").rename(data / "elsewhere.json")
    status, _, err = run("list")
    assert (status, "keyring.json: no such file" in err) == (1, True)
    assert run("list", "--keyring-file", str(data / "elsewhere.json"))[0] == 0
    (data / "stigmer.db").rename(data / "gone.db")
    status, _, err = run("list", "--keyring-file", str(data / "elsewhere.json"))
    assert (status, "stigmer.db: no such file" in err) == (1, True)
    assert not (data / "stigmer.db").exists()
    assert not (data / "keyring.json").exists()


KILLED = """
import os, signal
from stigmer.pipeline import rewrapping
from stigmer.store.sqlite import SqliteStore

rewrapping.PIECE = 1
commit, commits = SqliteStore.commit, 0

async def killed(self, changes, *, dry_run=False):
    global commits
    commits += 1
    if commits == 5:  # after the audit's record, the note that the key is in use, and two resources
        os.kill(os.getpid(), signal.SIGKILL)
    return await commit(self, changes, dry_run=dry_run)

SqliteStore.commit = killed
from stigmer.cli import main
main()
"""


def test_a_rewrap_that_is_killed_is_done_by_the_next_one(data: Path, run: Run) -> None:
    ((old, *_),) = table(run)
    new = run("add")[1].strip()
    run("activate", new)
    command = [sys.executable, "-c", KILLED, "keys", "rewrap", "--data-dir", str(data)]
    killed = subprocess.run(command, check=False, capture_output=True, env={**os.environ, "PYTHONPATH": str(SRC)})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert table(run) == [[old, "enabled", "1"], [new, "active", "2"]]
    assert run("rewrap") == (0, "", "Rewrapped: the secrets of 1 resources\n")
    assert table(run) == [[old, "enabled", "0"], [new, "active", "3"]]
