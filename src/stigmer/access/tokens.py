"""Callers known by a bearer token whose SHA-256 is in the tokens file; what is in the file holds a second later."""

from __future__ import annotations

import time
from hmac import compare_digest
from typing import TYPE_CHECKING, Self

from stigmer.access.credentials import Identity
from stigmer.access.token_file import MADE_BY
from stigmer.access.token_lines import PREFIX, digest_of, tokens_of
from stigmer.access.watched_file import WATCH_S, WatchedFile
from stigmer.errors import Unauthenticated

if TYPE_CHECKING:
    from pathlib import Path

    from stigmer.access.credentials import Credentials
    from stigmer.access.principal import Principal


class Tokens:
    """An authenticator for the tokens of a file: an async context manager, which watches the file while it is entered.

    Args:
        path: the tokens file.
        watch_s: seconds from one look at it to the next.
    """

    takes, headers = "bearer token", ("authorization",)

    def __init__(self, path: Path, watch_s: float = WATCH_S) -> None:
        self.file = WatchedFile(path, tokens_of, MADE_BY, watch_s=watch_s)

    def __repr__(self) -> str:
        return f"<Tokens of {self.file!r}>"

    async def __aenter__(self) -> Self:
        """Read the file. Raises StartupError, which says what is wrong with it."""
        await self.file.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.file.__aexit__(*error)

    async def authenticate(self, credentials: Credentials) -> Identity | None:
        """Whose token it is; None for what is no token of this sort. Raises Unauthenticated."""
        bearer = credentials.bearer
        if bearer is None or not bearer.startswith(PREFIX):
            return None
        digest = digest_of(bearer)
        return Identity(self._holder(digest), lambda: self._holder(digest))

    def _holder(self, digest: bytes) -> Principal:
        """Whose token it is now. Raises Unauthenticated."""
        token = self.file.entries.get(digest)
        if token is None or not compare_digest(token.digest, digest):
            raise Unauthenticated("the bearer token is not known, or was revoked: ask for another one")
        if token.ends_s <= time.time():
            raise Unauthenticated(f"the bearer token has expired with {token.not_after}: ask for another one")
        return token.principal
