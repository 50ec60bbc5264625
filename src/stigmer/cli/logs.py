"""`stigmer logs`: what an execution has done, and does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stigmer.cli.calling import Callee, on_server

if TYPE_CHECKING:
    from stigmer.client import Client


@on_server
def logs(
    callee: Callee,
    execution: Annotated[str, typer.Argument(metavar="EXECUTION", help="Its id.")],
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it has ended.")] = False,
) -> None:
    """Show what an execution has done, and does.

    Phases, messages, tool calls and todos, a line each; with --follow on a terminal a view that lives.
    """
    from stigmer.cli import views  # noqa: PLC0415  # not wanted for help

    if follow:
        callee.use(lambda client: views.follow(client, execution), answer_s=None)
    else:
        callee.use(lambda client: _shown(client, execution))


async def _shown(client: Client, execution: str) -> None:
    from stigmer.cli import views  # noqa: PLC0415  # as above

    state = await client.executions.get(execution)
    with views.view(lives=False) as shown:
        shown.show(state, is_last=True)
