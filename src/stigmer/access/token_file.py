"""The tokens file, edited so that neither a crash nor another editor harms it.

`stigmer tokens` edits it, `tokens` reads it for the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stigmer import private_file
from stigmer.access.token_lines import token_of, tokens_of
from stigmer.access.watched_file import is_comment
from stigmer.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stigmer.access.token_lines import Token

MADE_BY = "`stigmer tokens new` makes it, with a first token"

_END = "\n"


def tokens(path: Path) -> list[Token]:
    """The tokens of the file. Raises StartupError, which names the lines that are wrong."""
    return list(_parsed(path, private_file.read(path, MADE_BY).text).values())


def _parsed(path: Path, text: str) -> dict[bytes, Token]:
    try:
        return tokens_of(text)
    except ValueError as error:
        raise StartupError(f"{path}: {error}") from None


def add(path: Path, token: Token) -> list[Token]:
    """Add a token's line; the file is made where it is missing, with mode 600. Raises StartupError.

    Returns:
        those of the same name that are there already, with another role or other organizations.
    """
    others: list[Token] = []

    def with_it(text: str) -> str:
        same = (one for one in tokens_of(text).values() if one.principal.name == token.principal.name)
        others.extend(one for one in same if one.principal != token.principal)
        return f"{text}{'' if text.endswith(_END) or not text else _END}{token.line}{_END}"

    _edit(path, with_it, make=True)
    return others


def remove(path: Path, unwanted: Callable[[Token], bool]) -> list[Token]:
    """Remove the lines of some tokens; which those were. Raises StartupError."""
    removed: list[Token] = []

    def stays(line: str) -> bool:
        token = None if is_comment(line) else token_of(line.strip())
        if token is None or not unwanted(token):
            return True
        removed.append(token)
        return False

    _edit(path, lambda text: _END.join(filter(stays, text.split(_END))))
    return removed


def _edit(path: Path, change: Callable[[str], str], *, make: bool = False) -> None:
    def changed(text: str) -> str:
        _parsed(path, text)  # the server takes no broken file, whatever would be added
        return change(text)

    private_file.edit(path, changed, MADE_BY, make=make)
