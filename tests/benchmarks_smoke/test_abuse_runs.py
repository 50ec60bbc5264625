"""The attacks run: so short that their figures mean nothing. Nothing here is timed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(tmp_path: Path, *names: str) -> list[list[str]]:
    """The cells of the rows that a short run writes."""
    out = tmp_path / "ABUSE.md"
    lengths = ["--each", "0.5", "--all", "0.5", "--loop", "asyncio", "--smoke"]
    files = ["--out", str(out), "--dir", str(tmp_path)]
    command = [sys.executable, "-m", "benchmarks.abuse", *lengths, *files, *(["--only", *names] if names else [])]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    return [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in out.read_text().splitlines() if line[:5] == "| asy"
    ]


def test_an_attack_is_run_alone_and_with_the_others(tmp_path: Path) -> None:
    rows = run(tmp_path, "half_sent_large", "refused_calls")

    together = ["all at once", "all at once, one address for all"]
    assert [row[1] for row in rows] == ["half_sent_large", "refused_calls", *together]
    assert "closed" in rows[0][-1]
    assert "UNIMPLEMENTED" in rows[1][-1]
    assert all(float(row[2]) > 0 and float(row[3]) > 0 for row in rows)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_attack_reaches_the_server(tmp_path: Path) -> None:
    rows = run(tmp_path)

    assert len(rows) > 25
    assert not [row[1] for row in rows if "did not end" in row[-1]]
