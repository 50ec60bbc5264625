"""Callers known by client certificates, while the certificates and their file change."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from bearing import principal
from edge_rig import said
from multidict import MultiDict
from store_rows import until

from stigmer.access.certificates import Certificates, holders_of
from stigmer.access.credentials import Certificate, Credentials, Identity, Peer
from stigmer.errors import StartupError, Unauthenticated

if TYPE_CHECKING:
    from pathlib import Path

    from stigmer.access.principal import Principal

RUNNER, BUILD = "URI:spiffe://acme/runner", "DNS:build.acme.example"
LINES = f"# who calls\nrunner:runner:acme::{RUNNER}\n\nbuild:reader:acme,globex:2027-03-31:{BUILD}\n"
NOBODYS = "A client certificate is no one caller's"


@pytest.fixture(autouse=True)
def _a_day_of_2027(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: dt.datetime(2027, 1, 1, tzinfo=dt.UTC).timestamp())


def written(path: Path, text: str = LINES) -> Path:
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(text)
    return new.replace(path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "certificates")


def shown(*subjects: str, ends_s: float = float("inf")) -> Credentials:
    """What a call brings by a connection with a certificate of these names."""
    return Credentials(MultiDict(), Peer("10.0.0.1", certificate=Certificate(b"der", subjects, ends_s)))


async def known(certificates: Certificates, *subjects: str, ends_s: float = float("inf")) -> Identity:
    identity = await certificates.authenticate(shown(*subjects, ends_s=ends_s))
    assert identity is not None
    return identity


def caller(name: str, role: str, *organizations: str) -> Principal:
    return replace(principal(name, role, organizations), name=f"cert:{name}")


async def nobodys(certificates: Certificates, *subjects: str) -> None:
    """The certificate is refused, and its bearer reads what to do about it."""
    with pytest.raises(Unauthenticated, match="mapped to no caller, or to several: have its name put into the cert"):
        await certificates.authenticate(shown(*subjects))


async def test_a_name_in_a_certificate_says_who_calls(file: Path) -> None:
    async with Certificates(file) as certificates:
        identity = await known(certificates, "DNS:other.example", RUNNER)
        assert identity.principal == identity.still() == caller("runner", "runner", "acme")
        assert (await known(certificates, BUILD)).principal == caller("build", "reader", "acme", "globex")
        assert (await known(certificates, "DNS:BUILD.acme.Example")).principal.name == "cert:build"


@pytest.mark.parametrize(
    "subjects",
    [
        (),
        ("URI:spiffe://acme/other",),
        ("URI:spiffe://acme/RUNNER",),
        ("DNS:spiffe://acme/runner",),
        ("email:spiffe://acme/runner",),
        ("spiffe://acme/runner",),
        ("URI:spiffe://acme/runner/x",),
        ("DNS:*.acme.example",),
    ],
)
async def test_a_certificate_that_is_mapped_to_nobody_is_no_identity(
    file: Path, subjects: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    async with Certificates(file) as certificates:
        await nobodys(certificates, *subjects)
        await nobodys(certificates, *subjects)
    (line,) = said(caplog, NOBODYS)
    assert (line["subjects"], line["callers"]) == (list(subjects), [])


async def test_a_connection_without_a_certificate_is_left_to_others(file: Path) -> None:
    async with Certificates(file) as certificates:
        assert await certificates.authenticate(Credentials(MultiDict(), Peer("10.0.0.1"))) is None


async def test_a_certificate_of_two_callers_is_no_identity(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with Certificates(file) as certificates:
        await nobodys(certificates, RUNNER, BUILD)
    (line,) = said(caplog, NOBODYS)
    assert line["callers"] == ["cert:build", "cert:runner"]


async def test_two_names_of_one_caller_are_that_caller(tmp_path: Path) -> None:
    lines = f"runner:runner:acme::{RUNNER}\nrunner:runner:acme::{BUILD}\n"
    async with Certificates(written(tmp_path / "file", lines)) as certificates:
        assert (await known(certificates, RUNNER, BUILD)).principal.name == "cert:runner"


async def test_one_name_with_two_roles_is_no_one_caller(tmp_path: Path) -> None:
    lines = f"runner:runner:acme::{RUNNER}\nrunner:admin:acme::{BUILD}\n"
    async with Certificates(written(tmp_path / "file", lines)) as certificates:
        await nobodys(certificates, RUNNER, BUILD)


async def test_a_certificate_is_good_until_it_expires(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends_s = time.time() + 60
    async with Certificates(file) as certificates:
        identity = await known(certificates, RUNNER, ends_s=ends_s)
        monkeypatch.setattr(time, "time", lambda: ends_s)
        with pytest.raises(Unauthenticated, match="certificate has expired: connect with another one"):
            identity.still()
        with pytest.raises(Unauthenticated, match="has expired"):
            await certificates.authenticate(shown(RUNNER, ends_s=ends_s))


async def test_a_line_is_good_until_its_last_day_is_over(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    over_s = dt.datetime(2027, 4, 1, tzinfo=dt.UTC).timestamp()
    async with Certificates(file) as certificates:
        identity = await known(certificates, BUILD)
        monkeypatch.setattr(time, "time", lambda: over_s - 1)
        assert identity.still().name == "cert:build"
        monkeypatch.setattr(time, "time", lambda: over_s)
        with pytest.raises(Unauthenticated, match="is not mapped to a caller any more"):
            identity.still()
        await nobodys(certificates, BUILD)


async def test_a_change_of_the_file_shows_in_open_calls(file: Path) -> None:
    async with Certificates(file, watch_s=0.005) as certificates:
        identity = await known(certificates, RUNNER)
        await asyncio.to_thread(written, file, f"runner:reader:globex::{RUNNER}\n")
        await until(lambda: identity.still() == caller("runner", "reader", "globex"))
        await asyncio.to_thread(written, file, "")
        await until(lambda: gone(identity))
        await nobodys(certificates, RUNNER)


def gone(identity: Identity) -> bool:
    try:
        identity.still()
    except Unauthenticated as error:
        return "is not mapped to a caller any more" in error.message
    return False


async def test_a_broken_file_changes_nothing(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with Certificates(file, watch_s=0.005) as certificates:
        identity = await known(certificates, RUNNER)
        await asyncio.to_thread(written, file, "nonsense")
        await until(lambda: bool(said(caplog, "A file of callers is broken; what was good stays so")))
        assert identity.still().name == "cert:runner"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("runner:runner:acme", "3 fields; write name:role:organizations:not_after:SAN"),
        ("runner:runner:acme::", "SAN: write the certificate's name like URI:"),
        ("runner:runner:acme::URI:", "SAN: write"),
        ("runner:runner:acme::spiffe://acme/runner", "SAN: write"),
        ("runner:runner:acme::email:a@b", "SAN: write"),
        ("local:admin:*::URI:x", "name: internal, local, system are the server's own"),
        ("a b:admin:*::URI:x", "name: takes letters"),
        ("ann:root:*::URI:x", "role: write one of"),
        ("ann:admin:*,acme::URI:x", r"organizations: \* is all of them"),
        ("ann:admin:*:soon:URI:x", "not_after: write the last day"),
        ("a:admin:*::DNS:X\nb:admin:*::DNS:x", "line 2: the same one as on line 1"),
    ],
)
def test_a_line_that_is_wrong_says_how_to_write_it(line: str, says: str) -> None:
    with pytest.raises(ValueError, match=f"^line [12]: .*{says.removeprefix('line 2: ')}"):
        holders_of(line)


@pytest.mark.parametrize("mode", [0o644, 0o602])
async def test_a_file_that_others_may_use_is_refused(file: Path, mode: int) -> None:
    await asyncio.to_thread(file.chmod, mode)
    with pytest.raises(StartupError, match="others may use it"):
        await Certificates(file).__aenter__()


async def test_a_file_that_is_missing_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="no such file; write a line for each caller: name:role:"):
        await Certificates(tmp_path / "none").__aenter__()
