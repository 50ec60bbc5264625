"""A file that says who may call: read where nobody else may look into it, and read again when it changes.

`tokens` and `certificates` know callers by one each.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from stigmer.access.threads import on_thread
from stigmer.errors import StartupError
from stigmer.private_file import mark_of, read
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stigmer.private_file import Mark

K = TypeVar("K")
V = TypeVar("V")

WATCH_S = 1.0
"""How often the file is looked at."""
_SETTLED_NS = 2_000_000_000
"""How old a change must be for another one to show by the file's time."""
_TOLD = 3  # of the lines that are wrong

log = get_logger("stigmer.access.watched_file")


def is_comment(line: str) -> bool:
    """Whether a line tells of nobody."""
    return not line.strip() or line.lstrip().startswith("#")


def entries_of(text: str, entry_of: Callable[[str], tuple[K, V]]) -> dict[K, V]:
    """What the lines of a file hold, each with its key.

    Args:
        text: of the file.
        entry_of: key and value of a line, without spaces around it; ValueError says what is wrong with it.

    Raises:
        ValueError: names the first lines that are wrong, or whose key another one has, and nothing of what they hold.
    """
    found: dict[K, V] = {}
    at: dict[K, int] = {}
    wrong: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if is_comment(line):
            continue
        try:
            key, value = entry_of(line.strip())
        except ValueError as error:
            wrong.append(f"line {number}: {error}")
            continue
        if key in found:
            wrong.append(f"line {number}: the same one as on line {at[key]}; remove one of them")
        found[key], at[key] = value, number
    if wrong:
        more = f"; and {len(wrong) - _TOLD} more" if len(wrong) > _TOLD else ""
        raise ValueError(f"{'; '.join(wrong[:_TOLD])}{more}")
    return found


class WatchedFile(Generic[K, V]):
    """The entries of a file: an async context manager, which watches it while it is entered.

    A file that has become broken, or is gone, changes nothing until it is put right; the log says so once.

    Args:
        path: of the file.
        parsed: its entries, of its text; raises ValueError.
        made_by: what to do where there is none.
        watch_s: seconds from one look at it to the next.

    Attributes:
        entries: those that hold.
    """

    def __init__(
        self, path: Path, parsed: Callable[[str], dict[K, V]], made_by: str, *, watch_s: float = WATCH_S
    ) -> None:
        self._path, self._parsed, self._made_by, self._watch_s = path, parsed, made_by, watch_s
        self.entries: dict[K, V] = {}
        self._text: str | None = None
        self._mark: Mark | None = None
        self._complaint = ""
        self._watching: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._path}, {len(self.entries)}>"

    async def __aenter__(self) -> Self:
        """Read the file. Raises StartupError, which says what is wrong with it."""
        await on_thread(self._read)
        self._tell_if_empty()
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching

    def _tell_if_empty(self) -> None:
        if not self.entries:
            log.warning("A file of callers names nobody; none can call by it", file=str(self._path), next=self._made_by)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._watch_s)
            await self.look()

    async def look(self) -> None:
        """Take what has changed of the file, or keep what was and say why."""
        try:
            if await on_thread(self._read):
                log.info("Callers are known by a changed file", file=str(self._path), entries=len(self.entries))
                self._complaint = ""
                self._tell_if_empty()
        except StartupError as error:
            if str(error) != self._complaint:
                log.error("A file of callers is broken; what was good stays so", reason=str(error))  # noqa: TRY400  # it says it all
            self._complaint = str(error)

    def _read(self) -> bool:
        """Take the file's entries; whether they, or the file, are others than at the last look. Raises StartupError."""
        if self._mark is not None and self._mark == self._mark_now():
            return False
        content = read(self._path, self._made_by)
        age_ns = time.time_ns() - content.changed_ns
        self._mark = content.mark if age_ns > _SETTLED_NS else None  # else it is read again until it has settled
        if content.text == self._text:
            return bool(self._complaint)
        try:
            self.entries, self._text = self._parsed(content.text), content.text
        except ValueError as error:
            raise StartupError(f"{self._path}: {error}") from None
        return True

    def _mark_now(self) -> Mark | None:
        """None where there is no file, or none can be seen."""
        try:
            return mark_of(self._path.stat())
        except OSError:
            return None
