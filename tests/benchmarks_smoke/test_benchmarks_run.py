"""The benchmarks run: with sizes at which their figures mean nothing. Nothing here is timed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_benchmarks_run_and_write_every_table(tmp_path: Path) -> None:
    out = tmp_path / "RESULTS.md"
    command = [sys.executable, "-m", "benchmarks", "--smoke", "--out", str(out), "--dir", str(tmp_path)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    text = out.read_text()
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    for begin in (
        "get, 64 callers",
        "create, 64 callers",
        "subscribe, ",
        "list, a page of 1000",
        "updateStatus, 1,600 messages",
        "AgentExecution.create",
        "loopback create",
        "get by stigmer.Client",
        "get through",
        "get with a token",
        "get with a JWT",
        "get of 20 values, 10 secret, 64 callers",
        "create of 20 values, 10 secret, 1 caller",
        "memory at start",
    ):
        assert any(row.startswith(begin) for row in rows), begin
    assert text.count("met") >= 7
