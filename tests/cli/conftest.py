"""Commands run in this process, and one served process that they call."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import pytest
from ended_command import Done
from served_process import serving

from stigmer.cli import main
from stigmer.sync import Client

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from ended_command import Command


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The address of a server that all tests of this process call."""
    with serving("--data-dir", str(tmp_path_factory.mktemp("cli") / "data")) as listening:
        yield f"127.0.0.1:{listening.address[1]}"


@pytest.fixture
def client(server: str) -> Generator[Client]:
    with Client(server, org="acme") as made:
        yield made


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in this process, with a home of its own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["stigmer", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def org(request: pytest.FixtureRequest) -> str:
    """The test's own organization."""
    return f"org-{abs(hash(request.node.nodeid))}"


@pytest.fixture
def org_client(server: str, org: str) -> Generator[Client]:
    """A client in the test's own organization."""
    with Client(server, org=org) as made:
        yield made


@pytest.fixture
def stigmer(server: str, org: str, command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command against the server, in the test's own organization; `stdin` is what it may read."""
    monkeypatch.setenv("STIGMER_SERVER", server)
    monkeypatch.setenv("STIGMER_ORG", org)

    def run(*arguments: str, stdin: str = "") -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        return command(*arguments)

    return run
