"""Page tokens: where a list goes on, for one method, its filters and its caller alone, signed with the database's key.

A token is base64url of a version byte, the creation sequence before which the page begins (8 bytes) and a check of 16
bytes over both, the method's path, the filters that the request sets and the caller's name. It stays good as long as
the database does.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct
from typing import TYPE_CHECKING

from stigmer.access.principal import LOCAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stigmer.access.principal import Principal

VERSION = 1
SECRET = "page tokens"  # noqa: S105 - the name of the key, not the key
"""The name of the store's secret that tokens are checked with."""

_HEAD = struct.Struct(">BQ")
_CHECK_BYTES = 16
_CHARS = 34  # of 25 bytes, without padding


def scope(path: str, filters: Iterable[tuple[str, Sequence[str]]], caller: Principal) -> bytes:
    """What a token is for: the method, each filter that is set, with its values, and who asks; no two are alike.

    Tokens of LOCAL's bear no name: they were given before callers had any.
    """
    parts = [_text(path)]
    if caller != LOCAL:
        parts += (_text(""), _text(caller.name))  # no filter has an empty name
    for field, values in filters:
        if values:
            parts += (_text(field), struct.pack(">I", len(values)), *map(_text, values))
    return b"".join(parts)


def token(sequence: int, bound_to: bytes, key: bytes) -> str:
    """The token of a page that begins before `sequence`."""
    return _encoded(_signed(_HEAD.pack(VERSION, sequence), bound_to, key))


def position(token: str, bound_to: bytes, key: bytes) -> int | None:
    """Where a page begins; None for what is not a token of this database, this method and these filters."""
    if len(token) != _CHARS or not token.isascii():
        return None
    try:
        raw = base64.b64decode(f"{token}==", altchars=b"-_", validate=True)
    except ValueError:
        return None
    head = raw[: _HEAD.size]
    if head[0] != VERSION or not hmac.compare_digest(_encoded(_signed(head, bound_to, key)), token):
        return None
    return int(_HEAD.unpack(head)[1])


def _signed(head: bytes, bound_to: bytes, key: bytes) -> bytes:
    return head + hashlib.blake2b(head + bound_to, key=key, digest_size=_CHECK_BYTES).digest()


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack(">I", len(raw)) + raw
