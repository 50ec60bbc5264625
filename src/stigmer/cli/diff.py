"""`stigmer diff`: what applying manifests would change."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import typer

from stigmer.cli.apply import REFUSED, Files, key_of
from stigmer.cli.asking import Asking, Org, ask
from stigmer.cli.calling import Callee, on_server
from stigmer.errors import NotFound, StartupError

if TYPE_CHECKING:
    import stigmer
    from stigmer.cli.manifests import Manifest

DIFFERS = 1
FAILED = 2


@on_server
def diff(callee: Callee, *, files: Files, org: Org = "") -> None:
    """Show what applying manifests would change.

    The server says it in a dry run.

    Exits with 0 where nothing would change, with 1 where something would, with 2 where that cannot be told. Secrets
    show as the mark; that a manifest brings secret values is a change.
    """
    from stigmer.cli.manifests import read  # noqa: PLC0415  # not wanted for the command's help
    from stigmer.cli.printing import say  # noqa: PLC0415  # as above

    try:
        manifests = read(files)

        async def work(client: stigmer.Client) -> list[str]:
            return [await _difference(client, manifest, manifests) for manifest in manifests]

        found = ask(callee, work, Asking(org, dry_run=True))
    except StartupError as error:
        typer.echo("\n".join(f"stigmer: {line}" for line in str(error).split("\n")), err=True)
        raise typer.Exit(FAILED) from None
    say("".join(found))
    if any(found):
        raise typer.Exit(DIFFERS)


async def _difference(client: stigmer.Client, manifest: Manifest, manifests: list[Manifest]) -> str:
    """The change of one in unified form, empty where there is none. Raises StartupError where the server refuses it."""
    from stigmer.cli.manifests import referred  # noqa: PLC0415  # as above
    from stigmer.cli.printing import manifest as owned  # noqa: PLC0415  # as above
    from stigmer.cli.printing import yaml_text  # noqa: PLC0415  # as above

    resources: Any = getattr(client, manifest.named.plural)
    current = await resources.get(key_of(manifest), default=None)
    try:
        would_be = await resources.apply(manifest.message(), **manifest.references)
    except REFUSED as error:
        beside = {(one.named.kind, one.slug) for one in manifests}
        if isinstance(error, NotFound) and not beside.isdisjoint(referred(manifest)):
            return f"+++ {manifest.name} (with what it refers to)\n"
        raise StartupError(manifest.told(error)) from None
    before, after = ("" if one is None else yaml_text(owned(one)) for one in (current, would_be))
    lines = difflib.unified_diff(
        before.splitlines(keepends=True),
        after.splitlines(keepends=True),
        f"{manifest.name} now",
        f"{manifest.name} then",
    )
    secrets = f"# {manifest.name} brings secret values\n" if manifest.brings_secrets else ""
    return "".join(lines) + secrets
