"""`stigmer run`: have an agent do something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stigmer.cli.calling import Callee, on_server
from stigmer.cli.phases import exit_status
from stigmer.cli.run_values import runtime_env

if TYPE_CHECKING:
    from stigmer.client import Client
    from stigmer.client.dicts import ExecutionValueDict


@on_server
def run(  # noqa: PLR0913  # one flag each
    callee: Callee,
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Its id, ORG/SLUG, or with --org its slug.")],
    *,
    message: Annotated[str, typer.Option("--message", "-m", metavar="TEXT", help="What the agent is to do.")],
    env: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A value for this run; may be repeated.")
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="A secret one, asked for, or read from a pipe; may be repeated."),
    ] = None,
    secret_file: Annotated[
        list[str] | None, typer.Option(metavar="KEY=FILE", help="A secret one in a file; may be repeated.")
    ] = None,
    org: Annotated[
        str | None, typer.Option(metavar="ORG", envvar="STIGMER_ORG", help="Organization of agent and session.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow/--detach", help="To its end; or print its id alone, and leave it.")
    ] = True,
) -> None:
    """Have an agent do something, and follow it to its end.

    Exit status: 0 it ended COMPLETED, 3 otherwise; with --detach 0 as soon as it is there. Ctrl-C leaves the execution
    as it is: `stigmer logs ID --follow` goes on.
    """
    values = runtime_env(env or (), secret or (), secret_file or ())
    phase = callee.use(lambda client: _run(client, agent, message, values, follows=follow), answer_s=None, org=org)
    if follow:
        raise typer.Exit(exit_status(phase))


async def _run(
    client: Client, agent: str, message: str, values: dict[str, ExecutionValueDict], *, follows: bool
) -> str:
    """Create the execution, and follow it where that is wanted; the phase that it ended in."""
    from stigmer.cli import views  # noqa: PLC0415  # not wanted for help

    made = await client.executions.create(agent=agent, message=message, runtime_env=values)
    id_ = made.metadata.id if made.metadata is not None else ""
    typer.echo(id_, err=follows)
    return await views.follow(client, id_) if follows else ""
