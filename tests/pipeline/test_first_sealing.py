"""The first start on a database that holds secrets in the clear: none is left in its files, and all can be read."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import Stubs, environments, id_of

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceId
from stigmer.access.principal import organization
from stigmer.app import embedded
from stigmer.handlers import environment
from stigmer.pipeline import first_sealing
from stigmer.secrets.fields import MARK
from stigmer.store.changes import Changes, Put
from stigmer.store.rows import ABSENT, sealed_key
from stigmer.store.sqlite import SqliteStore
from stigmer.store.sqlite.files import FILE_NAME

if TYPE_CHECKING:
    from pathlib import Path

CANARY = f"canary-{os.urandom(8).hex()}"
COUNT = 250
PLAIN = 249
"""The number of the one that has no secret."""
LITERAL = 7
"""The number of the one whose secret reads like the mark."""


def value_of(number: int) -> str:
    return MARK if number == LITERAL else f"{CANARY}-{number}"


async def older(directory: Path) -> list[str]:
    """A database as an older version left it; the ids of its environments."""
    kind, puts = environment.HANDLER.kind, list[Put]()
    for number in range(COUNT):
        made: Any = samples.environment(id=f"env-01arz3ndektsv4rrffq69{number:05}", slug=f"e{number}", org="acme")
        made.spec.data["TOKEN"] = environments.EnvironmentValue(value=value_of(number), is_secret=number != PLAIN)
        if number == PLAIN:
            made.spec.data["TOKEN"].value = "plain"
        puts.append(Put(kind.row_of(made, organization("acme"), created_by="local"), ABSENT))
    async with SqliteStore(directory) as store:
        await store.commit(Changes(puts=puts))
    return [put.row.id for put in puts]


def leaks(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir() if CANARY.encode() in path.read_bytes()]


async def check(directory: Path, ids: list[str], *, left_out: int | None = None) -> None:
    async with embedded(directory) as plane:
        assert not await asyncio.to_thread(leaks, directory)
        stubs = Stubs(plane.channel)
        for number, id_ in enumerate(ids):
            if number == left_out:
                continue
            found = await stubs.find_environments.get(ApiResourceId(value=id_))
            assert id_of(found) == id_
            assert found.spec.data["TOKEN"].value == ("plain" if number == PLAIN else value_of(number))
            sealed = await plane._store.record(*sealed_key("Environment", id_))
            assert (sealed is None) == (number == PLAIN)


async def test_no_secret_is_left_in_the_files_and_all_can_be_read(tmp_path: Path) -> None:
    ids = await older(tmp_path)
    assert await asyncio.to_thread(leaks, tmp_path)
    await check(tmp_path, ids)
    await check(tmp_path, ids)


async def test_a_start_that_was_killed_on_the_way_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids, commits, really = await older(tmp_path), 0, SqliteStore.commit

    async def failing(store: SqliteStore, changes: Changes, *, dry_run: bool = False) -> Any:
        nonlocal commits
        commits += any(put.row.sealed for put in changes.puts)
        if commits == 2:
            raise KeyboardInterrupt
        return await really(store, changes, dry_run=dry_run)

    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "commit", failing)
        with pytest.raises(KeyboardInterrupt):
            async with embedded(tmp_path):
                raise AssertionError("it has started")
    assert await asyncio.to_thread(leaks, tmp_path)
    await check(tmp_path, ids)


async def test_the_files_are_cleaned_where_it_was_killed_before_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, compacted = await older(tmp_path), 0
    really = SqliteStore.compact

    async def failing(_: SqliteStore) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "compact", failing)
        with pytest.raises(KeyboardInterrupt):
            async with embedded(tmp_path):
                raise AssertionError("it has started")

    async def counted(store: SqliteStore) -> None:
        nonlocal compacted
        compacted += 1
        await really(store)

    monkeypatch.setattr(SqliteStore, "compact", counted)
    await check(tmp_path, ids)
    await check(tmp_path, ids)
    assert compacted == 1


async def test_a_damaged_row_does_not_keep_the_others_from_being_sealed(tmp_path: Path) -> None:
    ids = await older(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as database, database:
        database.execute("UPDATE resources SET data = x'00', checksum = 1 WHERE id = ?", (ids[100],))
    await check(tmp_path, ids, left_out=100)


async def test_a_new_database_is_not_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_: SqliteStore) -> None:
        raise AssertionError("nothing was to be cleaned")

    monkeypatch.setattr(SqliteStore, "compact", never)
    for _ in range(2):
        async with embedded(tmp_path) as plane:
            found = await plane._store.record(first_sealing.TABLE, first_sealing.KEY)
            assert found is not None
            assert found.value == first_sealing.DONE
