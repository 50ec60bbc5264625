"""What a process of `stigmer` does with its surroundings: signals, standard streams, limits."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from measured import MEASURED

import stigmer
from stigmer.cli import main, process
from stigmer.errors import StartupError
from stigmer.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Iterator

SRC = Path(stigmer.__file__).parents[1]

INTERRUPTED_IMPORT = """
import os, signal, sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupts())
signal.signal(signal.SIGINT, signal.{action})
from stigmer.cli import main
main()
"""

STOPPED_WHEN_IT_SERVES = """
import logging, os, signal, sys
from stigmer.cli import main, process

class Stop(logging.Handler):
    def emit(self, record):
        if record.msg.get("event") == "stigmer serves":
            null = os.stat(os.devnull).st_rdev
            with open({told!r}, "w") as file:
                print(*(fd for fd in range(3) if os.fstat(fd).st_rdev == null), file=file)
            os.kill(os.getpid(), signal.SIGTERM)

logging.getLogger("stigmer").addHandler(Stop())
main()
"""


def python(script: str, *arguments: str, home: Path, shell: str = "") -> subprocess.CompletedProcess[str]:
    """Run a script with these arguments; `shell` redirects its streams."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("STIGMER_")}
    env |= {"PYTHONPATH": str(SRC), "HOME": str(home), **MEASURED}
    command = ["sh", "-c", f'exec "$@" {shell}', "sh", sys.executable, "-c", script, *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("module", ["typer", "stigmer.cli.serve", "pydantic", "stigmer.app", "grpclib", "uvloop"])
def test_an_interrupt_during_an_import_is_quiet(module: str, tmp_path: Path) -> None:
    script = INTERRUPTED_IMPORT.format(module=module, action="default_int_handler")
    done = python(script, "serve", "--log-level", "error", "--listen", "127.0.0.1:0", home=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_an_interrupt_that_the_shell_ignores_stays_ignored(tmp_path: Path) -> None:
    done = python(INTERRUPTED_IMPORT.format(module="typer", action="SIG_IGN"), "--version", home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("loop", ["--uvloop", "--no-uvloop"])
@pytest.mark.parametrize(("closed", "numbers"), [("<&- >&- 2>&-", "012"), ("<&-", "0"), (">&-", "1"), ("2>&-", "2")])
def test_a_server_without_standard_streams_starts_and_stops(
    closed: str, numbers: str, loop: str, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    script = STOPPED_WHEN_IT_SERVES.format(told=str(told))
    flags = ["--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data"), loop]
    done = python(script, "serve", *flags, home=tmp_path, shell=closed)
    assert done.returncode == 0
    assert set(numbers) <= set(told.read_text())


def test_a_command_without_standard_streams_still_has_its_exit_status(tmp_path: Path) -> None:
    script = "from stigmer.cli import main; main()"
    assert python(script, "serve", "--listen", "x", home=tmp_path, shell="<&- >&- 2>&-").returncode == 1
    assert python(script, "version", home=tmp_path, shell="<&- >&- 2>&-").returncode == 0


class App:
    """Stands in for `stigmer.app`: notes the limit, and waits where an interrupt is to come."""

    def __init__(self) -> None:
        self.open_files = 0
        self.interrupts = False

    async def serve(self, _settings: object) -> None:
        self.open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if self.interrupts:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    app = App()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(process, "serve_until_signal", app.serve)
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["stigmer", "serve"])
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)  # perhaps ignored by who started the tests
    yield app
    signal.signal(signal.SIGINT, inherited)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def status() -> int:
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_an_interrupt_of_the_running_server_ends_what_it_does(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    app.interrupts = True
    before = signal.getsignal(signal.SIGINT)
    assert status() == 130
    assert capsys.readouterr() == ("", "")
    assert signal.getsignal(signal.SIGINT) is before


def test_these_tests_end_where_whoever_runs_them_ignores_interrupts() -> None:
    """A shell's background job inherits SIGINT ignored: the test above waited for ever."""
    one = f"{__file__}::{test_an_interrupt_of_the_running_server_ends_what_it_does.__name__}"
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-m", "pytest", "-q", one]
    done = subprocess.run(command, cwd=SRC.parent, capture_output=True, text=True, timeout=60, check=False)
    assert "1 passed" in done.stdout


def test_the_server_may_open_as_many_files_as_the_system_grants(app: App, caplog: pytest.LogCaptureFixture) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    with caplog.at_level("DEBUG", "stigmer"):
        assert status() == 0
    assert app.open_files == hard
    assert {"event": "open files", "limit": hard} in [record.msg for record in caplog.records]


def test_a_limit_that_cannot_be_raised_is_lived_with(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    def refused(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    with monkeypatch.context() as patch:
        patch.setattr(resource, "setrlimit", refused)
        assert status() == 0
    assert app.open_files == 200


def test_a_complaint_s_text_cannot_steer_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise StartupError("a\x1b[31m\x85b\u2028\nc")

    monkeypatch.setattr("stigmer.cli.commands.run", refuse)
    assert status() == 1
    assert capsys.readouterr().err == "stigmer: a\\x1b[31m\\x85b\\u2028\nstigmer: c\n"
