"""Callers known by a bearer token whose SHA-256 is in the tokens file; what is in the file holds a second later."""

from __future__ import annotations

import time
from hmac import compare_digest
from typing import TYPE_CHECKING

from stigmer.access.credentials import Identity
from stigmer.access.token_file import MADE_BY
from stigmer.access.token_lines import PREFIX, Token, digest_of, tokens_of
from stigmer.access.watched_file import WATCH_S, WatchedFile
from stigmer.errors import Unauthenticated

if TYPE_CHECKING:
    from pathlib import Path

    from stigmer.access.credentials import Credentials
    from stigmer.access.principal import Principal


class Tokens(WatchedFile[bytes, Token]):
    """An authenticator for the tokens of a file.

    Args:
        path: the tokens file.
        watch_s: seconds from one look at it to the next.
    """

    takes, headers = "bearer token", ("authorization",)

    def __init__(self, path: Path, watch_s: float = WATCH_S) -> None:
        super().__init__(path, tokens_of, MADE_BY, watch_s=watch_s)

    async def authenticate(self, credentials: Credentials) -> Identity | None:
        """Whose token it is; None for what is no token of this sort. Raises Unauthenticated."""
        bearer = credentials.bearer
        if bearer is None or not bearer.startswith(PREFIX):
            return None
        digest = digest_of(bearer)
        return Identity(self._holder(digest), lambda: self._holder(digest))

    def _holder(self, digest: bytes) -> Principal:
        """Whose token it is now. Raises Unauthenticated."""
        token = self.entries.get(digest)
        if token is None or not compare_digest(token.digest, digest):
            raise Unauthenticated("the bearer token is not known, or was revoked: ask for another one")
        if token.ends_s <= time.time():
            raise Unauthenticated(f"the bearer token has expired with {token.not_after}: ask for another one")
        return token.principal
