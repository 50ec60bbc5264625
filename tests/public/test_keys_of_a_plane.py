"""Where a plane's keys are: in its data directory, in the file that is named, in memory, or at a host's key service."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import stigmer

if TYPE_CHECKING:
    from pathlib import Path


def opened(where: str | Path | stigmer.Settings, service: stigmer.KeyService | None = None) -> None:
    plane = stigmer.embedded(where, key_service=service)

    async def once() -> None:
        async with plane:
            pass

    asyncio.run(once())


class NeverAsked:
    key_id = "cloud/v1"

    async def wrap(self, data_key: bytes, context: bytes) -> bytes:
        raise AssertionError("nothing is sealed")

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes | None:
        raise AssertionError("nothing is sealed")


def test_the_first_start_makes_a_keyring_in_the_data_directory(tmp_path: Path) -> None:
    opened(tmp_path / "data")
    keyring = tmp_path / "data" / "keyring.json"
    before = keyring.read_bytes()
    assert keyring.stat().st_mode & 0o777 == 0o600
    opened(tmp_path / "data")
    assert keyring.read_bytes() == before


def test_the_settings_can_name_another_file(tmp_path: Path) -> None:
    opened(stigmer.Settings(data_dir=tmp_path / "data", keyring_file=tmp_path / "keys" / ".." / "k.json"))
    assert (tmp_path / "k.json").exists()
    assert not (tmp_path / "data" / "keyring.json").exists()


def test_a_keyring_in_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(stigmer.StartupError, match=r"k.json: cannot be changed .*make the directory"):
        opened(stigmer.Settings(data_dir=tmp_path / "data", keyring_file=tmp_path / "keys" / "k.json"))


def test_what_is_in_memory_has_its_keys_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    opened(":memory:")
    assert list(tmp_path.iterdir()) == []


def test_a_key_service_stands_in_for_the_keyring_and_is_not_asked_before_something_is_sealed(tmp_path: Path) -> None:
    opened(tmp_path / "data", NeverAsked())
    assert not (tmp_path / "data" / "keyring.json").exists()


def test_a_start_does_not_import_what_only_sealing_needs(tmp_path: Path) -> None:
    program = """if True:
        import asyncio, sys, stigmer
        async def once():
            async with stigmer.embedded("data"):
                print("cryptography" in sys.modules)
        asyncio.run(once())
    """
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
