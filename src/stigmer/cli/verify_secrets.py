"""`stigmer verify-secrets`: proves that no secret value turns up where none may be."""

from __future__ import annotations

import asyncio
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stigmer.cli import FAILED, INTERRUPTED, interrupts_raise

if TYPE_CHECKING:
    from stigmer.proof.run import Report

BROKEN = 2


def verify_secrets(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Some seconds: fewer broken requests, one kill.")] = False,
) -> None:
    """Search all that a server leaves behind for secret values.

    It plants the values, makes every call and many that must fail, and touches no server and no data but its own, in a
    temporary directory. Exit status: 0 none was found; 1 one was
    found, and the channel and the form are told; 2 the search itself missed something, and proves nothing.
    """
    from stigmer.proof.run import Run  # noqa: PLC0415  # not wanted for the command's help

    interrupts_raise()
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="stigmer-verify-") as directory:
            report = asyncio.run(Run(Path(directory), quick=quick).all())
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:  # whatever it is: what was not done proves nothing
        traceback.print_exc()
        raise typer.Exit(BROKEN) from error
    _tell(report, time.monotonic() - started)
    if report.findings:
        raise typer.Exit(FAILED)
    if report.wrong:
        raise typer.Exit(BROKEN)


def _tell(report: Report, took_s: float) -> None:
    codes = ", ".join(f"{number} {code}" for code, number in report.calls.most_common())
    typer.echo(f"Planted {report.values} values, in {report.calls.total()} calls: {codes}")
    for channel, size in sorted(report.bytes.items()):
        typer.echo(f"Searched {channel}: {size} bytes")
    for one in report.left_out:
        typer.echo(f"Left out {one}")
    for finding in report.findings:
        typer.echo(f"FOUND in {finding}")
    for one in report.wrong:
        typer.echo(f"The search is broken: {one}")
    if not report.findings and not report.wrong:
        typer.echo(f"None was found, and every one that was planted on purpose; it took {took_s:.1f} s")
