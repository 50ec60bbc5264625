from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from ended_command import Command


def test_a_profile_that_is_set_is_listed_used_and_called(command: Command, server: str, tmp_path: Path) -> None:
    assert command("config", "set", "home", f"server={server}", "org=acme").status == 0
    assert command("config", "set", "none", "server=127.0.0.1:1", "org=globex", "org=").status == 0
    assert command("config", "list").out.splitlines()[1:] == [f"*  home  {server}  acme", "   none  127.0.0.1:1      -"]
    assert command("auth", "whoami").status == 0
    assert command("auth", "whoami", "--profile", "none").status == 1
    assert command("config", "use", "none").status == 0
    assert command("auth", "whoami").status == 1
    assert command("auth", "whoami", "--profile", "home").status == 0
    assert command("auth", "whoami", "--server", server).status == 0
    assert command("config", "path").out == f"{tmp_path / 'config' / 'stigmer' / 'config.toml'}\n"


def test_a_token_is_no_argument_and_not_repeated(command: Command) -> None:
    done = command("config", "set", "home", "token=hunter2")
    assert done.status == 1
    assert "token_file=FILE" in done.err
    assert "hunter2" not in done.err


def test_what_is_no_setting_or_no_profile_is_refused(command: Command) -> None:
    assert "colour is no setting" in command("config", "set", "home", "colour=red").err
    assert "there is no profile 'work'" in command("config", "use", "work").err
    assert "`stigmer config set` makes it" in command("auth", "whoami", "--profile", "work").err
