"""`stigmer serve` where it cannot start: status 1 and one line that says what to do, never a traceback or a wait."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import certificates
import pytest
from bearing import token, tokens_file
from sealed_rows import sealing_keys, write
from served_process import served

import stigmer
from stigmer.secrets.keyring import Keyring
from stigmer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable

SRC = Path(stigmer.__file__).parents[1]
SERVE = "from stigmer.cli import main; main()"
OLD_SQLITE = f"import sqlite3; sqlite3.sqlite_version_info = (3, 34, 1); sqlite3.sqlite_version = '3.34.1'; {SERVE}"


def refusal(
    directory: Path, program: str = SERVE, *more: str, limits: dict[int, int] | None = None, loop: str = "--uvloop"
) -> str:
    """The one line with which a server refuses to start; `more` are further flags."""

    def limited() -> None:
        for name, limit in (limits or {}).items():
            resource.setrlimit(name, (limit, limit))

    flags = ["--listen", "127.0.0.1:0", "--log-level", "error", loop, "--data-dir", str(directory), *more]
    done = subprocess.run(
        [sys.executable, "-c", program, "serve", *flags],
        env={**os.environ, "PYTHONPATH": str(SRC)}, preexec_fn=limited,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert line.startswith("stigmer: ")
    return line.removeprefix("stigmer: ")


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


OBSTACLES: dict[str, Callable[[Path], None]] = {
    "a FIFO": os.mkfifo,
    "a directory": Path.mkdir,
    "a symbolic link to nothing": lambda path: path.symlink_to("nowhere"),
    "a socket": bound,
}


NAMES = ("stigmer.db", "stigmer.lock", "stigmer.db-wal", "stigmer.db-shm")


@pytest.mark.parametrize(
    ("what", "name"), [*(("a FIFO", name) for name in NAMES), *((what, NAMES[0]) for what in list(OBSTACLES)[1:])]
)
def test_something_in_the_place_of_a_file(what: str, name: str, tmp_path: Path) -> None:
    """A FIFO named stigmer.lock made the start wait for ever."""
    OBSTACLES[what](tmp_path / name)
    assert refusal(tmp_path) == (
        f"{tmp_path / name} is {what}, where a file should be: move it away, or use another data directory"
    )


@pytest.mark.parametrize(("limit", "loop"), [(10, "--uvloop"), (10, "--no-uvloop"), (40, "--uvloop")])
def test_too_few_open_files(limit: int, loop: str, tmp_path: Path) -> None:
    """`ulimit -n 10` ended in a traceback of the event loop."""
    assert refusal(tmp_path, limits={resource.RLIMIT_NOFILE: limit}, loop=loop) == (
        f"this process may open {limit} files, which is too few: raise the limit (ulimit -n), to 256 or more"
    )


def test_a_disk_that_takes_nothing(tmp_path: Path) -> None:
    """A limit of the size of files stands in for a full disk."""
    line = refusal(tmp_path, limits={resource.RLIMIT_FSIZE: 0})
    assert line.startswith(f"cannot open the database {tmp_path / 'stigmer.db'} (")
    assert line.endswith("): check its permissions and the disk's free space")


def test_a_directory_on_a_file_system_that_cannot_be_written() -> None:
    line = refusal(Path("/proc/stigmer"))
    assert line.startswith("cannot write the data directory /proc/stigmer (")
    assert line.endswith("): choose another")


def test_a_sqlite_that_is_too_old_is_named_as_the_reason(tmp_path: Path) -> None:
    """The refusal blamed permissions, for a STRICT table that SQLite did not know."""
    assert refusal(tmp_path / "data", OLD_SQLITE) == (
        "this Python's SQLite is 3.34.1; stigmer needs 3.37 or newer: use another Python"
    )
    assert not (tmp_path / "data").exists()


def test_a_database_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "stigmer.db").write_bytes(b"This is not the database that you are looking for. " * 100)
    line = refusal(tmp_path)
    assert line.startswith(f"the database {tmp_path / 'stigmer.db'} is damaged (")


def test_a_metrics_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        line = refusal(tmp_path, SERVE, "--metrics", address)
    assert line == f"cannot serve metrics on {address}: Address already in use; set metrics to another address"


ANONYMOUS = (
    "can be reached from other machines, and nobody is asked who they are: set tokens_file, jwt_issuer or "
    "certificates_file, listen on 127.0.0.1 or unix:PATH, or accept it with insecure_allow_anonymous"
)
IN_CLEAR = (
    "can be reached from other machines, and credentials would cross the network in clear: set tls_cert and "
    "tls_key, listen on 127.0.0.1 or unix:PATH, or accept it with insecure_allow_plaintext"
)


@pytest.fixture
def tokens(tmp_path: Path) -> tuple[str, str]:
    return "--tokens-file", str(tokens_file(tmp_path / "tokens", token("stg_secret")))


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    pems = certificates.make(tmp_path_factory.mktemp("pems"))
    return "--tls-cert", str(pems / "server.pem"), "--tls-key", str(pems / "server.key")


@pytest.mark.parametrize("elsewhere", ["0.0.0.0:0", "[::]:0"])
def test_nobody_asked_who_they_are_where_other_machines_call(elsewhere: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, SERVE, "--listen", elsewhere) == f"{elsewhere} {ANONYMOUS}"


@pytest.mark.parametrize("more", [("--insecure-allow-plaintext",), ("--listen", "unix:{}/s.sock")])
def test_neither_plaintext_nor_another_address_stands_for_anonymous_callers(
    more: tuple[str, ...], tmp_path: Path
) -> None:
    flags = [part.format(tmp_path) for part in more]
    assert refusal(tmp_path, SERVE, "--listen", "0.0.0.0:0", *flags) == f"0.0.0.0:0 {ANONYMOUS}"
    assert not (tmp_path / "s.sock").exists()


def test_tls_alone_does_not_say_who_calls(tmp_path: Path, tls: tuple[str, ...]) -> None:
    """Nor does a certificate that an authority of the clients' has signed: it is mapped to nobody."""
    authority = ("--tls-client-ca", tls[1])
    assert refusal(tmp_path, SERVE, "--listen", "0.0.0.0:0", *tls, *authority) == f"0.0.0.0:0 {ANONYMOUS}"


@pytest.mark.parametrize("more", [(), ("--insecure-allow-anonymous",)])
def test_tokens_in_clear_where_other_machines_call(
    more: tuple[str, ...], tmp_path: Path, tokens: tuple[str, str]
) -> None:
    assert refusal(tmp_path, SERVE, "--listen", "0.0.0.0:0", *tokens, *more) == f"0.0.0.0:0 {IN_CLEAR}"


@pytest.mark.parametrize("case", ["tls", "plaintext", "anonymous", "loopback"])
async def test_a_start_that_is_not_refused(
    case: str, tmp_path: Path, tokens: tuple[str, str], tls: tuple[str, ...]
) -> None:
    """Each insecure flag warns."""
    everywhere = ("--listen", "0.0.0.0:0")
    flags, warned = {
        "tls": ((*everywhere, *tokens, *tls), []),
        "plaintext": ((*everywhere, *tokens, "--insecure-allow-plaintext"), ["insecure_allow_plaintext"]),
        "anonymous": ((*everywhere, "--insecure-allow-anonymous"), ["insecure_allow_anonymous"]),
        "loopback": (tokens, []),
    }[case]
    async with served(tmp_path, *flags) as server:
        warnings = [line["event"].split(" is set")[0] for line in server.lines if line["level"] == "warning"]
    assert warnings == warned


async def test_the_variables_do_the_same_as_the_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STIGMER_INSECURE_ALLOW_PLAINTEXT", "1")
    assert await asyncio.to_thread(refusal, tmp_path, SERVE, "--listen", "0.0.0.0:0") == f"0.0.0.0:0 {ANONYMOUS}"
    env = {"STIGMER_INSECURE_ALLOW_ANONYMOUS": "true", "STIGMER_LOG_LEVEL": "info"}
    async with served(tmp_path, "--listen", "0.0.0.0:0", env=env) as server:
        assert server.address[1] > 0


def test_a_tokens_file_that_others_may_read(tmp_path: Path, tokens: tuple[str, str]) -> None:
    Path(tokens[1]).chmod(0o644)
    assert refusal(tmp_path, SERVE, *tokens) == (
        f"{tokens[1]}: others may use it (mode 644); run chmod o= on it (for mode 600 or 640)"
    )


def with_a_secret(directory: Path) -> tuple[Path, str]:
    """A database with a secret in it: its keyring, and the key that the secret is under."""
    keyring = Keyring(directory / "keyring.json")

    async def fill() -> None:
        async with SqliteStore(directory) as store:
            sealing = sealing_keys(store, keyring)
            await sealing.open()
            await write(sealing, "ctx-1")

    asyncio.run(fill())
    return directory / "keyring.json", keyring.active


def test_the_keyring_of_sealed_secrets_is_gone(tmp_path: Path) -> None:
    keyring, _ = with_a_secret(tmp_path)
    keyring.unlink()
    said = f"{keyring}: no such file; restore it from its backup: what is sealed cannot be read without"
    assert refusal(tmp_path) == said
    assert not keyring.exists()


def test_the_keyring_of_another_database(tmp_path: Path) -> None:
    """The line names the key, and the port is not bound before."""
    _, key = with_a_secret(tmp_path / "data")
    with_a_secret(tmp_path / "other")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        flags = ("--listen", f"127.0.0.1:{taken.getsockname()[1]}", "--keyring-file", f"{tmp_path}/other/keyring.json")
        said = refusal(tmp_path / "data", SERVE, *flags)
    assert said.startswith(f"the key {key} is missing, or another one has its id")


def test_a_keyring_that_others_can_read(tmp_path: Path) -> None:
    keyring, _ = with_a_secret(tmp_path)
    keyring.chmod(0o640)
    assert refusal(tmp_path) == f"{keyring}: others may use it (mode 640); run chmod 600 on it"
