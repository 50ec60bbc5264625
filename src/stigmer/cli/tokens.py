"""`stigmer tokens`: make, list and revoke the bearer tokens of the tokens file, which a running server watches."""

from __future__ import annotations

import datetime as dt
import re
import secrets
from typing import TYPE_CHECKING, Annotated

import typer

from stigmer.access import token_file, token_lines
from stigmer.access.principal import ROLES
from stigmer.access.token_lines import Token
from stigmer.cli.flags import loaded
from stigmer.errors import StartupError

if TYPE_CHECKING:
    from pathlib import Path

_DAYS = re.compile(r"(\d{1,5})d")

_File = Annotated[
    str | None,
    typer.Option("--tokens-file", metavar="FILE", help="The tokens file. [the one that the server's settings name]"),
]
_Config = Annotated[str | None, typer.Option(metavar="FILE", help="TOML file with the server's settings.")]


def new(  # noqa: PLR0913  # one flag each
    *,
    name: Annotated[str, typer.Option(metavar="NAME", help="Whose token it is; several may have one name.")],
    role: Annotated[str, typer.Option(metavar="ROLE", help=f"What it may do: {', '.join(ROLES)}.")],
    org: Annotated[
        list[str] | None,
        typer.Option(metavar="ORG", help="An organization it is for; may be repeated, '*' is all."),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="90d|DATE", help="Its last day, in UTC; without, it is good until revoked.")
    ] = None,
    tokens_file: _File = None,
    config: _Config = None,
) -> None:
    """Make a token, and print it this once.

    It is all that goes to stdout. The file keeps its SHA-256 alone; a file that is not there is made.
    """
    path = _path(tokens_file, config)
    secret = token_lines.PREFIX + secrets.token_urlsafe(32)
    try:
        principal = token_lines.principal_of(name, role, org or ())
        token = Token(principal, _last_day(expires), token_lines.digest_of(secret))
    except ValueError as error:
        raise StartupError(f"no token made: {error}") from None
    others = token_file.add(path, token)
    typer.echo(f"Added to {path}: {', '.join(_columns(token))}", err=True)
    for other in others:
        typer.echo(f"Still good, and it may other things: {', '.join(_columns(other))}", err=True)
    if others:
        typer.echo("A call may what its own token says; end others by `stigmer tokens revoke FINGERPRINT`", err=True)
    if not principal.organizations:
        typer.echo("It has no organization, and sees what is the platform's and its own (--org)", err=True)
    typer.echo("The token is shown this once; send it as `authorization: Bearer …`:", err=True)
    typer.echo(secret)


def list_(*, tokens_file: _File = None, config: _Config = None) -> None:
    """List whose tokens there are.

    The fingerprint tells one from another, for `stigmer tokens revoke`; no token can be made of it.
    """
    path = _path(tokens_file, config)
    rows = [("NAME", "ROLE", "ORGANIZATIONS", "LAST DAY", "FINGERPRINT"), *map(_columns, token_file.tokens(path))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(map(str.ljust, row, widths)).rstrip())


def revoke(
    which: Annotated[str, typer.Argument(metavar="NAME|FINGERPRINT", help="All of that name, or the one token.")],
    *,
    tokens_file: _File = None,
    config: _Config = None,
) -> None:
    """Revoke one token, or all of a name.

    A running server refuses them within seconds, and ends their streams.
    """
    path = _path(tokens_file, config)
    revoked = token_file.remove(path, lambda token: which in (token.principal.name, token.fingerprint))
    if not revoked:
        raise StartupError(f"{path}: no token has the name or fingerprint {which!r}; `stigmer tokens list` shows them")
    for token in revoked:
        typer.echo(f"Revoked: {', '.join(_columns(token))}", err=True)


tokens = {"new": new, "list": list_, "revoke": revoke}


def _path(tokens_file: str | None, config: str | None) -> Path:
    path = loaded(config=config, tokens_file=tokens_file).tokens_file
    if path is None:
        raise StartupError(
            "no tokens file; name it by --tokens-file, STIGMER_TOKENS_FILE or tokens_file in the settings"
        )
    return path


def _last_day(expires: str | None) -> dt.date | None:
    """The day that `90d` or a date says; ValueError says how to write it."""
    if expires is None:
        return None
    today = dt.datetime.now(dt.UTC).date()
    days = _DAYS.fullmatch(expires)
    try:
        last = today + dt.timedelta(days=int(days[1])) if days else dt.date.fromisoformat(expires)
    except ValueError:
        raise ValueError(f"--expires: {expires!r}: write days like 90d, or the last day like 2027-03-31") from None
    if last < today:
        raise ValueError(f"--expires: {last} is over; give a day to come")
    return last


def _columns(token: Token) -> tuple[str, ...]:
    """A token as people read it."""
    principal = token.principal
    last_day = "never" if token.not_after is None else str(token.not_after)
    organizations = ",".join(sorted(principal.organizations)) or "-"
    return principal.name, principal.role, organizations, last_day, token.fingerprint
