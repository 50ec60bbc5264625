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
        "reader │ may not create an agent: PERMISSION_DENIED",
        "editor │ created agent release-notes-writer",
        "editor │ created execution aex-",
        "… the server made one, by a call of its own: ses-",
        "… and keeps RELEASE_TOKEN sealed, apart from the execution: in that it is nowhere",
        "reader │ sees its callback token: ***REDACTED***",
        "reader │ asks for RELEASE_TOKEN: PERMISSION_DENIED",
        "reader │ sees EXECUTION_PENDING",
        "runner │ reads RELEASE_TOKEN: s3cr3t-of-this-run",
        "runner │ reported: Reading the commits",
        "reader │ sees EXECUTION_COMPLETED: Done",
        "runner │ reads RELEASE_TOKEN once more, now that it is over: NOT_FOUND",
        "reader │ the stream ended: the execution is over",
        "server │ AgentCommandController/create PERMISSION_DENIED",
        "server │ made the execution's session, by a call of its own",
        "The server stopped cleanly.",
    ]
    assert [line for line in told if line not in done.stdout] == []
    server = done.stdout.partition("the server logged")[2]
    assert "getByExecutionId NOT_FOUND" in server
    assert "s3cr3t" not in server
