from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import stigmer
from stigmer.cli import COMMANDS, main

SRC = Path(stigmer.__file__).parents[1]
HEAVY = {"pydantic", "structlog", "grpclib", "h2", "betterproto2", "google", "rich", "asyncio"}


def run(*arguments: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("STIGMER_")}
    env |= {"PYTHONPATH": str(SRC), "HOME": str(home), **variables}
    command = [sys.executable, "-m", "stigmer", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_help_names_every_command_and_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, atexit; sys.argv = ['stigmer', '--help'];"
        "atexit.register(lambda: print('\\n'.join(sorted(sys.modules)), file=sys.stderr));"
        "from stigmer.cli import main; main()"
    )
    env = {**os.environ, "PYTHONPATH": str(SRC), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r};" + code],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    for name, line in COMMANDS.items():
        assert f"  {name}" in done.stdout
        assert line in done.stdout
    imported = {module.partition(".")[0] for module in done.stderr.splitlines()}
    assert "typer" in imported
    assert imported & HEAVY == set()


def test_no_command_shows_the_help(tmp_path: Path) -> None:
    done = run(home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: stigmer ")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_s_help_starts_with_its_line_in_the_list(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["stigmer", name, "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert COMMANDS[name] in capsys.readouterr().out


@pytest.mark.parametrize(
    "shown",
    ["--max-writes-per-principal-s N ", "--grace-s SECONDS ", "--max-memory-bytes BYTES", "--jwt-keys URL|FILE "],
)
def test_a_flag_s_help_has_the_unit_of_what_it_takes(
    shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["stigmer", "serve", "--help"])
    with pytest.raises(SystemExit):
        main()
    assert shown in f"{capsys.readouterr().out} "


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serv"], "No such command 'serv'. Did you mean 'serve'?"),
        (["frobnicate"], "No such command 'frobnicate'."),
        (["serve", "--no-such-flag"], "No such option: --no-such-flag"),
        (["serve", "--max-steams", "5"], "--max-streams"),
        (["serve", "now"], "now"),
        (["serve", "--log-format", "xml"], "Invalid value for '--log-format'"),
        (["serve", "--max-streams", "many"], "Invalid value for '--max-streams'"),
    ],
)
def test_wrong_usage_exits_with_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["stigmer", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("argument", ["version", "--version"])
def test_the_version_is_one_line(
    argument: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["stigmer", argument])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("stigmer ")


def test_a_startup_error_is_one_line_for_each_reason_and_no_traceback(tmp_path: Path) -> None:
    done = run("serve", "--listen", "nowhere", home=tmp_path, STIGMER_GRACE_S="-1")
    assert (done.returncode, done.stdout) == (1, "")
    assert [line.split(":")[:2] for line in done.stderr.splitlines()] == [
        ["stigmer", " --listen"],
        ["stigmer", " STIGMER_GRACE_S"],
    ]


@pytest.mark.parametrize(
    ("command", "flag"),
    [("serve", "--config"), ("serve", "--data-dir"), ("serve", "--tls-cert"), ("health", "--config")],
)
def test_an_empty_path_is_refused_by_its_flag(
    command: str, flag: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["stigmer", command, flag, ""])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"stigmer: {flag}: '': empty; give a path, or leave it out\n"


def test_the_health_check_warns_of_a_variable_that_is_no_setting(
    tmp_path: Path,
) -> None:
    done = run("health", home=tmp_path, STIGMER_LISTNE="127.0.0.1:1", STIGMER_LISTEN="127.0.0.1:1")
    warned, failed = done.stderr.splitlines()
    assert warned == (
        "stigmer: unknown variables: STIGMER_LISTNE (did you mean STIGMER_LISTEN?); correct or unset them"
    )
    assert failed.startswith("stigmer: 127.0.0.1:1: ")
