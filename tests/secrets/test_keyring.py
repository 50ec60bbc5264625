"""The keyring's file is its owner's alone, is never half written, and a wrong one is refused by name."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from stigmer.errors import StartupError
from stigmer.secrets.cipher import NotOpened
from stigmer.secrets.keyring import Keyring, KeyState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keyring.json"


def opened(file: Path | None, *, make: bool = True) -> Keyring:
    keyring = Keyring(file)
    keyring.open(make=make)
    return keyring


def content(file: Path) -> Any:
    return json.loads(file.read_text())


def states(keyring: Keyring) -> dict[str, KeyState]:
    return {key.id: key.state for key in keyring.keys}


def test_the_first_start_makes_a_keyring_with_one_key_for_its_owner_alone(file: Path) -> None:
    keyring = opened(file)
    assert file.stat().st_mode & 0o777 == 0o600
    (entry,) = content(file)["keys"]
    assert sorted(entry) == ["created", "id", "key", "state"]
    assert entry["id"] == keyring.active
    assert entry["state"] == "active"
    assert len(base64.b64decode(entry["key"])) == 32
    assert [path.name for path in file.parent.iterdir()] == ["keyring.json"]


def test_a_line_says_where_the_keyring_is_and_to_back_it_up(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    opened(file)
    opened(file)
    (line,) = caplog.messages
    assert "back it up" in line
    assert str(file) in line
    assert content(file)["keys"][0]["key"] not in line


def test_an_existing_keyring_is_taken_as_it_is(file: Path) -> None:
    first = opened(file)
    before = file.read_bytes()
    assert opened(file).active == opened(file, make=False).active == first.active
    assert file.read_bytes() == before


def test_a_keyring_is_not_made_where_sealed_data_exist(file: Path) -> None:
    with pytest.raises(StartupError, match=r"keyring.json: no such file; restore it from its backup"):
        opened(file, make=False)
    assert not file.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o601, 0o777])
def test_a_keyring_that_others_can_use_is_refused(file: Path, mode: int) -> None:
    keyring = opened(file)
    file.chmod(mode)
    with pytest.raises(StartupError, match=rf"others may use it \(mode {mode:o}\); run chmod 600 on it"):
        opened(file)
    with pytest.raises(StartupError, match="others may use it"):
        keyring.add()


def test_a_dangling_link_is_no_reason_to_make_another_keyring(file: Path) -> None:
    file.symlink_to(file.parent / "not mounted")
    with pytest.raises(StartupError, match="no such file"):
        opened(file)


@pytest.mark.parametrize(
    "change",
    [
        lambda keys: keys[0].update(key=base64.b64encode(os.urandom(32)).decode()),
        lambda keys: keys[0].update(key=keys[0]["key"][4:]),
        lambda keys: keys[0].update(key=""),
        lambda keys: keys[0].update(key="not base64"),
        lambda keys: keys[0].update(id="key-0123456789abcdef"),
    ],
    ids=["another key", "cut off", "empty", "no base64", "another id"],
)
def test_a_wrong_key_is_refused_in_one_line_that_names_it(file: Path, change: Callable[[Any], None]) -> None:
    opened(file)
    written = content(file)
    secret = written["keys"][0]["key"]
    change(written["keys"])
    file.write_text(json.dumps(written))
    with pytest.raises(StartupError) as refused:
        opened(file)
    assert f"the key of {written['keys'][0]['id']} is not the one" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert secret[:8] not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a keyring, or a broken one"),
        ("{", "not a keyring, or a broken one"),
        ("[]", "not a keyring, or a broken one"),
        ('{"version": 1}', "not a keyring, or a broken one"),
        ('{"version": 1, "keys": [{}]}', "not a keyring, or a broken one"),
        ('{"version": 1, "keys": []}', "one key must be active"),
        ('{"version": 2, "keys": []}', "version 2, this stigmer knows 1"),
    ],
)
def test_a_broken_keyring_is_refused(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(StartupError, match=said):
        opened(file)


def test_keys_are_added_activated_and_retired(file: Path) -> None:
    keyring = opened(file)
    old = keyring.active
    wrapped = asyncio.run(keyring.wrap(old, b"k" * 32, b"here"))
    new = keyring.add().id
    assert states(keyring) == {old: KeyState.ACTIVE, new: KeyState.ENABLED}
    keyring.activate(new)
    assert states(keyring) == states(opened(file)) == {old: KeyState.ENABLED, new: KeyState.ACTIVE}
    assert asyncio.run(opened(file).unwrap(old, wrapped, b"here")) == b"k" * 32
    keyring.retire(old)
    assert states(keyring) == states(opened(file)) == {old: KeyState.RETIRED, new: KeyState.ACTIVE}
    assert content(file)["keys"][0]["key"] == ""
    for one in (keyring, opened(file)):
        with pytest.raises(NotOpened):
            asyncio.run(one.unwrap(old, wrapped, b"here"))
        with pytest.raises(NotOpened):
            asyncio.run(one.wrap(old, b"k" * 32, b"here"))


def test_the_keyring_of_a_database_in_memory_is_in_memory() -> None:
    keyring = opened(None, make=False)
    assert keyring.active != opened(None).active
    new = keyring.add().id
    keyring.activate(new)
    assert keyring.active == new


@pytest.mark.parametrize("key", ["the active one", "an unknown one"])
def test_what_cannot_be_retired_is_not(file: Path, key: str) -> None:
    keyring = opened(file)
    before = file.read_bytes()
    with pytest.raises(LookupError):
        keyring.retire(keyring.active if key == "the active one" else "key-unknown")
    assert file.read_bytes() == before


def test_a_retired_key_cannot_be_activated_again(file: Path) -> None:
    keyring = opened(file)
    other = keyring.add().id
    keyring.retire(other)
    with pytest.raises(LookupError):
        keyring.activate(other)


def test_keys_added_at_the_same_time_are_all_there(file: Path) -> None:
    opened(file)
    with ThreadPoolExecutor(4) as threads:
        added = list(threads.map(lambda _: opened(file).add().id, range(8)))
    assert set(added) < {key.id for key in opened(file).keys}
    assert [path.name for path in file.parent.iterdir()] == ["keyring.json"]


def test_what_cannot_be_written_changes_nothing_in_memory_either(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = opened(file)
    before = keyring.keys

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StartupError, match=r"cannot be changed \(No space left on device\)"):
        keyring.add()
    monkeypatch.undo()
    assert keyring.keys == before == opened(file).keys


KILLED = """
import os, signal, sys
from pathlib import Path
from stigmer.secrets.keyring import Keyring

def kill(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)

keyring = Keyring(Path(sys.argv[1]))
keyring.open(make=False)
{kill}
keyring.add()
"""


@pytest.mark.parametrize("kill", ["os.fsync = kill", "Path.replace = kill"])
def test_a_kill_in_the_middle_leaves_the_old_keyring(file: Path, kill: str) -> None:
    before = opened(file).keys
    program = KILLED.format(kill=kill)
    done = subprocess.run([sys.executable, "-c", program, str(file)], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert opened(file).keys == before
    assert opened(file).add().id in states(opened(file))
    assert {path.stat().st_mode & 0o777 for path in file.parent.iterdir()} == {0o600}
