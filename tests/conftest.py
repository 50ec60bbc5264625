"""What holds for every test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import measured
import pytest
from blockbuster import blockbuster_ctx
from served_process import Listening, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


ALLOWED = {
    "stigmer/__init__.py": {"_version"},  # read once, of a file beside the package
    "stigmer/client/profiles.py": {"profile_of"},  # reads one small file, once, before the first call
    "stigmer/client/portal.py": {"run", "close"},  # waits within a running loop too, for callers who want that
    "stigmer/server/tls.py": {"server_context"},  # the server calls it on a thread, tests call it where they are
    "stigmer/server/sockets.py": {"close"},  # removes one file, once, when the server ends
    "stigmer/store/sqlite/migration.py": {"scripts"},  # likewise
    "stigmer/app/__init__.py": {"embedded"},  # asks for the current directory, which no disk is asked for
}


@pytest.hookimpl(trylast=True)
def pytest_sessionstart() -> None:
    """After pytest-cov, which sets them here in each of several workers."""
    measured.keep()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    """A server in a process of its own, for tests that only call it."""
    with serving("--data-dir", str(tmp_path_factory.mktemp("server"))) as listening:
        yield listening


@pytest.fixture(scope="session", params=["--uvloop", "--no-uvloop"])
def server_on_each_loop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Listening]:
    """The same, on one loop and on the other."""
    with serving("--data-dir", str(tmp_path_factory.mktemp("server")), request.param) as listening:
        yield listening


@pytest.fixture(autouse=True)
def nothing_of_stigmer_blocks_the_event_loop() -> Iterator[None]:
    """A call by stigmer's code that blocks the loop's thread raises BlockingError; what is ALLOWED may.

    coverage takes a lock of its own inside whatever function it meets first.
    """
    with blockbuster_ctx("stigmer") as blockbuster:
        for function in blockbuster.functions.values():
            function.can_block_in("coverage/collector.py", {"lock_data"})
            for file, names in ALLOWED.items():
                function.can_block_in(file, names)
        yield
