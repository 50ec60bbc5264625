"""The keys of a server in a process of its own: by grpcio for every role, by the command line, through a kill -9."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import certificates
import pytest
from conformance_socket import served as served_to_grpcio
from edge_rig import Stubs
from grpclib.exceptions import StreamTerminatedError
from matrix import CALLERS, outcome, tokens_file
from sealed_rows import keys_in_use, read, sealing_keys, write
from served_process import served, serving

from stigmer import rpc
from stigmer.address import address_of
from stigmer.cli import main
from stigmer.cli.target import Target
from stigmer.errors import StartupError
from stigmer.secrets.keyring import Keyring
from stigmer.store.sqlite import SqliteStore
from stigmer.types import (
    AddKeyRequest,
    ExportAuditRequest,
    ListKeysRequest,
    RewrapKeysRequest,
    SealingKeyId,
    TailAuditRequest,
)
from stigmer.wire import descriptors

if TYPE_CHECKING:
    from pathlib import Path

METHODS = [one for one in descriptors.methods().values() if one.service == "ai.stigmer.admin.v1.AdminController"]
REQUESTS: dict[str, Any] = {
    "listKeys": ListKeysRequest(),
    "addKey": AddKeyRequest(),
    "rewrapKeys": RewrapKeysRequest(),
    "tailAudit": TailAuditRequest(),
    "exportAudit": ExportAuditRequest(),
}
ROOT = next(one for one in CALLERS if one.name == "admin-all")


async def filled(directory: Path, count: int) -> str:
    """A data directory with so many resources that have secrets; the id of its key."""
    async with SqliteStore(directory) as store:
        sealing = sealing_keys(store, Keyring(directory / "keyring.json"))
        await sealing.open()
        for number in range(count):
            await write(sealing, f"exec-{number:03}", b"%d" % number)
        return sealing.keys.active


async def test_all_of_it_is_for_admins_of_all_organizations_alone(tmp_path: Path) -> None:
    tokens = tokens_file(tmp_path / "tokens", CALLERS)
    got, wanted = dict[str, str](), dict[str, str]()
    with served_to_grpcio(tmp_path / "data", "--tokens-file", str(tmp_path / "tokens")) as channel:
        for caller in CALLERS:
            for method in METHODS:
                name = f"{caller.name} {method.name}"
                request = REQUESTS.get(method.name, SealingKeyId(value="key-none"))
                got[name], _ = await outcome(channel.bearing(tokens[caller.name]), method, request)
                would = "OK" if method.name in REQUESTS else "NOT_FOUND"
                wanted[name] = would if caller == ROOT else "PERMISSION_DENIED"
    assert got == wanted


async def test_a_client_of_another_make_rotates(tmp_path: Path) -> None:
    old = await filled(tmp_path / "data", 3)
    with served_to_grpcio(tmp_path / "data") as channel:
        admin: Any = Stubs(channel).admin
        new = (await admin.add_key(AddKeyRequest())).id
        await admin.activate_key(SealingKeyId(value=new))
        assert [one.rewrapped async for one in admin.rewrap_keys(RewrapKeysRequest())][-1] == 3
        await admin.retire_key(SealingKeyId(value=old))
        assert [key.id for key in (await admin.list_keys(ListKeysRequest())).entries] == [old, new]


KILLED = """
import os, signal
from stigmer.pipeline import rewrapping
from stigmer.store.rows import SEALED
from stigmer.store.sqlite import SqliteStore

rewrapping.PIECE = 4
commit, pieces = SqliteStore.commit, 0

async def killed(self, changes, *, dry_run=False):
    global pieces
    pieces += any(table == SEALED for table, _ in changes.records)
    if pieces == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return await commit(self, changes, dry_run=dry_run)

SqliteStore.commit = killed
from stigmer.cli import main
main()
"""


async def test_a_rewrap_that_the_server_does_not_survive_goes_on_after_its_start(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    old = await filled(directory, 20)
    async with served(directory, program=KILLED) as server, rpc.channel(f"127.0.0.1:{server.address[1]}") as channel:
        admin = rpc.AdminControllerStub(channel)
        new = (await admin.add_key()).id
        await admin.activate_key(SealingKeyId(value=new))
        told = 0
        with suppress(OSError, StreamTerminatedError):
            async for one in admin.rewrap_keys(RewrapKeysRequest()):
                told = one.rewrapped
        assert await server.ended() == -signal.SIGKILL
    async with served(directory) as server, rpc.channel(f"127.0.0.1:{server.address[1]}") as channel:
        admin = rpc.AdminControllerStub(channel)
        left = {key.id: key.resources for key in (await admin.list_keys()).entries}
        assert told <= left[new] == 8, "what was told of is done"
        last = [one async for one in admin.rewrap_keys(RewrapKeysRequest())][-1]
        assert (last.rewrapped, last.total) == (12, 12)
        await admin.retire_key(SealingKeyId(value=old))
    async with SqliteStore(directory) as store:
        sealing = sealing_keys(store, Keyring(directory / "keyring.json"))
        await sealing.open()
        assert await keys_in_use(store) == {new}
        assert [await read(sealing, f"exec-{one:03}") for one in range(20)] == [b"%d" % one for one in range(20)]


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["stigmer", "keys", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0), *capsys.readouterr()


def test_the_command_line_rotates_the_keys_of_a_server_that_knows_its_callers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    old = asyncio.run(filled(tmp_path / "data", 3))
    tokens = tokens_file(tmp_path / "tokens", CALLERS)
    for name in ("admin-all", "admin-acme"):
        (tmp_path / name).write_text(f"{tokens[name]}\n")
    with serving("--data-dir", str(tmp_path / "data"), "--tokens-file", str(tmp_path / "tokens")) as server:
        address = f"127.0.0.1:{server.address[1]}"
        monkeypatch.setenv("STIGMER_SERVER", address)
        status, _, err = run(monkeypatch, capsys, "list")
        assert (status, err.startswith(f"stigmer: {address}: UNAUTHENTICATED: ")) == (1, True)
        assert err.endswith("; --token-file names its file\n")
        status, _, err = run(monkeypatch, capsys, "list", "--token-file", str(tmp_path / "admin-acme"))
        assert (status, "admin of all organizations" in err) == (1, True)
        monkeypatch.setenv("STIGMER_TOKEN_FILE", str(tmp_path / "admin-all"))
        new = run(monkeypatch, capsys, "add")[1].strip()
        assert run(monkeypatch, capsys, "activate", new) == (0, "", f"Active: {new}\n")
        assert run(monkeypatch, capsys, "rewrap") == (0, "", "Rewrapped: the secrets of 3 resources\n")
        assert run(monkeypatch, capsys, "retire", old) == (0, "", f"Retired: {old}\n")
        status, out, _ = run(monkeypatch, capsys, "list")
        assert [line.split()[:2] for line in out.splitlines()[1:]] == [[old, "retired"], [new, "active"]]
        refused = f"stigmer: {address}: FAILED_PRECONDITION: key {old}: it is retired: add another one\n"
        assert run(monkeypatch, capsys, "activate", old) == (1, "", refused)
        status, _, err = run(monkeypatch, capsys, "list", "--data-dir", str(tmp_path / "data"))
        assert (status, "a running server has the data directory" in err, "--server ADDRESS" in err) == (1, True, True)


def test_the_server_of_the_settings_is_called_where_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a Unix socket, TLS by its own certificate, and TLS by an authority that a flag names."""
    monkeypatch.setenv("HOME", str(tmp_path))
    pems = certificates.make(tmp_path)
    certificate, key, authority = (str(pems / name) for name in ("server.pem", "server.key", "ca.pem"))
    socket = f"unix:{tmp_path}/s"
    flags = ("--listen", socket, "--tls-cert", certificate, "--tls-key", key)
    with serving("--data-dir", str(tmp_path / "data"), *flags) as server:
        port = server.address[1]
        monkeypatch.setenv("STIGMER_LISTEN", socket)
        status, by_socket, _ = run(monkeypatch, capsys, "list")
        assert (status, len(by_socket.splitlines())) == (0, 2)
        monkeypatch.setenv("STIGMER_LISTEN", f"127.0.0.1:{port}")
        monkeypatch.setenv("STIGMER_TLS_CERT", certificate)
        monkeypatch.setenv("STIGMER_TLS_KEY", key)
        assert run(monkeypatch, capsys, "list") == (0, by_socket, "")
        at = ("--server", f"localhost:{port}")
        assert run(monkeypatch, capsys, "list", *at, "--ca", authority) == (0, by_socket, "")
        status, _, err = run(monkeypatch, capsys, "list", *at, "--ca", "system")
        assert (status, "TLS failed" in err, "check --ca" in err) == (1, True, True)
        status, _, err = run(monkeypatch, capsys, "list", *at)
        assert (status, "does it want TLS (--ca)?" in err) == (1, True)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--server", "127.0.0.1:1"), "127.0.0.1:1: Connection refused; start a server with `stigmer serve`"),
        (("--server", "nowhere"), "--server: 'nowhere': not HOST:PORT"),
        (("--server", "stigmer.example:7234", "--token-file", "token"), "would travel in clear text; give --ca FILE"),
        (("--server", "127.0.0.1:1", "--token-file", "none"), "--token-file: "),
        (("--server", "127.0.0.1:1", "--ca", "none"), "--ca, --client-cert or --client-key: "),
        (("--keyring-file", "keyring.json"), "--keyring-file goes with --data-dir"),
    ],
)
def test_a_call_that_cannot_be_made_says_what_to_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: tuple[str, ...],
    says: str,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text("stg_secret\n")
    status, out, err = run(monkeypatch, capsys, "list", *flags)
    assert (status, out) == (1, "")
    assert says in err
    assert "stg_secret" not in err


def test_a_rewrap_that_never_began_tells_of_no_resources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    said = "stigmer: 127.0.0.1:1: Connection refused; start a server with `stigmer serve`\n"
    assert run(monkeypatch, capsys, "rewrap", "--server", "127.0.0.1:1") == (1, "", said)


def test_a_reader_who_reads_no_more_is_no_fault_of_the_server_s() -> None:
    target = Target(address_of("127.0.0.1:1"), None, "")
    with pytest.raises(BrokenPipeError), target.told():
        raise BrokenPipeError
    with pytest.raises(StartupError, match="Connection reset by peer; start a server"), target.told():
        raise ConnectionResetError(104, "as the system calls it")


def test_a_terminal_shows_how_far_a_rewrap_is(tmp_path: Path) -> None:
    asyncio.run(filled(tmp_path / "data", 3))
    environment = {**os.environ, "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "stigmer", "keys"]
    on = ["--data-dir", str(tmp_path / "data")]
    new = subprocess.run([*command, "add", *on], env=environment, capture_output=True, text=True, check=True).stdout
    subprocess.run([*command, "activate", new.strip(), *on], env=environment, capture_output=True, check=True)
    ours, theirs = pty.openpty()
    subprocess.run([*command, "rewrap", *on], env=environment, stderr=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert shown.startswith("\r\x1b[KRewrapped: 3 of 3\r\x1b[K")
    assert shown.endswith("\r\x1b[KRewrapped: the secrets of 3 resources\r\n")
