"""Work beside the loop, which no exit waits for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest
from store_rows import until

from stigmer.access.threads import on_thread


async def test_what_the_work_gives_or_raises_is_its_caller_s() -> None:
    assert await on_thread(threading.get_ident) != threading.get_ident()
    assert await on_thread(lambda: sys.modules.get("none")) is None
    with pytest.raises(ZeroDivisionError):
        await on_thread(lambda: 1 // 0)


async def test_a_caller_that_gives_up_goes_on_while_the_work_hangs() -> None:
    began, go = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        go.wait()

    calling = asyncio.create_task(on_thread(work))
    await until(began.is_set)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    go.set()


def test_a_process_ends_while_the_work_hangs() -> None:
    code = """
import asyncio, threading
from stigmer.access.threads import on_thread

async def main() -> None:
    try:
        async with asyncio.timeout(0.05):
            await on_thread(threading.Event().wait)
    except TimeoutError:
        print("given up")

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "given up\n"
