"""`stigmer audit` calls a server: what it shows, exports and verifies is what the server's log has."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import Stubs, environments, id_of
from matrix import CALLERS, tokens_file
from served_process import serving

from stigmer import rpc
from stigmer.cli import main
from stigmer.store.sqlite.files import FILE_NAME
from stigmer.types import ApiResourceId

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("HOME", str(tmp_path))

    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["stigmer", "audit", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return command


async def read_secret(address: str, token: str) -> None:
    """Three reads of a secret, and its creation."""
    async with rpc.channel(address) as channel:
        stubs, bearer = Stubs(channel), {"authorization": f"Bearer {token}"}
        wanted: Any = samples.environment(org="acme")
        wanted.spec.data = {"TOKEN": environments.EnvironmentValue(value="hunter2", is_secret=True)}
        made = await stubs.environments.create(wanted, metadata=bearer)
        for _ in range(3):
            await stubs.find_environments.get(ApiResourceId(value=id_of(made)), metadata=bearer)


def changed(directory: Path, statement: str) -> None:
    with closing(sqlite3.connect(directory / FILE_NAME, isolation_level=None)) as database:
        assert database.execute(statement).rowcount > 0


def test_the_audit_of_a_server_is_shown_exported_and_verified(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, checkpoints = tmp_path / "data", tmp_path / "checkpoints"
    tokens = tokens_file(tmp_path / "tokens", CALLERS)
    (tmp_path / "token").write_text(tokens["admin-all"])
    flags = ("--data-dir", str(data), "--tokens-file", str(tmp_path / "tokens"))
    exporting = (*flags, "--audit-checkpoint-file", str(checkpoints))
    monkeypatch.setenv("STIGMER_TOKEN_FILE", str(tmp_path / "token"))
    with serving(*exporting) as server:
        address = f"127.0.0.1:{server.address[1]}"
        asyncio.run(read_secret(address, tokens["admin-all"]))
        status, out, err = run("tail", "-n", "2", "--server", address)
        assert (status, err) == (0, "")
        assert [line.split()[:4:3] for line in out.splitlines()[1:]] == [["3", "admin-all"], ["4", "admin-all"]]
        status, out, _ = run("export", "--after", "1", "--server", address)
        assert [json.loads(line)["number"] for line in out.splitlines()] == [2, 3, 4]
        assert run("export", "--server", address)[1] == run("export", "--data-dir", str(data))[1]
        status, out, err = run("verify", "--server", address)
        assert (status, out.split(";")[0]) == (0, "Whole: entries 1 to 4")
        assert err == "No exported checkpoint was compared: who has database and keys could have rewritten it\n"
    with serving(*exporting) as server:
        address = f"127.0.0.1:{server.address[1]}"
        status, out, err = run("verify", "--checkpoint-file", str(checkpoints), "--server", address)
        assert (status, err, out.endswith("1 exported ones compared\n")) == (0, "", True)
        assert run("verify", "--since", str(checkpoints), "--server", address)[0] == 0
        changed(data, "UPDATE log_entries SET value = CAST(replace(value, 'read', 'seen') AS BLOB) WHERE number = 2")
        for command in (("verify",), ("verify", "--checkpoint-file", str(checkpoints))):
            status, out, err = run(*command, "--server", address)
            assert (status, out) == (1, "")
            assert err.startswith("stigmer: not whole: audit entry ")
