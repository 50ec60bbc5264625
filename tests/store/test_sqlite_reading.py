"""Rows are read many at a time: whole and in order, whatever they hold, and a damaged one is known by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from store_rows import creating, row

from stigmer.store.errors import DamagedError
from stigmer.store.rows import Query, Window
from stigmer.store.sqlite import SqliteStore, reading
from stigmer.store.sqlite import statements as sql
from stigmer.store.sqlite.reading import BULK
from stigmer.store.sqlite.search import NEWEST, Search, search

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from stigmer.store.rows import Row


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with SqliteStore(tmp_path, cache_bytes=0) as opened:
        yield opened


def thing(number: int) -> Row:
    return row(f"t{number:03}", slug=None, data=b"x" * 10)


async def test_rows_of_every_size_and_text_come_whole_and_in_order(store: SqliteStore) -> None:
    sizes = [0, 1, sql.SMALL_BYTES, sql.SMALL_BYTES + 1, 0, 3_000, 2_000_000, 5]
    data = [bytes(range(256)) * (size // 256 + 1) for size in sizes * (BULK // 4)]
    rows = [
        row(f"r{n}", slug=f'nul\0 \u00e9 "quoted" {n}', namespace="\x1f\n", data=one[: sizes[n % len(sizes)]])
        for n, one in enumerate(data)
    ]
    await store.commit(creating(*rows))
    page = await store.page(Query("Thing"), Window(1000))
    assert page.total == len(rows) == len(page.rows)
    wanted = [(one.id, one.slug, one.namespace, one.data) for one in reversed(rows)]
    assert [(one.id, one.slug, one.namespace, one.data) for one in page.rows] == wanted


async def test_a_page_takes_python_s_lock_a_few_times_not_once_a_row(store: SqliteStore) -> None:
    await store.commit(creating(*map(thing, range(10 * BULK))))

    def fetched(connection: Any) -> int:
        """How many rows SQLite has given."""
        given = list[object]()
        found = search(connection, Query("Thing"))
        assert isinstance(found, Search)

        class Counting:
            def __init__(self, cursor: Any) -> None:
                self._cursor = cursor

            def fetchone(self) -> Any:
                given.append(self._cursor.fetchone())
                return given[-1]

        rows = reading.rows_before(connection, lambda *statement: Counting(found.select(*statement)), NEWEST, 1000)  # type: ignore[arg-type]
        assert len(list(rows)) == 10 * BULK
        return len(given)

    assert await store._reads.list(fetched) <= 11


@pytest.mark.parametrize(
    "damage", ["data = CAST('text' AS BLOB)", "slug = CAST(x'ff' AS TEXT)", "checksum = 0", "revision = 5"]
)
async def test_a_damaged_row_is_named_and_those_before_it_are_read(store: SqliteStore, damage: str) -> None:
    await store.commit(creating(*map(thing, range(BULK + 5))))
    await store._writes.connection.run(
        lambda one: one.execute(f"UPDATE resources SET {damage} WHERE id = 't003'").fetchall()
    )
    page = await store.page(Query("Thing"), Window(BULK))
    assert len(page.rows) == BULK
    with pytest.raises(DamagedError, match=r"t003|damaged"):
        await store.page(Query("Thing"), Window(1000))
