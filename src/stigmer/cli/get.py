"""`stigmer get`: resources of a kind, all of them or by name."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stigmer.cli.asking import Asking, Org, ShowSecrets, ask
from stigmer.cli.calling import Callee, on_server
from stigmer.errors import StartupError

if TYPE_CHECKING:
    import stigmer

PAGE_SIZE = 100
"""How many entries one call brings."""


class Output(StrEnum):
    """How resources are printed."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


@on_server
def get(  # noqa: PLR0913  # one flag each
    callee: Callee,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="Such as agents, or instance; `exec` for executions.")],
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Slugs, ORG/SLUG or ids.")] = None,
    *,
    output: Annotated[Output, typer.Option("--output", "-o", help="How to print.")] = Output.TABLE,
    tags: Annotated[str, typer.Option(metavar="TAG,TAG", help="Only those with all of these tags.")] = "",
    selector: Annotated[
        str, typer.Option("--selector", "-l", metavar="a=b,c!=d", help="Only those whose labels fit.")
    ] = "",
    org: Org = "",
    show_secrets: ShowSecrets = False,
    full: Annotated[bool, typer.Option("--full", help="With -o yaml: also what the server owns.")] = False,
) -> None:
    """Print resources, as a table, JSON or YAML.

    Those named, else all that you may see, newest first.

    Exits with 1 where one that is named is not there. `-o yaml` prints what `stigmer apply -f -` takes.
    """
    from stigmer.cli import printing  # noqa: PLC0415  # not wanted for the command's help
    from stigmer.cli.kinds import kind_of  # noqa: PLC0415  # as above

    wanted = kind_of(kind)
    filters = {"tags": tags.split(",") if tags else [], "label_selector": selector, "org": org}
    if names and (tags or selector):
        raise typer.BadParameter("--tags and --selector choose among all: leave the names out")

    async def work(client: stigmer.Client) -> list[Any]:
        resources = getattr(client, wanted.plural)
        if names:
            return [await resources.get(name, default=name) for name in names]
        found = [one async for one in resources.list(page_size=PAGE_SIZE, **filters)]
        return [await resources.get(one) for one in found] if show_secrets else found

    found = ask(callee, work, Asking(org, show_secrets=show_secrets))
    resources = [one for one in found if not isinstance(one, str)]
    if output is Output.JSON:
        printing.say(printing.as_json(resources, single=len(names or ()) == 1) if resources or not names else "")
    elif output is Output.YAML:
        printing.say(printing.as_yaml(resources, full=full))
    elif output is Output.NAME:
        printing.say(printing.as_names(resources))
    else:
        printing.say(printing.as_table(resources, wide=output is Output.WIDE))
    _tell(wanted.singular, [one for one in found if isinstance(one, str)], is_empty=not found)


def _tell(singular: str, missing: list[str], *, is_empty: bool) -> None:
    """Say on stderr what is not there. Raises StartupError where it was named."""
    if missing:
        raise StartupError("\n".join(f"{singular} not found: {name}" for name in missing))
    if is_empty:
        typer.echo(f"No {singular} found", err=True)
