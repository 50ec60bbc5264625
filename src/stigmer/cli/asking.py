"""What commands about resources ask of a server: in whose organization, with secrets or without, tried or done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import stigmer
    from stigmer.cli.calling import Callee

T = TypeVar("T")

Org: TypeAlias = Annotated[
    str, typer.Option(metavar="ORG", envvar="STIGMER_ORG", help="Organization of what is named without one.")
]
ShowSecrets: TypeAlias = Annotated[
    bool, typer.Option("--show-secrets", help="Print secret values in place of the mark; the audit notes it.")
]
DryRun: TypeAlias = Annotated[bool, typer.Option("--dry-run", help="Try it at the server, and change nothing.")]


@dataclass(frozen=True)
class Asking:
    """How the client calls.

    Attributes:
        org: of what is named without one.
        show_secrets: whether secret values are asked for, not the mark in place of them.
        dry_run: whether writes are only tried.
    """

    org: str = ""
    show_secrets: bool = False
    dry_run: bool = False


def ask(callee: Callee, work: Callable[[stigmer.Client], Awaitable[T]], how: Asking | None = None) -> T:
    """What the work gives, with a client of whom the flags name.

    Raises:
        StartupError: nobody is there, or a call fails.
        typer.Exit: interrupted.
    """
    how = how or Asking()
    options: dict[str, Any] = {
        "metadata": {} if how.show_secrets else {"x-secrets": "redacted"},
        "dry_run": how.dry_run,
    }
    return callee.use(lambda client: work(client.with_options(**options)), org=how.org)
