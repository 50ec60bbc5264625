"""`stigmer audit`: of a database that a server has open, and of a stopped one; what was done to the file is seen."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import Stubs, environments, id_of

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceId
from stigmer.app import embedded
from stigmer.cli import main
from stigmer.settings import Settings
from stigmer.store.sqlite.files import FILE_NAME

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from stigmer.app import Plane

    Run = Callable[..., tuple[int, str, str]]

CANARY = "canary-value-of-a-secret"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("STIGMER_AUDIT_CHECKPOINT_FILE", str(tmp_path / "checkpoints"))
    return tmp_path / "data"


@pytest.fixture
def run(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["stigmer", "audit", *arguments, "--data-dir", str(data)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return command


@asynccontextmanager
async def served(data: Path) -> AsyncGenerator[Plane]:
    """A plane that has had a secret created, read three times, and deleted."""
    settings = Settings(data_dir=data, audit_checkpoint_file=data.parent / "checkpoints")
    async with embedded(settings) as plane:
        stubs, wanted = Stubs(plane.channel), samples.environment(org="acme")
        wanted.spec.data["TOKEN"] = environments.EnvironmentValue(value=CANARY, is_secret=True)
        made = await stubs.environments.create(wanted)
        for _ in range(3):
            await stubs.find_environments.get(ApiResourceId(id_of(made)))
        yield plane


def stopped(data: Path) -> None:
    async def run() -> None:
        async with served(data):
            pass

    asyncio.run(run())


def changed(data: Path, statement: str) -> None:
    with closing(sqlite3.connect(data / FILE_NAME, isolation_level=None)) as database:
        assert database.execute(statement).rowcount > 0


def test_what_happened_is_shown_and_exported(data: Path, run: Run) -> None:
    stopped(data)
    status, out, err = run("tail", "-n", "2")
    assert (status, err) == (0, "")
    head, *rows = (line.split() for line in out.splitlines())
    assert head == ["NUMBER", "TIME", "WHAT", "WHO", "KIND", "ID", "OUTCOME"]
    assert [row[:1] + row[2:5] for row in rows] == [
        ["4", "read", "local", "Environment"],
        ["5", "checkpoint", "system", "OK"],
    ]
    status, out, err = run("export", "--after", "1")
    lines: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
    assert [line["number"] for line in lines] == [2, 3, 4, 5]
    assert lines[0]["record"]["actor"] == "local"
    assert CANARY not in out


def test_a_database_is_verified_while_a_server_has_it_and_after(data: Path, run: Run) -> None:
    async def while_served() -> tuple[int, str, str]:
        async with served(data) as plane:
            found = await asyncio.to_thread(run, "verify")
            await Stubs(plane.channel).agents.create(samples.agent())  # the server goes on
            return found

    status, out, _ = asyncio.run(while_served())
    assert status == 0, out
    assert out.startswith("Whole: entries 1 to 4; 0 checkpoints")
    status, out, err = run("verify")
    assert (status, err) == (0, "")
    assert out.startswith("Whole: entries 1 to 5; 1 checkpoints, the last of entry 4, by the key ")
    assert out.endswith("; 1 exported ones compared\n")


def test_a_database_with_no_audit_is_whole(data: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STIGMER_AUDIT_CHECKPOINT_FILE")

    async def start() -> None:
        async with embedded(data):
            pass

    asyncio.run(start())
    assert run("verify") == (0, "Whole: there is no entry yet\n", "")
    assert run("tail")[0] == run("export")[0] == 0


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (
            "UPDATE log_entries SET value = CAST(replace(value, 'read', 'seen') AS BLOB) WHERE number = 2",
            "audit entry 2: ",
        ),
        (
            "UPDATE log_entries SET value = (SELECT value FROM log_entries WHERE number = 1) WHERE number = 3",
            "audit entry 3: ",
        ),
        ("UPDATE log_entries SET link = zeroblob(32) WHERE number = 3", "audit entry 3: "),
        ("DELETE FROM log_entries WHERE number = 3", "audit entry 4: "),
        ("DELETE FROM log_entries WHERE number < 3", "audit entry 3: the entries up to 2 are not there"),
        ("DELETE FROM log_entries WHERE number > 3", "audit entry 4: it is not there, but in the exported checkpoint"),
        ("DELETE FROM log_entries", "audit entry 4: it is not there, but in the exported checkpoint"),
    ],
)
def test_what_is_done_to_the_file_is_seen(data: Path, run: Run, statement: str, told: str) -> None:
    stopped(data)
    changed(data, statement)
    status, out, err = run("verify")
    assert (status, out) == (1, "")
    assert err.startswith(f"stigmer: not whole: {told}"), err
    assert run("tail")[0] == run("export")[0] == 0, "what is left can be looked at"


def test_since_takes_a_checkpoint_or_a_file_of_them(data: Path, run: Run, tmp_path: Path) -> None:
    stopped(data)
    (line,) = (tmp_path / "checkpoints").read_text().splitlines()
    changed(data, "UPDATE log_entries SET value = x'00' WHERE number = 2")
    for since in (line, str(tmp_path / "checkpoints")):
        assert run("verify", "--since", since)[:2][0] == 0
    assert run("verify")[0] == 1
    for wrong in ("{}", "/no/such/file", str(data / FILE_NAME)):
        status, _, err = run("verify", "--since", wrong)
        assert status == 1
        assert "checkpoint" in err


def test_another_database_s_checkpoints_or_keyring_do_not_fit(data: Path, run: Run, tmp_path: Path) -> None:
    stopped(data)
    other = tmp_path / "other" / "data"
    other.parent.mkdir()
    stopped(other)
    status, _, err = run("verify", "--checkpoint-file", str(other.parent / "checkpoints"))
    assert (status, "signed by another key" in err) == (1, True)
    status, _, err = run("verify", "--keyring-file", str(other / "keyring.json"))
    assert (status, "does not open the key that the audit is signed with" in err) == (1, True)


def test_without_a_keyring_the_exported_checkpoints_say_the_key(data: Path, run: Run) -> None:
    stopped(data)
    (data / "keyring.json").unlink()
    assert run("verify")[0] == 0


def test_what_is_no_database_is_told(data: Path, run: Run) -> None:
    status, _, err = run("verify")
    assert (status, "no such file; give the data directory" in err) == (1, True)
    data.mkdir()
    (data / FILE_NAME).write_bytes(b"no database" * 1000)
    status, _, err = run("tail")
    assert (status, "cannot be read" in err) == (1, True)


def test_nothing_is_written_to_a_database_that_is_read(data: Path, run: Run) -> None:
    stopped(data)
    before = (data / FILE_NAME).read_bytes()
    for command in ("tail", "export", "verify"):
        assert run(command)[0] == 0
    assert (data / FILE_NAME).read_bytes() == before
