"""`make demo`, as a newcomer runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).parents[2] / "demo" / "main.py"


def test_the_demo_tells_the_main_job_from_the_first_call_to_the_end() -> None:
    done = subprocess.run([sys.executable, DEMO], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = [
        "caller │ created agent release-notes-writer",
        "caller │ created execution aex-",
        "… the server made one, through its loopback: ses-",
        "follower │ sees EXECUTION_PENDING",
        "runner │ reported: Reading the commits",
        "follower │ sees EXECUTION_COMPLETED: Done",
        "follower │ the stream ended: the execution is over",
        "server │ made the execution's session over the loopback",
        "The server stopped cleanly.",
    ]
    assert [line for line in told if line not in done.stdout] == []
