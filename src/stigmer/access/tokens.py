"""Callers known by a bearer token whose SHA-256 is in the tokens file; what is in the file holds a second later."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from hmac import compare_digest
from typing import TYPE_CHECKING, Self

from anyio import to_thread

from stigmer.access.credentials import Identity
from stigmer.access.token_file import mark_of, parsed, read
from stigmer.access.token_lines import PREFIX, digest_of
from stigmer.errors import StartupError, Unauthenticated
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from pathlib import Path

    from stigmer.access.credentials import Credentials
    from stigmer.access.principal import Principal
    from stigmer.access.token_file import Mark
    from stigmer.access.token_lines import Token

WATCH_S = 1.0
"""How often the file is looked at."""
_SETTLED_NS = 2_000_000_000
"""How old a change must be for another one to show by the file's time."""

log = get_logger("stigmer.access.tokens")


class Tokens:
    """An authenticator for the tokens of a file: an async context manager, which watches the file while it is entered.

    A file that has become broken, or is gone, changes nothing until it is put right; the log says so once.

    Args:
        path: the tokens file.
        watch_s: seconds from one look at it to the next.
    """

    takes, headers = "bearer token", ("authorization",)

    def __init__(self, path: Path, watch_s: float = WATCH_S) -> None:
        self._path, self._watch_s = path, watch_s
        self._tokens: dict[bytes, Token] = {}
        self._text: str | None = None
        self._mark: Mark | None = None
        self._complaint = ""
        self._watching: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Tokens of {self._path}, {len(self._tokens)}>"

    async def __aenter__(self) -> Self:
        """Read the file. Raises StartupError, which says what is wrong with it."""
        await to_thread.run_sync(self._read, abandon_on_cancel=True)
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching

    async def authenticate(self, credentials: Credentials) -> Identity | None:
        """Whose token it is; None for what is no token of this sort. Raises Unauthenticated."""
        bearer = credentials.bearer
        if bearer is None or not bearer.startswith(PREFIX):
            return None
        digest = digest_of(bearer)
        return Identity(self._holder(digest), lambda: self._holder(digest))

    def _holder(self, digest: bytes) -> Principal:
        """Whose token it is now. Raises Unauthenticated."""
        token = self._tokens.get(digest)
        if token is None or not compare_digest(token.digest, digest):
            raise Unauthenticated("the bearer token is not known, or was revoked: ask for another one")
        if token.ends_s <= time.time():
            raise Unauthenticated(f"the bearer token has expired with {token.not_after}: ask for another one")
        return token.principal

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._watch_s)
            await self._look()

    async def _look(self) -> None:
        """Take what has changed of the file, or keep what was and say why."""
        try:
            if await to_thread.run_sync(self._read, abandon_on_cancel=True):
                log.info("The tokens file has changed", tokens=len(self._tokens))
                self._complaint = ""
        except StartupError as error:
            if str(error) != self._complaint:
                log.error("The tokens file is broken; the tokens that were good stay so", reason=str(error))  # noqa: TRY400  # it says it all
            self._complaint = str(error)

    def _read(self) -> bool:
        """Take the file's tokens; whether they, or the file, are others than at the last look. Raises StartupError."""
        if self._mark is not None and self._mark == mark_of(self._path):
            return False
        content = read(self._path)
        age_ns = time.time_ns() - content.changed_ns
        self._mark = content.mark if age_ns > _SETTLED_NS else None  # else it is read again until it has settled
        if content.text == self._text:
            return bool(self._complaint)
        self._tokens, self._text = parsed(self._path, content.text), content.text
        return True
