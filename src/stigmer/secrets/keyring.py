"""The key-encryption keys of a deployment, by which data keys are wrapped."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from stigmer.secrets.cipher import KEY_BYTES, Cipher, NotOpened

if TYPE_CHECKING:
    from collections.abc import Iterable

_ID_CHARS = 16


class KeyState(StrEnum):
    """What a key is good for."""

    ACTIVE = "active"
    """It wraps and unwraps; one key is."""
    ENABLED = "enabled"
    """It only unwraps what it has wrapped."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key-encryption key; its id is made from it, so that another key cannot bear the same one.

    Attributes:
        created: in UTC, to the second.
        state: what it is good for.
        secret: the key itself.
    """

    created: dt.datetime
    state: KeyState
    secret: bytes = field(repr=False)
    id: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256(b"stigmer key id" + self.secret).hexdigest()
        object.__setattr__(self, "id", f"key-{digest[:_ID_CHARS]}")

    @classmethod
    def new(cls, state: KeyState) -> Key:
        """A new random key."""
        return cls(dt.datetime.now(dt.UTC).replace(microsecond=0), state, os.urandom(KEY_BYTES))


class Keyring:
    """Keys by their ids, one of them active; a `KeyWrapper`.

    Args:
        keys: one active key, and any number that are only enabled.
    """

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = {key.id: key for key in keys}
        self._ciphers: dict[str, Cipher] = {}
        (self._active,) = (key.id for key in self._keys.values() if key.state is KeyState.ACTIVE)

    @classmethod
    def in_memory(cls) -> Keyring:
        """One with a new key, which is gone with it."""
        return cls([Key.new(KeyState.ACTIVE)])

    def __repr__(self) -> str:
        return f"<Keyring of {len(self._keys)}, active {self._active}>"

    @property
    def active(self) -> str:
        """The id of the active key."""
        return self._active

    async def wrap(self, key_id: str, data_key: bytes, associated: bytes) -> bytes:
        """The data key, wrapped by that key. Raises NotOpened where there is no such key."""
        return self._cipher(key_id).encrypt(data_key, associated)

    async def unwrap(self, key_id: str, wrapped: bytes, associated: bytes) -> bytes:
        """The data key. Raises NotOpened."""
        return self._cipher(key_id).decrypt(wrapped, associated)

    def _cipher(self, key_id: str) -> Cipher:
        if (known := self._ciphers.get(key_id)) is None:
            if key_id not in self._keys:
                raise NotOpened
            known = self._ciphers[key_id] = Cipher(self._keys[key_id].secret)
        return known
