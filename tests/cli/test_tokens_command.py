"""`stigmer tokens`: what it prints where, and what becomes of the file."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import sys
from typing import TYPE_CHECKING

import pytest
from bearing import token, tokens_file

from stigmer.access import token_file
from stigmer.access.token_lines import Token, digest_of
from stigmer.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("STIGMER_TOKENS_FILE", str(tmp_path / "tokens"))
    return tmp_path / "tokens"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["stigmer", "tokens", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return command


def kept(file: Path) -> list[Token]:
    return token_file.tokens(file)


def test_a_new_token_alone_goes_to_stdout_and_its_digest_alone_to_the_file(file: Path, run: Run) -> None:
    status, out, err = run("new", "--name", "ann", "--role", "editor", "--org", "acme", "--org", "elsewhere")
    secret = out.removesuffix("\n")
    assert (status, secret[:4]) == (0, "stg_")
    assert len(secret) == 4 + 43  # 32 bytes in base64
    assert secret not in err
    assert kept(file) == [token(secret, organizations=("acme", "elsewhere"))]
    assert secret not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


def test_no_two_tokens_are_alike(file: Path, run: Run) -> None:
    secrets = {run("new", "--name", "ann", "--role", "reader")[1] for _ in range(3)}
    assert len(secrets) == len(kept(file)) == 3


def test_who_makes_a_second_token_of_a_name_hears_of_those_that_may_other_things(file: Path, run: Run) -> None:
    reader, twin, bob = token("stg_r", role="reader"), token("stg_twin"), token("stg_bob", "bob", "admin")
    tokens_file(file, reader, twin, bob)
    status, _, err = run("new", "--name", "ann", "--role", "editor", "--org", "acme")
    told = [line for line in err.splitlines() if "Still good" in line]
    assert (status, len(kept(file))) == (0, 4)
    assert told == [f"Still good, and it may other things: ann, reader, acme, never, {reader.fingerprint}"]
    assert "end others by `stigmer tokens revoke FINGERPRINT`" in err


@pytest.mark.parametrize(("expires", "days"), [("90d", 90), ("0d", 0), ("99999d", 99999)])
def test_a_number_of_days_counts_from_today_in_utc(file: Path, run: Run, expires: str, days: int) -> None:
    before = dt.datetime.now(dt.UTC).date()
    assert run("new", "--name", "ann", "--role", "reader", "--expires", expires)[0] == 0
    wanted = {before + dt.timedelta(days), dt.datetime.now(dt.UTC).date() + dt.timedelta(days)}
    assert kept(file)[0].not_after in wanted


def test_a_last_day_may_be_given(file: Path, run: Run) -> None:
    assert run("new", "--name", "ann", "--role", "reader", "--expires", "2999-12-31")[0] == 0
    assert kept(file)[0].not_after == dt.date(2999, 12, 31)


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (["--name", "local", "--role", "admin"], "local, system are the server's own; choose another"),
        (["--name", "a:b", "--role", "admin"], "name: takes letters"),
        (["--name", "ann", "--role", "king"], "role: write one of reader, runner, editor, admin"),
        (["--name", "ann", "--role", "admin", "--org", "*", "--org", "acme"], "organizations: * is all of them"),
        (["--name", "ann", "--role", "admin", "--org", ""], "organizations: each takes"),
        (["--name", "ann", "--role", "admin", "--expires", "90"], "write days like 90d, or the last day like"),
        (["--name", "ann", "--role", "admin", "--expires", "-1d"], "write days like 90d, or the last day like"),
        (["--name", "ann", "--role", "admin", "--expires", "2020-01-01"], "2020-01-01 is over; give a day to come"),
    ],
)
def test_what_no_token_can_be_made_of_is_refused_with_the_remedy(
    file: Path, run: Run, flags: list[str], what: str
) -> None:
    status, out, err = run("new", *flags)
    assert (status, out) == (1, "")
    assert what in err
    assert not file.exists()


def test_the_list_has_names_and_fingerprints_and_neither_token_nor_digest(file: Path, run: Run) -> None:
    ann, bob = token("stg_ann"), token("stg_bob", "bob", "admin", ("*",), dt.date(2999, 12, 31))
    tokens_file(file, ann, bob, token("stg_carl", "carl", "reader", ()))
    status, out, err = run("list")
    assert (status, err) == (0, "")
    heading, *rows = (line.split() for line in out.splitlines())
    assert heading == ["NAME", "ROLE", "ORGANIZATIONS", "LAST", "DAY", "FINGERPRINT"]
    assert rows[:2] == [
        ["ann", "editor", "acme", "never", ann.fingerprint],
        ["bob", "admin", "*", "2999-12-31", bob.fingerprint],
    ]
    assert rows[2][:4] == ["carl", "reader", "-", "never"]
    assert digest_of("stg_ann").hex()[:8] not in out


def test_all_tokens_of_a_name_or_one_by_its_fingerprint_are_revoked(file: Path, run: Run) -> None:
    old, new, bob = token("stg_old"), token("stg_new"), token("stg_bob", "bob")
    tokens_file(file, old, new, bob)
    status, out, err = run("revoke", old.fingerprint)
    assert (status, out) == (0, "")
    assert old.fingerprint in err
    assert kept(file) == [new, bob]
    assert run("revoke", "ann")[0] == 0
    assert kept(file) == [bob]


def test_a_name_that_nobody_has_is_refused(file: Path, run: Run) -> None:
    tokens_file(file, token("stg_ann"))
    status, _, err = run("revoke", "bob")
    assert status == 1
    assert "no token has the name or fingerprint 'bob'; `stigmer tokens list` shows them" in err


def test_a_file_is_named_by_flag_variable_or_settings(
    file: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STIGMER_TOKENS_FILE")
    status, _, err = run("list")
    assert status == 1
    assert "no tokens file; name it by --tokens-file, STIGMER_TOKENS_FILE or tokens_file in the settings" in err
    (tmp_path / "s.toml").write_text('tokens_file = "by-settings"')
    assert run("new", "--name", "ann", "--role", "reader", "--config", str(tmp_path / "s.toml"))[0] == 0
    assert run("new", "--name", "ann", "--role", "reader", "--tokens-file", str(tmp_path / "by-flag"))[0] == 0
    assert {path.name for path in tmp_path.glob("by-*")} == {"by-settings", "by-flag"}


async def test_processes_at_once_lose_no_token(file: Path) -> None:
    async def new() -> str:
        command = ("-m", "stigmer", "tokens", "new", "--name", "ann", "--role", "reader")
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env=os.environ
        )
        out, _ = await process.communicate()
        assert process.returncode == 0
        return out.decode().strip()

    secrets = await asyncio.gather(*(new() for _ in range(4)))
    assert {one.digest for one in await asyncio.to_thread(kept, file)} == {digest_of(secret) for secret in secrets}
