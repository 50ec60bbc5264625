from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ended_command import Command


def test_whoami_tells_name_role_and_organizations(command: Command, server: str) -> None:
    done = command("auth", "whoami", "--server", server)
    assert (done.status, done.err) == (0, "")
    assert [line.split() for line in done.out.splitlines()] == [
        ["name", "local"],
        ["role", "admin"],
        ["organizations", "*"],
    ]


@pytest.mark.parametrize("permission", ["view", "can_view", "create-agent"])
def test_a_permission_that_one_has_is_yes(permission: str, command: Command, server: str) -> None:
    assert command("auth", "can-i", permission, "agent", "--server", server) == (0, "yes\n", "")


def test_a_resource_that_is_not_there_is_no(command: Command, server: str) -> None:
    assert command("auth", "can-i", "edit", "agent", "agt-none", "--server", server) == (1, "no\n", "")


@pytest.mark.parametrize(
    ("permission", "kind", "hint"),
    [
        ("vew", "agent", "did you mean 'view'?"),
        ("view", "agnet", "did you mean 'agent'?"),
        ("frobnicate", "agent", "can_create_agent"),
    ],
)
def test_a_word_that_is_none_suggests_another(permission: str, kind: str, hint: str, command: Command) -> None:
    done = command("auth", "can-i", permission, kind)
    assert done.status == 2
    assert hint in done.err


def test_no_server_says_how_to_start_one(command: Command) -> None:
    done = command("auth", "whoami", "--server", "127.0.0.1:1")
    assert (done.status, done.out) == (1, "")
    assert "start a server with `stigmer serve`" in done.err


def test_the_version_of_the_server_is_told_beside_the_command_s(command: Command, server: str) -> None:
    done = command("version", "--server", server)
    assert (done.status, done.err) == (0, "")
    own, of_server = done.out.splitlines()
    assert own.startswith("stigmer ")
    assert of_server == f"server {own.split()[1]}"


def test_the_version_without_a_server_says_so_and_is_no_failure(command: Command) -> None:
    done = command("version", "--server", "127.0.0.1:1")
    assert done.status == 0
    assert len(done.out.splitlines()) == 1
    assert done.err.startswith("no server: 127.0.0.1:1: ")


def test_the_version_of_the_command_alone_asks_nobody(command: Command) -> None:
    done = command("version", "--client", "--server", "127.0.0.1:1")
    assert (done.status, done.err) == (0, "")
