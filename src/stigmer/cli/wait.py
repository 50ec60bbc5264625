"""`stigmer wait`: until an execution has come to a phase."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from stigmer.cli import ENDED_OTHERWISE, NOT_IN_TIME
from stigmer.cli.calling import Callee, on_server
from stigmer.cli.phases import phase_named, phase_of

if TYPE_CHECKING:
    from stigmer.client import Client

_PREFIX = "phase="
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")


@on_server
def wait(
    callee: Callee,
    execution: Annotated[str, typer.Argument(metavar="EXECUTION", help="Its id.")],
    *,
    condition: Annotated[
        str, typer.Option("--for", metavar="phase=PHASE", help="What to wait for; phases may be listed by commas.")
    ] = "phase=COMPLETED",
    timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="How long, as 90, 30s, 5m or 1h. [as long as it takes]")
    ] = None,
) -> None:
    """Wait until an execution has come to a phase.

    Prints the phase. Exit status: 0 it has; 3 it ended in another one, which is printed; 4 it has not within the time.
    """
    phases, within_s = _phases(condition), None if timeout is None else _seconds(timeout)
    reached = callee.use(lambda client: _phase(client, execution, phases, within_s), answer_s=None)
    if reached is None:
        typer.echo(f"{execution} has not come to {' or '.join(sorted(phases))} within {timeout}", err=True)
        raise typer.Exit(NOT_IN_TIME)
    typer.echo(reached)
    if reached not in phases:
        raise typer.Exit(ENDED_OTHERWISE)


async def _phase(client: Client, execution: str, phases: frozenset[str], within_s: float | None) -> str | None:
    """The first of the phases that it is seen in, else the one that it ends in; None where neither comes in time."""
    reached = ""
    try:
        async with asyncio.timeout(within_s), aclosing(client.executions.watch(execution)) as states:
            async for state in states:
                reached = phase_of(state)
                if reached in phases:
                    break
    except TimeoutError:
        return None
    return reached


def _phases(condition: str) -> frozenset[str]:
    """The phases that a condition names. Raises typer.BadParameter."""
    if not condition.startswith(_PREFIX):
        raise typer.BadParameter(f"{condition!r}: write phase=COMPLETED, or another phase", param_hint="--for")
    try:
        return frozenset(map(phase_named, condition.removeprefix(_PREFIX).split(",")))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--for") from None


def _seconds(text: str) -> float:
    """How long a text such as 5m says. Raises typer.BadParameter."""
    if (match := _DURATION.fullmatch(text)) is None:
        raise typer.BadParameter(f"{text!r}: write seconds, or a time like 30s, 5m or 1h", param_hint="--timeout")
    return float(match[1]) * _UNITS_S[match[2] or "s"]
