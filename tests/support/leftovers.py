"""What a process has open: threads, descriptors, tasks. For tests that nothing is left of something."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from pathlib import Path

LOOPS = ("asyncio_", "uvloop_", "ThreadPoolExecutor-")  # the last: uvloop before 0.22
TURNS = 20
"""Turns of the loop in which what was aborted ends."""


def descriptors() -> dict[str, str]:
    """What each open descriptor stands for, but for the one that this takes."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found[entry.name] = str(entry.readlink())
    return {number: what for number, what in found.items() if what != f"/proc/{os.getpid()}/fd"}


class Leftovers:
    """What is there now; `found` tells what came since and is there still."""

    def __init__(self) -> None:
        self._threads = set(threading.enumerate())
        self._descriptors = descriptors()

    async def found(self) -> list[object]:
        """Threads, descriptors and tasks; threads have a moment to end, and the loop some turns."""
        for thread in self._new_threads():
            await asyncio.to_thread(thread.join, 60)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        files = [what for number, what in descriptors().items() if self._descriptors.get(number) != what]
        return [*self._new_threads(), *files, *(asyncio.all_tasks() - {asyncio.current_task()})]

    def _new_threads(self) -> list[threading.Thread]:
        """But for the loop's own, which `asyncio.to_thread` keeps."""
        now = threading.enumerate()
        return [thread for thread in now if thread not in self._threads and not thread.name.startswith(LOOPS)]
