"""Credentials as calls bring them, and tokens files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multidict import MultiDict

from stigmer.access.credentials import Credentials, Peer
from stigmer.access.token_lines import Token, digest_of, principal_of

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from stigmer.access.principal import Principal


def bearing(*tokens: str, scheme: str = "Bearer") -> Credentials:
    """What a call brings that has an `authorization` header for each token."""
    headers: list[tuple[str, str | bytes]] = [("authorization", f"{scheme} {token}") for token in tokens]
    return Credentials(MultiDict([("user-agent", "a test"), *headers]), Peer("127.0.0.1"))


def token(
    secret: str,
    name: str = "ann",
    role: str = "editor",
    organizations: tuple[str, ...] = ("acme",),
    not_after: dt.date | None = None,
) -> Token:
    """What a tokens file keeps of a token."""
    return Token(principal_of(name, role, organizations), not_after, digest_of(secret))


def principal(name: str = "ann", role: str = "editor", organizations: tuple[str, ...] = ("acme",)) -> Principal:
    """Whose it is."""
    return principal_of(name, role, organizations)


def tokens_file(path: Path, *tokens: Token) -> Path:
    """A tokens file that nobody else may read, put in place at once."""
    return placed(path, "".join(f"{one.line}\n" for one in tokens))


def placed(path: Path, text: str, mode: int = 0o600) -> Path:
    """A file with that text, put in place at once."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.chmod(mode)
    return new.replace(path)
