"""What a client shows of who calls: a bearer token, said or kept in a file that may be written anew."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from stigmer.address import TcpAddress, is_loopback

if TYPE_CHECKING:
    from os import PathLike

    from stigmer.address import Address

REREAD_S = 60.0
"""How old what was read of a file may be: tokens that a cluster mounts are renewed long before they end."""


class Token:
    """A bearer token.

    Args:
        token: the token itself; None for none, or for that of the file.
        file: a file that holds it, and nothing else but white space around it.

    Raises:
        ValueError: both are given, or the token is empty or cannot stand in a header.
    """

    def __init__(self, token: str | None, file: str | PathLike[str] | None) -> None:
        if token is not None and file is not None:
            raise ValueError("give a token or the file that holds it, not both")
        self._file = None if file is None else Path(file).expanduser()
        self._read_s = float("-inf")
        self._header = "" if token is None else _header(token, "token")
        self.is_given = token is not None or file is not None

    async def header(self) -> str:
        """What the header `authorization` is to be; empty where there is no token.

        Raises:
            OSError: the file cannot be read.
            ValueError: it holds no token.
        """
        if self._file is not None and time.monotonic() - self._read_s > REREAD_S:
            text = await asyncio.to_thread(self._file.read_text, encoding="utf-8")
            self._header, self._read_s = _header(text.strip(), str(self._file)), time.monotonic()
        return self._header

    async def is_renewed(self) -> bool:
        """Whether the file holds another token than it did; raises as `header`."""
        refused, self._read_s = self._header, float("-inf")
        return await self.header() != refused


def check_plain(address: Address) -> None:
    """Refuse to send a token where others could read it; raises ValueError."""
    if isinstance(address, TcpAddress) and not is_loopback(address.host):
        raise ValueError(f"{address}: a token would travel in plain text there: call by TLS (tls=True)")


def _header(token: str, where: str) -> str:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(f"{where}: no bearer token; one is printable ASCII without spaces")
    return f"Bearer {token}"
