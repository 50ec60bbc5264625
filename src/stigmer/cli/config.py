"""`stigmer config`: the profiles that name servers to call, which `stigmer.Client.from_env` reads too."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stigmer.client.profiles import config_file, document_text, kept_document
from stigmer.errors import StartupError
from stigmer.private_file import edit

if TYPE_CHECKING:
    from collections.abc import Generator

_Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the profile.")]


def path() -> None:
    """Print which file keeps the profiles."""
    typer.echo(str(config_file()))


def list_() -> None:
    """List the profiles; the star marks the one in use."""
    with _told():
        document = kept_document(config_file())
    rows = [(" ", "NAME", "SERVER", "ORG")]
    for name, profile in document.get("profiles", {}).items():
        used = "*" if name == document.get("profile") else " "
        rows.append((used, name, profile.get("server", "-"), profile.get("org", "-")))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(map(str.ljust, row, widths)).rstrip())


def use(name: _Name) -> None:
    """Use a profile where neither --profile nor STIGMER_PROFILE names one."""
    with _told():
        document = kept_document(config_file())
        names = document.get("profiles", {})
        if name not in names:
            raise ValueError(f"there is no profile {name!r}; there are {', '.join(names) or 'none'}")
        _keep({**document, "profile": name})


def set_(
    name: _Name,
    settings: Annotated[
        list[str],
        typer.Argument(metavar="SETTING=VALUE...", help="server, org, token_file, ca, client_cert, client_key."),
    ],
) -> None:
    """Set what a profile says, or make it; an empty value takes a setting out.

    The file is written anew, without its comments. A token is kept in a file of its own, which token_file names.
    """
    with _told():
        document = kept_document(config_file())
        profiles: dict[str, Any] = document.get("profiles", {})
        profile = {**profiles.get(name, {})}
        for text in settings:
            key, equals, value = text.partition("=")
            if not equals or key == "token":  # the value is not repeated: it may be the token
                raise ValueError(
                    f"{key}: write SETTING=VALUE; a token is no argument, name its file by token_file=FILE"
                )
            profile[key] = value
        kept = {key: value for key, value in profile.items() if value}
        _keep({"profile": name, **document, "profiles": {**profiles, name: kept}})


config = {"list": list_, "use": use, "set": set_, "path": path}


def _keep(document: dict[str, Any]) -> None:
    file = config_file()
    text = document_text(document)
    file.parent.mkdir(parents=True, exist_ok=True)
    edit(file, lambda _: text, "`stigmer config set` makes it", 0, make=True)


@contextmanager
def _told() -> Generator[None]:
    """Raise as a StartupError what is wrong with the file or with what is to be in it."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise StartupError(str(error)) from None
