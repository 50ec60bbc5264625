"""`stigmer delete`: resources by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from stigmer.cli.asking import Asking, DryRun, Org, ask
from stigmer.cli.calling import Callee, on_server
from stigmer.errors import NotFound, StartupError

if TYPE_CHECKING:
    import stigmer


@on_server
def delete(
    callee: Callee,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="Such as agent, or instances.")],
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Slugs, ORG/SLUG or ids.")],
    *,
    org: Org = "",
    dry_run: DryRun = False,
) -> None:
    """Delete resources.

    What belongs to them goes too. Prints a line for each; exits with 1 where one is not there, and deletes the others.
    """
    from stigmer.cli.kinds import kind_of  # noqa: PLC0415  # not wanted for the command's help
    from stigmer.cli.printing import say  # noqa: PLC0415  # as above

    wanted = kind_of(kind)

    async def work(client: stigmer.Client) -> list[str]:
        resources: Any = getattr(client, wanted.plural)
        missing: list[str] = []
        for name in names:
            try:
                await resources.delete(name)
            except NotFound as error:
                missing.append(error.message)
            else:
                say(f"{wanted.singular}/{name.rpartition('/')[2]} deleted{' (dry run)' if dry_run else ''}\n")
        return missing

    if missing := ask(callee, work, Asking(org, dry_run=dry_run)):
        raise StartupError("\n".join(missing))
