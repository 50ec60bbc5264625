"""The tokens file is read with care, and edited so that neither a crash nor another editor harms it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from bearing import token, tokens_file

from stigmer import private_file
from stigmer.access import token_file
from stigmer.errors import StartupError

if TYPE_CHECKING:
    from pathlib import Path

    from stigmer.access.token_lines import Token

ANN, BOB = token("stg_ann"), token("stg_bob", "bob")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


def kept(file: Path) -> list[Token]:
    return token_file.tokens(file)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660, 0o400])
def test_a_file_that_its_owner_and_group_alone_may_use_is_read(file: Path, mode: int) -> None:
    tokens_file(file, ANN).chmod(mode)
    assert kept(file) == [ANN]


@pytest.mark.parametrize("mode", [0o644, 0o602, 0o601, 0o777])
def test_a_file_that_others_may_use_is_refused(file: Path, mode: int) -> None:
    tokens_file(file, ANN).chmod(mode)
    with pytest.raises(StartupError, match=rf"tokens: others may use it \(mode {mode:o}\); run chmod o= on it"):
        token_file.tokens(file)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")
def test_a_file_of_another_user_is_refused_and_one_of_root_s_is_not(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(tokens_file(file, ANN), 12345, 0)
    with pytest.raises(StartupError, match=r"belongs to another user \(uid 12345\); make it chown root"):
        token_file.tokens(file)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert kept(file) == [ANN]
    os.chown(file, 0, 0)
    assert kept(file) == [ANN]


def test_what_is_no_file_is_refused_and_not_waited_for(file: Path) -> None:
    with pytest.raises(StartupError, match="tokens: no such file; `stigmer tokens new` makes it"):
        token_file.tokens(file)
    os.mkfifo(file, 0o600)
    with pytest.raises(StartupError, match="not a file"):
        token_file.tokens(file)
    with pytest.raises(StartupError, match="not a file; give the path of one"):
        token_file.tokens(file.parent)
    with pytest.raises(StartupError, match="not a file; give the path of one"):
        token_file.add(file.parent, ANN)


def test_a_file_over_the_limit_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_file, "MAX_BYTES", 10)
    with pytest.raises(StartupError, match="10 at most: remove what is not needed any more"):
        token_file.tokens(tokens_file(file, ANN))


def test_a_line_is_added_to_what_is_there(file: Path) -> None:
    tokens_file(file).write_bytes(b"# Ann's, \xff\n" + ANN.line.encode())
    token_file.add(file, BOB)
    assert file.read_bytes() == b"# Ann's, \xff\n" + f"{ANN.line}\n{BOB.line}\n".encode()


def test_a_file_that_is_missing_is_made_for_its_owner_alone(file: Path) -> None:
    token_file.add(file, ANN)
    assert file.stat().st_mode & 0o777 == 0o600
    assert kept(file) == [ANN]


def test_an_edit_keeps_mode_and_owner(file: Path) -> None:
    tokens_file(file, ANN).chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 0, 12345)
    before = file.stat()
    token_file.add(file, BOB)
    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino


def test_a_symbolic_link_stays_one(file: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    file.symlink_to(tokens_file(tmp_path / "real/tokens", ANN))
    token_file.add(file, BOB)
    assert file.is_symlink()
    assert kept(tmp_path / "real/tokens") == [ANN, BOB]


def test_lines_are_removed_and_comments_stay(file: Path) -> None:
    text = f"# all\n{ANN.line}\n\n# Bob's\n{BOB.line}\n"
    tokens_file(file).write_text(text)
    assert token_file.remove(file, lambda one: one.principal.name == "bob") == [BOB]
    assert file.read_text() == f"# all\n{ANN.line}\n\n# Bob's\n"


def test_nothing_removed_leaves_the_very_file(file: Path) -> None:
    before = tokens_file(file, ANN).stat()
    assert token_file.remove(file, lambda _: False) == []
    assert file.stat() == before


def test_a_broken_or_open_file_is_not_edited(file: Path) -> None:
    tokens_file(file).write_text("nonsense\n")
    with pytest.raises(StartupError, match="line 1: 1 fields"):
        token_file.add(file, ANN)
    tokens_file(file, ANN).chmod(0o644)
    with pytest.raises(StartupError, match="others may use it"):
        token_file.remove(file, lambda _: True)
    assert file.read_text() == f"{ANN.line}\n"


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=f"make the directory {tmp_path}/none"):
        token_file.add(tmp_path / "none/tokens", ANN)
    (tmp_path / "plain").touch()
    with pytest.raises(StartupError, match=f"{tmp_path}/plain is no directory: give a path in one"):
        token_file.add(tmp_path / "plain/tokens", ANN)


def test_editors_at_once_lose_nothing(file: Path) -> None:
    """Each lock is one of an open file, so that threads stand in for processes here."""
    added = [token(f"stg_{number}") for number in range(20)]
    with ThreadPoolExecutor(len(added)) as threads:
        list(threads.map(lambda one: token_file.add(file, one), added))
    assert {one.digest for one in kept(file)} == {one.digest for one in added}
    assert [path.name for path in file.parent.iterdir()] == ["tokens"]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = {path!r}
from bearing import token
from stigmer import private_file
from stigmer.access import token_file

def kill(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)

{kill}
token_file.add(Path({file!r}), token("stg_bob", "bob"))
"""


@pytest.mark.parametrize(
    ("kill", "is_new"),
    [
        ("private_file._as_before = kill", False),
        ("os.fsync = kill", False),
        ("Path.replace = kill", False),
        ("sync = os.fsync; os.fsync = lambda fd: kill() if not Path({new!r}).exists() else sync(fd)", True),
    ],
)
def test_a_kill_in_the_middle_leaves_the_old_file_or_the_new_one(file: Path, kill: str, *, is_new: bool) -> None:
    tokens_file(file, ANN)
    kill = kill.format(new=str(file.with_name(".tokens.new")))
    program = KILLED.format(path=sys.path, kill=kill, file=str(file))
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert kept(file) == ([ANN, BOB] if is_new else [ANN])
    token_file.add(file, token("stg_carl"))  # what was left behind is in nobody's way
    assert [path.name for path in file.parent.iterdir()] == ["tokens"]


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EPERM, "run this as the user that owns it and its directory"),
        (errno.EBUSY, "see that its directory, not the file alone, is mounted here, and that the disk is not full"),
        (errno.ENOSPC, "see that its directory, not the file alone, is mounted here, and that the disk is not full"),
    ],
)
def test_a_file_that_cannot_be_replaced_stays_and_the_remedy_is_named(
    file: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    tokens_file(file, ANN)
    monkeypatch.setattr(os, "fsync", refused)
    with pytest.raises(StartupError) as caught:
        token_file.add(file, BOB)
    assert str(caught.value) == f"{file}: cannot be changed ({os.strerror(number)}); {remedy}"
    assert kept(file) == [ANN]
    assert [path.name for path in file.parent.iterdir()] == ["tokens"]
