"""Callers known by a tokens file, while it is replaced, broken and put right."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from bearing import bearing, placed, principal, token, tokens_file
from edge_rig import said
from multidict import MultiDict
from store_rows import until

from stigmer.access.credentials import Credentials, Peer
from stigmer.access.tokens import Tokens
from stigmer.errors import StartupError, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from stigmer.access.principal import Principal

SECRET = "stg_hunter2-canary"
ANN = token(SECRET)
BROKEN = "A file of callers is broken; what was good stays so"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tokens_file(tmp_path / "tokens", ANN)


@asynccontextmanager
async def watching(file: Path) -> AsyncGenerator[Tokens]:
    async with Tokens(file, watch_s=0.005) as tokens:
        yield tokens


async def refusal(tokens: Tokens, secret: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await tokens.authenticate(bearing(secret))
    assert "canary" not in caught.value.message
    return caught.value.message


def ended(still: Callable[[], Principal]) -> bool:
    try:
        still()
    except Unauthenticated:
        return True
    return False


async def test_a_token_says_who_calls(file: Path) -> None:
    async with watching(file) as tokens:
        identity = await tokens.authenticate(bearing(SECRET))
        assert identity is not None
        assert identity.principal == identity.still() == principal()


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
async def test_the_scheme_is_written_as_one_likes(file: Path, scheme: str) -> None:
    async with watching(file) as tokens:
        assert await tokens.authenticate(bearing(SECRET, scheme=scheme)) is not None


@pytest.mark.parametrize(
    "credentials",
    [
        bearing(),
        bearing(""),
        bearing(SECRET, SECRET),
        bearing(SECRET, "stg_other"),
        bearing(SECRET, scheme="Basic"),
        bearing("eyJ.eyJ.c2ln"),
        bearing(SECRET.removeprefix("stg_")),
        Credentials(MultiDict({"authorization": SECRET}), Peer("127.0.0.1")),
        Credentials(MultiDict({"authorization-bin": SECRET.encode()}), Peer("127.0.0.1")),
        Credentials(MultiDict({"Authorization": b"Bearer stg_"}), Peer("127.0.0.1")),
    ],
)
async def test_what_is_no_token_of_this_sort_is_left_to_others(file: Path, credentials: Credentials) -> None:
    async with watching(file) as tokens:
        assert await tokens.authenticate(credentials) is None


@pytest.mark.parametrize(
    "secret", ["stg_", SECRET[:-1], f"{SECRET}x", SECRET.upper().replace("STG_", "stg_"), "stg_ä\udcff\n", "stg_a, b"]
)
async def test_a_token_that_is_not_in_the_file_is_refused(file: Path, secret: str) -> None:
    async with watching(file) as tokens:
        assert await refusal(tokens, secret) == "the bearer token is not known, or was revoked: ask for another one"


async def test_a_digest_that_leaked_is_no_token(file: Path) -> None:
    async with watching(file) as tokens:
        await refusal(tokens, f"stg_{ANN.digest.hex()}")


async def test_a_token_ends_with_its_last_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tokens_file(tmp_path / "tokens", token(SECRET, not_after=dt.date(2027, 3, 31)))
    last_s = dt.datetime(2027, 3, 31, 23, 59, 59, tzinfo=dt.UTC).timestamp()
    async with Tokens(file) as tokens:
        monkeypatch.setattr(time, "time", lambda: last_s)
        identity = await tokens.authenticate(bearing(SECRET))
        assert identity is not None
        monkeypatch.setattr(time, "time", lambda: last_s + 1)
        with pytest.raises(Unauthenticated, match="has expired with 2027-03-31: ask for another one"):
            identity.still()
        assert "has expired" in await refusal(tokens, SECRET)


async def test_a_start_without_a_good_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="no such file"):
        await Tokens(tmp_path / "none").__aenter__()


@pytest.mark.parametrize("text", ["", "\n", "# nobody yet\n"])
async def test_a_file_that_names_nobody_is_told_of(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    path.chmod(0o600)
    async with watching(path) as tokens:
        (line,) = said(caplog, "A file of callers names nobody; none can call by it")
        assert "stigmer tokens new" in line["next"]
        assert "not known" in await refusal(tokens, SECRET)


async def test_a_file_as_editors_on_windows_write_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_bytes(b"\xef\xbb\xbf# whose\r\n" + ANN.line.encode() + b"\r\n")
    path.chmod(0o600)
    async with watching(path) as tokens:
        identity = await tokens.authenticate(bearing(SECRET))
        assert identity is not None
        assert identity.principal == ANN.principal


async def test_a_token_that_is_added_or_revoked_is_so_at_once_for_open_calls_too(file: Path) -> None:
    async with watching(file) as tokens:
        identity = await tokens.authenticate(bearing(SECRET))
        assert identity is not None
        await asyncio.to_thread(tokens_file, file, token("stg_new"))
        await until(lambda: ended(identity.still))
        await refusal(tokens, SECRET)
        assert await tokens.authenticate(bearing("stg_new")) is not None


async def test_a_change_of_role_and_organizations_shows_in_open_calls(file: Path) -> None:
    async with watching(file) as tokens:
        identity = await tokens.authenticate(bearing(SECRET))
        assert identity is not None
        await asyncio.to_thread(tokens_file, file, token(SECRET, role="reader", organizations=("elsewhere",)))
        await until(lambda: identity.still() == principal(role="reader", organizations=("elsewhere",)))


async def test_a_file_written_in_place_again_and_again_is_read_as_it_is_at_last(file: Path) -> None:
    """Several times within one tick of the file system's clock, and with one size."""
    async with watching(file) as tokens:
        for number in range(100):
            await asyncio.to_thread(file.write_text, f"{token(f'stg_{number}').line}\n")
        await until(lambda: tokens.entries.keys() == {token("stg_99").digest})


@pytest.mark.parametrize("harm", ["nonsense", "open to others", "gone"])
async def test_a_broken_file_changes_nothing_and_is_told_of_once_until_it_is_put_right(
    file: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "stigmer")

    def break_it() -> None:
        if harm == "nonsense":
            placed(file, f"{ANN.line}\nann:editor:acme::{SECRET}\n")
        elif harm == "gone":
            file.unlink()
        else:
            placed(file, token("stg_other").line, 0o644)

    async with watching(file) as tokens:
        await asyncio.to_thread(break_it)
        await until(lambda: bool(said(caplog, BROKEN)))
        await tokens.look()  # and once more
        assert await tokens.authenticate(bearing(SECRET)) is not None
        (line,) = said(caplog, BROKEN)
        assert line["reason"].startswith(f"{file}: ")
        assert "canary" not in str(line)
        await asyncio.to_thread(tokens_file, file, ANN)
        await until(lambda: bool(said(caplog, "Callers are known by a changed file")))
        assert len(said(caplog, BROKEN)) == 1


async def test_a_file_replaced_under_load_refuses_nobody_who_stays_in_it(file: Path) -> None:
    stop = asyncio.Event()

    async def calls() -> int:
        count = 0
        while not stop.is_set():
            assert await tokens.authenticate(bearing(SECRET)) is not None
            count += 1
            await asyncio.sleep(0)
        return count

    async with watching(file) as tokens:
        calling = asyncio.create_task(calls())
        for number in range(30):
            await asyncio.to_thread(tokens_file, file, ANN, token(f"stg_{number}", "bob"))
        await until(lambda: token("stg_29").digest in tokens.entries)
        stop.set()
        assert await calling > 0


async def test_ten_thousand_lines_are_read_while_the_loop_goes_on(tmp_path: Path) -> None:
    file = tokens_file(tmp_path / "tokens", *(token(f"stg_{number}", f"n{number}") for number in range(10_000)))
    started_s = time.monotonic()
    async with Tokens(file) as tokens:
        assert time.monotonic() - started_s < 5
        identity = await tokens.authenticate(bearing("stg_9999"))
        assert identity is not None
        assert identity.principal.name == "n9999"


async def test_its_text_shows_no_token(file: Path) -> None:
    async with watching(file) as tokens:
        assert repr(tokens) == f"<Tokens of {file}, 1>"
