"""`stigmer version`: of this command, and of the server that it would call."""

from __future__ import annotations

from typing import Annotated

import typer

from stigmer.cli.calling import Callee, on_server
from stigmer.cli.commands import own_version
from stigmer.errors import StartupError

_ANSWER_S = 3.0


@on_server
def version(
    callee: Callee,
    *,
    client: Annotated[bool, typer.Option("--client", help="This command's alone; no server is asked.")] = False,
) -> None:
    """Print the versions of this command and of the server.

    Where no server is reachable, stderr says so, and the exit status is 0 all the same.
    """
    typer.echo(own_version())
    if client:
        return
    try:
        found = callee.use(lambda one: one.with_options(max_retries=0).caller.whoami(), answer_s=_ANSWER_S)
    except StartupError as error:
        typer.echo(f"no server: {error}", err=True)
    else:
        typer.echo(f"server {found.server_version}")
