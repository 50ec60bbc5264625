"""`stigmer verify-secrets`: a quick run finds nothing; what a run finds, or misses, is told by line and status."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from measured import MEASURED

from stigmer.cli import main
from stigmer.proof import channels, self_check
from stigmer.proof.run import Report, Run
from stigmer.proof.search import Finding, Search

if TYPE_CHECKING:
    from pathlib import Path

CHANNELS = (
    *("database file", "write-ahead log", "backup", "rows of the backup", "log", "log records of a host", "spans"),
    *("metrics", "errors", "lists and streams", "replies to who may see no secrets", "log of a server that is killed"),
    "checkpoints of the audit",
)


def test_a_quick_run_searches_everything_and_finds_nothing() -> None:  # it is the proof, and takes some ten seconds
    command = [sys.executable, "-m", "stigmer", "verify-secrets", "--quick"]
    done = subprocess.run(command, env={**os.environ, **MEASURED}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "None was found, and every one that was planted on purpose" in done.stdout
    for channel in CHANNELS:
        assert f"Searched {channel}: " in done.stdout


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_whole_run_finds_nothing_either() -> None:
    command = [sys.executable, "-m", "stigmer", "verify-secrets"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], report: Report) -> tuple[int, str]:
    """Status and words of the command, where a run has that report."""

    async def reported(_: Run) -> Report:
        return report

    monkeypatch.setattr(Run, "all", reported)
    monkeypatch.setattr(sys, "argv", ["stigmer", "verify-secrets"])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0), capsys.readouterr().out


def test_a_finding_is_told_by_channel_value_and_form(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report([Finding("log", "hex", "Agent spec.env_spec.data")], ["x"], ["spans: no SDK"], Counter({"OK": 1}))
    status, out = told(monkeypatch, capsys, report)
    assert status == 1
    assert "FOUND in log: Agent spec.env_spec.data, hex\n" in out
    assert "Left out spans: no SDK\n" in out


def test_a_search_that_is_broken_has_a_status_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out = told(monkeypatch, capsys, Report(wrong=["no call succeeded: /x/Y"]))
    assert status == 2
    assert "The search is broken: no call succeeded: /x/Y\n" in out


def test_a_run_that_fails_on_the_way_is_no_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def failing(_: Run) -> Report:
        raise OSError("no space left")

    monkeypatch.setattr(Run, "all", failing)
    monkeypatch.setattr(sys, "argv", ["stigmer", "verify-secrets"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "no space left" in capsys.readouterr().err


def test_a_search_that_looks_past_a_form_or_a_channel_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log").touch()
    assert self_check.missed_forms() == []
    look = Search.look

    def blind(self: Search, channel: str, data: bytes) -> None:
        if channel != "write-ahead log":
            look(self, channel, data.replace(b"%", b""))

    monkeypatch.setattr(Search, "look", blind)
    assert "form: URL-escaped" in self_check.missed_forms()
    missed = self_check.missed_channels(tmp_path / "planted", tmp_path / "log", None)
    assert "write-ahead log: text raw" in missed
    assert not any(one.startswith("database file: ") for one in missed)


def test_spans_are_left_out_where_the_sdk_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert channels.recorded_spans() is None
