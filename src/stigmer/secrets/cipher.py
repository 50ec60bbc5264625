"""AES-256-GCM, and how the parts of what is encrypted, or goes with it, are put into bytes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY_BYTES = 32

_NONCE_BYTES = 12
_LENGTH_BYTES = 4


class NotOpened(Exception):
    """What was encrypted does not open: it was changed, or its key is another one or unknown."""


class Cipher:
    """A key that encrypts and decrypts.

    Args:
        key: of KEY_BYTES; raises ValueError where it is shorter or longer.
    """

    def __init__(self, key: bytes) -> None:
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - 30 ms that a start need not wait for
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - as above

        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(key)}")
        self._aead, self._refusals = AESGCM(key), (InvalidTag, ValueError)

    def __repr__(self) -> str:
        return "<Cipher>"

    def encrypt(self, value: bytes, associated: bytes) -> bytes:
        """A random nonce of 96 bits and the value's ciphertext, bound to the associated data."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, value, associated)

    def decrypt(self, data: bytes, associated: bytes) -> bytes:
        """The value of what `encrypt` gave for the same associated data. Raises NotOpened."""
        try:
            return self._aead.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], associated)
        except self._refusals:  # a ValueError where there is not even a nonce
            raise NotOpened from None


def warm_up() -> None:
    """Import what the first cipher would else wait for, some 30 ms; for a thread."""
    Cipher(bytes(KEY_BYTES))


def packed(*parts: bytes) -> bytes:
    """The parts in a row, each behind its length: no two rows of parts give the same bytes."""
    return b"".join([len(part).to_bytes(_LENGTH_BYTES, "big") + part for part in parts])


def unpacked(data: bytes) -> Iterator[bytes]:
    """The parts that were packed. Raises ValueError for what was not."""
    at = 0
    while at < len(data):
        begin = at + _LENGTH_BYTES
        at = begin + int.from_bytes(data[at:begin], "big")
        if at > len(data):
            raise ValueError("a part is cut off")
        yield data[begin:at]
