from __future__ import annotations

import asyncio
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest

from stigmer.cli import main, process
from stigmer.errors import StartupError
from stigmer.settings import SECTIONS, Settings
from stigmer.telemetry import logs

if TYPE_CHECKING:
    from pathlib import Path


SWITCHES = [name for name, field in Settings.model_fields.items() if isinstance(field.default, bool)]


class App:
    """Stands in for `cli.process`, which would run until a signal."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.loop = ""
        self.failure: BaseException | None = None

    async def serve(self, settings: Settings) -> None:
        self.settings = settings
        self.loop = type(asyncio.get_running_loop()).__module__
        if self.failure:
            raise self.failure


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.setenv("HOME", str(tmp_path))
    app = App()
    monkeypatch.setattr(process, "serve_until_signal", app.serve)
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    return app


def serve(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["stigmer", "serve", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0)


def test_flags_reach_the_server_and_win_over_variables(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STIGMER_LISTEN", "127.0.0.1:1")
    monkeypatch.setenv("STIGMER_MAX_STREAMS", "5")
    assert serve("--listen", "127.0.0.1:2", "--grace-s", "0.5", "--log-level", "debug") == 0
    assert app.settings.listen == ("127.0.0.1:2",)
    assert (app.settings.max_streams, app.settings.grace_s, app.settings.log_level) == (5, 0.5, "debug")


def test_every_setting_has_a_flag(app: App, tmp_path: Path) -> None:
    pem = tmp_path / "x.pem"
    pem.touch()
    values: dict[str, Any] = {
        "config": pem, "listen": "h:1", "data_dir": tmp_path, "log_level": "error", "log_format": "json",
        "metrics": "h:2",
        "tls_cert": pem, "tls_key": pem, "tls_client_ca": pem, "tokens_file": pem, "certificates_file": pem,
        "jwt_issuer": "i", "jwt_audience": "a", "jwt_keys": pem, "jwt_algorithms": "ES256", "jwt_name_claim": "n",
        "jwt_name_prefix": "p:", "jwt_role_claim": "r", "jwt_organizations_claim": "o", "jwt_default_role": "runner",
        "keyring_file": pem, "context_ttl": 3600.0, "audit_checkpoint_file": pem, "audit_days": 7,
        "max_message_bytes": 1, "max_message_parts": 9,
        "max_resource_bytes": 8,
        "max_streams": 2, "max_connections": 21, "max_idle_connections": 22, "max_connection_memory_bytes": 23,
        "max_memory_bytes": 46,
        "memory_wait_s": 24.0, "request_timeout_s": 25.0, "reply_timeout_s": 26.0, "handshake_timeout_s": 27.0,
        "idle_connection_s": 28.0, "max_subscriptions": 3, "keepalive_s": 4.0, "keepalive_timeout_s": 5.0,
        "max_calls_per_principal": 29, "max_writes_per_principal_s": 30, "max_subscriptions_per_principal": 31,
        "grace_s": 6.0,
    }  # fmt: skip
    assert set(values) | set(SWITCHES) == set(Settings.model_fields)
    flags = [part for name, value in values.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    assert serve(*flags, *(f"--no-{name.replace('_', '-')}" for name in SWITCHES)) == 0
    assert app.settings.model_dump() == {
        **values,
        "listen": ("h:1",),
        "jwt_algorithms": ("ES256",),
        **dict.fromkeys(SWITCHES, False),
    }


def test_uvloop_runs_the_server_where_it_is_wanted_and_installed(app: App) -> None:
    serve()
    assert app.loop.startswith("uvloop")
    serve("--no-uvloop")
    assert app.loop.startswith("asyncio")


def test_without_uvloop_asyncio_runs_the_server(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert serve() == 0
    assert app.loop.startswith("asyncio")


def test_a_server_that_cannot_start_exits_with_1_and_its_line(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    app.failure = StartupError("the port is taken; choose another with --listen")
    assert serve() == 1
    assert capsys.readouterr().err == "stigmer: the port is taken; choose another with --listen\n"


def test_an_interrupt_is_quiet(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    app.failure = KeyboardInterrupt()
    assert serve() == 130
    assert capsys.readouterr() == ("", "")


def test_the_first_line_says_what_it_starts_with(app: App, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "stigmer"):
        serve("--listen", "127.0.0.1:7000", "--data-dir", "/somewhere")
    (record,) = caplog.records
    assert isinstance(record.msg, logs.Event)
    assert record.msg == {
        "event": "stigmer starts",
        "listen": "127.0.0.1:7000",
        "data_dir": "/somewhere",
        "config": "none",
    }


def test_the_log_warns_of_variables_that_are_no_setting(
    app: App, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STIGMER_LISTNE", "127.0.0.1:1")
    monkeypatch.setenv("STIGMER_TOKEN", "of the client")
    with caplog.at_level("WARNING", "stigmer"):
        assert serve() == 0
    (record,) = caplog.records
    assert record.msg == {
        "event": "unknown variables: STIGMER_LISTNE (did you mean STIGMER_LISTEN?); correct or unset them"
    }


def test_the_help_has_every_flag_under_its_heading(capsys: pytest.CaptureFixture[str]) -> None:
    assert serve("--help") == 0
    text = capsys.readouterr().out
    lines = [line for line in text.splitlines() if re.match(r"\w.*:$|  --", line)]
    flags = {name: f"  --{name.replace('_', '-')}" for name in Settings.model_fields}
    wanted = [line for name, flag in flags.items() for line in (f"{SECTIONS.get(name, '')}:", flag) if line != ":"]
    assert [line if line.endswith(":") else line[: line.index(" ", 2)] for line in lines] == ["Options:", *wanted]
