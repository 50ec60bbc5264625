"""`stigmer apply`: make resources as manifests have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from stigmer.cli.asking import Asking, DryRun, Org, ask
from stigmer.cli.calling import Callee, on_server
from stigmer.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    StartupError,
)

if TYPE_CHECKING:
    import stigmer
    from stigmer.cli.manifests import Manifest

REFUSED = (AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied)
"""What is one resource's own fault: the others are applied all the same."""

Files = Annotated[
    list[str],
    typer.Option("--filename", "-f", metavar="FILE|DIR|-", help="Manifests, YAML or JSON; may be repeated."),
]


@on_server
def apply(callee: Callee, *, files: Files, org: Org = "", dry_run: DryRun = False) -> None:
    """Make resources as manifests have them.

    Those that others refer to come first. Prints a line for each: `agent/reviewer created`, `updated` or `unchanged`.
    Where a manifest has a fault nothing is applied, and every fault is told with its place. Exits with 1 then, and
    where the server refuses one.
    """
    from stigmer.cli.manifests import read  # noqa: PLC0415  # not wanted for the command's help
    from stigmer.cli.printing import say  # noqa: PLC0415  # as above

    manifests = read(files)
    counts: dict[str, int] = {"created": 0, "updated": 0, "unchanged": 0}
    refused: list[str] = []

    async def work(client: stigmer.Client) -> None:
        made: set[tuple[str, str]] = set()
        for manifest in manifests:
            try:
                outcome = await _outcome(client, manifest, made, dry_run=dry_run)
            except REFUSED as error:
                refused.append(manifest.told(error))
                continue
            counts[outcome] += 1
            say(f"{manifest.name} {outcome}{' (dry run)' if dry_run else ''}\n")

    ask(callee, work, Asking(org))
    if summed := ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count):
        typer.echo(summed, err=True)
    if refused:
        raise StartupError("\n".join(refused))


async def _outcome(client: stigmer.Client, manifest: Manifest, made: set[tuple[str, str]], *, dry_run: bool) -> str:
    """Apply one, unless nothing would change; what of it that was. `made` are those that a dry run has not made."""
    from stigmer.cli.manifests import referred  # noqa: PLC0415  # as above
    from stigmer.cli.printing import manifest as owned  # noqa: PLC0415  # as above

    resources: Any = getattr(client, manifest.named.plural)
    trying: Any = getattr(client.with_options(dry_run=True), manifest.named.plural)
    current = await resources.get(key_of(manifest), default=None)
    outcome = "created" if current is None else "updated"
    if dry_run and current is None:
        made.add((manifest.named.kind, manifest.slug))
    if dry_run and not made.isdisjoint(referred(manifest)):
        return outcome  # the server would not find what it refers to
    if current is not None and not manifest.brings_secrets:
        would_be = await trying.apply(manifest.message(), **manifest.references)
        if owned(would_be) == owned(current):
            return "unchanged"
    await (trying if dry_run else resources).apply(manifest.message(), **manifest.references)
    return outcome


def key_of(manifest: Manifest) -> str:
    """What finds it: its slug, within its organization where it names one."""
    org = manifest.wire.metadata.org
    return f"{org}/{manifest.slug}" if org else manifest.slug
