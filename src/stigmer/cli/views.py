"""How an execution is shown: plain lines where output is piped, on a terminal colours and a region that lives.

On a terminal what is said stays above, for scrolling back; below it stand phase, time, the tools that run and the plan.
"""

from __future__ import annotations

import sys
import time
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Protocol

import typer

from stigmer.cli.phases import FINAL, phase_of
from stigmer.cli.transcript import Transcript, todos, word
from stigmer.telemetry.log_stream import printable

if TYPE_CHECKING:
    from collections.abc import Generator

    from rich.console import Console, Group
    from rich.live import Live

    from stigmer.cli.transcript import Line
    from stigmer.client import Client
    from stigmer.types import AgentExecution

_STYLES = {"ai": "bold", "error": "red", "human": "cyan", "phase": "magenta", "tool": "blue", "todo": "yellow"}
_REFRESHES_PER_S = 8


class View(Protocol):
    """Shows lines, and the state that they are of."""

    def show(self, state: AgentExecution, *, is_last: bool = False) -> None:
        """Show what is new in it; `is_last` says that none will follow."""


class Plain:
    """A line of output for each line of news, those that go on indented."""

    def __init__(self) -> None:
        self._transcript = Transcript()

    def show(self, state: AgentExecution, *, is_last: bool = False) -> None:
        """Print what is new."""
        for line in self._transcript.news(state, is_last=is_last):
            typer.echo(_text(line))


class Lively:
    """Colours, and the region that lives until it is left.

    Args:
        console: the terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console, self._transcript = console, Transcript()
        self._began_s = time.monotonic()
        self._state: AgentExecution | None = None

    def show(self, state: AgentExecution, *, is_last: bool = False) -> None:
        """Print what is new above the region."""
        from rich.text import Text  # noqa: PLC0415  # not wanted for help

        self._state = state
        for line in self._transcript.news(state, is_last=is_last):
            style = _STYLES.get(line.label.partition(" ")[0], "")
            self._console.print(Text(_text(line), style=style), soft_wrap=True)

    def live(self) -> Live:
        """The region, to be entered."""
        from rich.live import Live  # noqa: PLC0415  # as above

        return Live(
            console=self._console,
            get_renderable=self._now,
            refresh_per_second=_REFRESHES_PER_S,
            transient=True,
        )

    def _now(self) -> Group:
        from rich.console import Group  # noqa: PLC0415  # as above
        from rich.spinner import Spinner  # noqa: PLC0415  # as above
        from rich.text import Text  # noqa: PLC0415  # as above

        phase = phase_of(self._state) if self._state is not None else "…"
        if self._state is None or self._state.status is None or phase in FINAL:
            return Group(Text(phase))
        status = self._state.status
        running = [one.name for one in status.tool_calls if word(one.status, "TOOL_CALL_") == "RUNNING"]
        rows = [*(f"  tool {name}" for name in running), *(f"  {text}" for _, text in todos(status))]
        spent_s = time.monotonic() - self._began_s
        return Group(
            Spinner("dots", Text(f"{phase} {spent_s:.0f} s", style="magenta")),
            *(Text(printable(row), no_wrap=True, overflow="ellipsis") for row in rows),
        )


@contextmanager
def view(*, lives: bool) -> Generator[View]:
    """A view for where standard output goes to.

    Args:
        lives: whether states will follow the first.
    """
    if not sys.stdout.isatty():
        yield Plain()
        return
    from rich.console import Console  # noqa: PLC0415  # not wanted for help

    console = Console(highlight=False)
    shown = Lively(console)
    if lives and not console.is_dumb_terminal:
        with shown.live():
            yield shown
    else:
        yield shown


async def follow(client: Client, execution: str) -> str:
    """Show an execution to its end; the phase that it ended in. Raises StigmerError."""
    phase = ""
    with view(lives=True) as shown:
        async with aclosing(client.executions.watch(execution)) as states:
            async for state in states:
                shown.show(state)
                phase = phase_of(state)
    return phase


def _text(line: Line) -> str:
    first, *others = line.text.splitlines() or [""]
    return "\n".join([f"{printable(line.label)}: {printable(first)}", *(f"  {printable(one)}" for one in others)])
