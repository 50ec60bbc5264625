"""`stigmer run` and `stigmer logs`, in processes of their own: at pipes, and at a pseudo-terminal."""

from __future__ import annotations

import errno
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import stigmer
from stigmer.types import AgentExecutionStatus, AgentMessage, ExecutionPhase, MessageType

if TYPE_CHECKING:
    from collections.abc import Generator

    from ended_command import Command

    from stigmer.sync import Client

SRC = Path(stigmer.__file__).parents[1]
ID = re.compile(r"aex-[0-9a-z]{26}")


@pytest.fixture
def agent(client: Client) -> str:
    client.agents.apply(name="Runner's", instructions="Do it, and tell when it is done.")
    return "acme/runners"


def environment(home: Path, **more: str) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("STIGMER_")}
    return {**env, "PYTHONPATH": str(SRC), "HOME": str(home), "TERM": "xterm", **more}


def piped(*arguments: str, home: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stigmer", *arguments]
    return subprocess.run(
        command, env=environment(home), input=stdin, capture_output=True, text=True, check=False, timeout=60
    )


class Terminal:
    """A command at a pseudo-terminal; `seen` is what it has shown so far."""

    def __init__(self, process: subprocess.Popen[bytes], fd: int) -> None:
        self.process, self.fd, self.seen = process, fd, ""

    def until(self, pattern: str) -> str:
        """Read on until something like it was shown; what was."""
        while (match := re.search(pattern, self.seen)) is None:
            more = self._more()
            assert more, self.seen
            self.seen += more
        return match[0]

    def ended(self) -> int:
        while more := self._more():
            self.seen += more
        return self.process.wait(60)

    def _more(self) -> str:
        try:
            return os.read(self.fd, 65536).decode(errors="replace")
        except OSError as error:
            if error.errno != errno.EIO:  # which is how Linux tells that nobody has the other side any more
                raise
            return ""


@contextmanager
def terminal(*arguments: str, home: Path) -> Generator[Terminal]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "stigmer", *arguments],
        env=environment(home),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def report(client: Client, execution: str, phase: str, *said: str) -> None:
    messages = [AgentMessage(type=MessageType.MESSAGE_AI, content=text) for text in said]
    status = AgentExecutionStatus(phase=ExecutionPhase[f"EXECUTION_{phase}"], messages=messages)
    client.executions.update_status(execution=execution, status=status)


def test_detached_it_prints_the_id_alone(agent: str, command: Command, server: str, client: Client) -> None:
    done = command("run", agent, "-m", "Do it.", "--detach", "--server", server)
    assert (done.status, done.err) == (0, "")
    found = client.executions.get(done.out.strip())
    assert found.spec is not None
    assert found.spec.message == "Do it."


def test_values_and_secrets_come_to_the_context_and_no_secret_by_an_argument(
    agent: str, server: str, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "key.pem").write_text("line 1\nline 2\n")
    flags = ("--env", "TZ=UTC", "--secret", "TOKEN", "--secret-file", f"KEY={tmp_path / 'key.pem'}")
    done = piped("run", agent, "-m", "Do it.", "--detach", *flags, "--server", server, home=tmp_path, stdin="t-1\n")
    assert (done.returncode, done.stderr) == (0, "")
    context = client.contexts.get_by_execution_id(execution=done.stdout.strip())
    assert context.spec is not None
    got = {key: (one.value, one.is_secret) for key, one in context.spec.data.items()}
    assert got == {"TZ": ("UTC", False), "TOKEN": ("t-1", True), "KEY": ("line 1\nline 2", True)}


@pytest.mark.parametrize(
    ("flags", "hint"),
    [
        (("--secret", "TOKEN=hunter2"), "give the key alone"),
        (("--env", "TZ"), "write KEY=VALUE"),
        (("--env", "A=1", "--env", "A=2"), "A is given twice"),
        (("--secret-file", "K=/nowhere"), "give a text file that is there"),
        (("--secret", "A", "--secret", "B"), "a line for each of A, B"),
    ],
)
def test_values_that_are_none_are_wrong_usage(flags: tuple[str, ...], hint: str, tmp_path: Path) -> None:
    done = piped("run", "acme/x", "-m", "Do it.", *flags, home=tmp_path, stdin="one\n")
    assert done.returncode == 2
    assert hint in " ".join(done.stderr.split())
    assert "hunter2" not in done.stderr


def test_an_agent_that_is_not_there_is_a_failure(command: Command, server: str) -> None:
    done = command("run", "acme/nobody", "-m", "Do it.", "--server", server)
    assert (done.status, done.out) == (1, "")
    assert "NOT_FOUND" in done.err


@pytest.mark.parametrize("end", [("COMPLETED", 0), ("FAILED", 3), ("CANCELLED", 3)])
def test_followed_on_a_terminal_it_shows_what_is_said_and_its_status_is_the_end(
    end: tuple[str, int], agent: str, server: str, client: Client, tmp_path: Path
) -> None:
    phase, status = end
    with terminal("run", agent, "-m", "Do it.", "--server", server, home=tmp_path) as shown:
        execution = shown.until(ID.pattern)
        shown.until("PENDING")
        report(client, execution, "IN_PROGRESS", "I look at it.")
        shown.until(r"IN_PROGRESS \d+ s")
        report(client, execution, phase, "I look at it.", "Well \x1b[31mdone.")
        assert shown.ended() == status
    assert "ai: I look at it." in shown.seen
    assert "ai: Well \\x1b[31mdone." in shown.seen


def test_a_secret_is_asked_for_on_a_terminal_and_not_shown(
    agent: str, server: str, client: Client, tmp_path: Path
) -> None:
    flags = ("--secret", "TOKEN", "--detach", "--server", server)
    with terminal("run", agent, "-m", "Do it.", *flags, home=tmp_path) as shown:
        shown.until("TOKEN: ")
        os.write(shown.fd, b"hunter2\n")
        execution = shown.until(ID.pattern)
        assert shown.ended() == 0
    assert "hunter2" not in shown.seen
    context = client.contexts.get_by_execution_id(execution=execution)
    assert context.spec is not None
    assert context.spec.data["TOKEN"].value == "hunter2"


def test_an_interrupt_ends_it_quietly_and_the_execution_goes_on(
    agent: str, server: str, client: Client, tmp_path: Path
) -> None:
    with terminal("run", agent, "-m", "Do it.", "--server", server, home=tmp_path) as shown:
        execution = shown.until(ID.pattern)
        shown.until("PENDING")
        shown.process.send_signal(signal.SIGINT)
        assert shown.ended() == 130
    assert "Traceback" not in shown.seen
    found = client.executions.get(execution)
    assert found.status is not None
    assert found.status.phase.name == "EXECUTION_PENDING"


def test_logs_at_a_pipe_are_plain_lines(agent: str, command: Command, server: str, client: Client) -> None:
    execution = command("run", agent, "-m", "Do it.", "--detach", "--server", server).out.strip()
    report(client, execution, "COMPLETED", "One.\nTwo.")
    for flags in ((), ("--follow",)):
        done = command("logs", execution, *flags, "--server", server)
        assert done == (0, "ai: One.\n  Two.\nphase: COMPLETED\n", "")


def test_logs_of_what_is_not_there_are_a_failure(command: Command, server: str) -> None:
    assert command("logs", "aex-none", "--server", server).status == 1


def test_a_pipe_that_is_closed_is_no_error(agent: str, command: Command, server: str, client: Client) -> None:
    execution = command("run", agent, "-m", "Do it.", "--detach", "--server", server).out.strip()
    report(client, execution, "COMPLETED", *("Line." for _ in range(200)))
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "stigmer", "logs", execution, "--server", server],
            env=environment(Path.home()),
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        os.close(writer)
    assert "Traceback" not in done.stderr
    assert done.stderr == ""
