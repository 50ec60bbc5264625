"""`stigmer auth`: who calls, and what they may do there."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated

import typer

from stigmer.cli import FAILED
from stigmer.cli.calling import Callee, on_server

if TYPE_CHECKING:
    from collections.abc import Iterable

_STEM = "can_"


@on_server
def whoami(callee: Callee) -> None:
    """Show who the server takes you for: name, role, organizations."""
    found = callee.use(lambda client: client.caller.whoami())
    typer.echo(f"name           {found.name}")
    typer.echo(f"role           {found.role}")
    typer.echo(f"organizations  {', '.join(found.organizations) or '-'}")


@on_server
def can_i(
    callee: Callee,
    permission: Annotated[
        str, typer.Argument(metavar="PERMISSION", help="Such as view, edit or create_agent, as the protos have it.")
    ],
    kind: Annotated[str, typer.Argument(metavar="KIND", help="On what; organization for what is to be made in one.")],
    id_: Annotated[
        str, typer.Argument(metavar="[ID]", help="On which one; of an organization, its name.", show_default=False)
    ] = "",
) -> None:
    """Ask whether a call would be let pass: prints yes and exits with 0, or no and exits with 1."""
    from stigmer.types import ApiResourceIamPermission, ApiResourceKind  # noqa: PLC0415  # not wanted for help

    permissions = [one.name for one in ApiResourceIamPermission if one.value and one.name]
    asked = _known("PERMISSION", permission, permissions, stem=_STEM)
    on = _known("KIND", kind, [one.name for one in ApiResourceKind if one.value and one.name])
    answer = callee.use(
        lambda client: client.caller.can_i(permission=ApiResourceIamPermission[asked], kind=ApiResourceKind[on], id=id_)
    )
    typer.echo("yes" if answer.allowed else "no")
    if not answer.allowed:
        raise typer.Exit(FAILED)


auth = {"whoami": whoami, "can-i": can_i}


def _known(what: str, given: str, names: Iterable[str], stem: str = "") -> str:
    """The name that is meant, said with or without its stem; a usage error suggests those that are like it."""
    by_word = {word: name for name in names for word in (name.removeprefix(stem), name)}
    word = given.lower().replace("-", "_")
    if word in by_word:
        return by_word[word]
    near = difflib.get_close_matches(word, by_word, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(dict.fromkeys(by_word.values()))}"
    raise typer.BadParameter(f"{given!r}: {hint}", param_hint=what)
