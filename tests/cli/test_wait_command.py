from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ended_command import Command

    from stigmer.sync import Client


@pytest.fixture
def execution(client: Client) -> str:
    agent = client.agents.apply(name="Waited for", instructions="Do it, and tell when it is done.")
    made = client.executions.create(agent=agent, message="Do it.")
    assert made.metadata is not None
    return made.metadata.id


def test_the_phase_that_it_is_in_already_is_success(command: Command, server: str, execution: str) -> None:
    assert command("wait", execution, "--for", "phase=pending", "--server", server) == (0, "PENDING\n", "")


def test_a_phase_that_comes_later_is_waited_for(command: Command, server: str, execution: str, client: Client) -> None:
    report = threading.Timer(
        0.2,
        client.executions.update_status,
        kwargs={"execution": execution, "status": {"phase": "EXECUTION_COMPLETED"}},
    )
    report.start()
    assert command("wait", execution, "--timeout", "1m", "--server", server) == (0, "COMPLETED\n", "")
    report.join()


def test_another_end_is_told_by_the_status(command: Command, server: str, execution: str, client: Client) -> None:
    client.executions.update_status(execution=execution, status={"phase": "EXECUTION_FAILED"})
    assert command("wait", execution, "--server", server) == (3, "FAILED\n", "")
    assert command("wait", execution, "--for", "phase=COMPLETED,FAILED", "--server", server).status == 0


def test_what_does_not_come_in_time_has_a_status_of_its_own(command: Command, server: str, execution: str) -> None:
    done = command("wait", execution, "--timeout", "50ms", "--server", server)
    assert (done.status, done.out) == (4, "")
    assert f"{execution} has not come to COMPLETED within 50ms" in done.err


def test_an_execution_that_is_not_there_is_a_failure(command: Command, server: str) -> None:
    done = command("wait", "aex-none", "--server", server)
    assert (done.status, done.out) == (1, "")
    assert "NOT_FOUND" in done.err


@pytest.mark.parametrize(
    ("flag", "value", "hint"),
    [
        ("--for", "phase=DONE", "there are PENDING, IN_PROGRESS, COMPLETED, FAILED, CANCELLED"),
        ("--for", "ready", "write phase=COMPLETED"),
        ("--timeout", "soon", "30s, 5m or 1h"),
    ],
)
def test_what_cannot_be_waited_for_is_wrong_usage(flag: str, value: str, hint: str, command: Command) -> None:
    done = command("wait", "aex-1", flag, value)
    assert done.status == 2
    assert hint in " ".join(done.err.split())
