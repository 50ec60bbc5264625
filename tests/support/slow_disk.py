"""A disk that can be told to be slow: a library, preloaded into a process, whose fsync and fdatasync wait.

They wait while the file `hang` is there, and each for as many milliseconds as the file `delay` says; one that begins to
wait makes the file `waits`.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *at(const char *name) {
    static __thread char path[4096];
    snprintf(path, sizeof path, "%s/%s", getenv("SLOW_DISK"), name);
    return path;
}

static void slow(void) {
    FILE *delay;
    int ms = 0;
    if (!getenv("SLOW_DISK")) return;
    if ((delay = fopen(at("delay"), "r"))) {
        if (fscanf(delay, "%d", &ms) != 1) ms = 0;
        fclose(delay);
    }
    if (ms || !access(at("hang"), F_OK)) close(open(at("waits"), O_CREAT | O_WRONLY, 0600));
    usleep(1000 * ms);
    while (!access(at("hang"), F_OK)) usleep(10000);
}

int fsync(int fd) {
    int (*next)(int) = dlsym(RTLD_NEXT, "fsync");
    slow();
    return next(fd);
}

int fdatasync(int fd) {
    int (*next)(int) = dlsym(RTLD_NEXT, "fdatasync");
    slow();
    return next(fd);
}
"""


class SlowDisk:
    """The library and its switches, in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        if shutil.which("cc") is None:
            pytest.skip("no C compiler")
        directory.mkdir()
        (directory / "slow.c").write_text(SOURCE)
        library = directory / "slow.so"
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(directory / "slow.c"), "-ldl"]
        subprocess.run(command, check=True)
        self._directory = directory
        self.env = {"LD_PRELOAD": str(library), "SLOW_DISK": str(directory)}

    def hang(self) -> None:
        """From now on nothing that is written reaches the disk."""
        (self._directory / "hang").touch()

    def delay(self, milliseconds: int) -> None:
        (self._directory / "delay").write_text(str(milliseconds))

    async def waits(self) -> None:
        """Until the process waits for it."""
        while not (self._directory / "waits").exists():  # noqa: ASYNC110  # another process makes it
            await asyncio.sleep(0.01)
