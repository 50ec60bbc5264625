"""The key-encryption keys of a deployment, by which data keys are wrapped: in a file of their own, or in memory.

`stigmer keys` and the admin service change it, through `pipeline.sealing_keys`, which knows what is sealed under which
key. What is read here waits for the disk: it is for threads, but for `wrap` and `unwrap`.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

from stigmer import private_file
from stigmer.errors import StartupError
from stigmer.secrets.cipher import KEY_BYTES, Cipher, NotOpened
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

_ID_CHARS = 16
_MADE_BY = "restore it from its backup: what is sealed cannot be read without"
_VERSION = 1

log = get_logger("stigmer.secrets.keyring")


class KeyState(StrEnum):
    """What a key is good for."""

    ACTIVE = "active"
    """It wraps and unwraps; one key is."""
    ENABLED = "enabled"
    """It only unwraps what it has wrapped."""
    RETIRED = "retired"
    """It is gone; what is left is the note that there was such a key."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key-encryption key.

    Attributes:
        id: made from the key, so that no other one can bear it.
        created: in UTC, to the second.
        state: what it is good for.
        secret: the key itself; empty where it is retired.
    """

    id: str
    created: dt.datetime
    state: KeyState
    secret: bytes = field(repr=False)

    @classmethod
    def new(cls, state: KeyState) -> Key:
        """A new random key."""
        secret = os.urandom(KEY_BYTES)
        return cls(_id_of(secret), dt.datetime.now(dt.UTC).replace(microsecond=0), state, secret)


class Keyring:
    """Keys by their ids, one of them active; a `sealing.KeyWrapper`. One with a file has none until it is opened.

    Args:
        path: of its file; None for one in memory, whose keys are gone with it.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._keys = {} if path is not None else _by_id([Key.new(KeyState.ACTIVE)])
        self._ciphers: dict[str, Cipher] = {}

    def __repr__(self) -> str:
        return f"<Keyring {self._path or 'in memory'}, {len(self._keys)} keys>"

    @property
    def active(self) -> str:
        """The id of the active key."""
        return next(key.id for key in self._keys.values() if key.state is KeyState.ACTIVE)

    @property
    def keys(self) -> tuple[Key, ...]:
        """All keys, retired ones included, the oldest first."""
        return tuple(self._keys.values())

    def open(self, *, make: bool) -> None:
        """Read the file; make it, with a first key, where there is none and `make` says that it may be.

        Raises:
            StartupError: there is none, or it cannot be read, or it is broken, or others may read it.
        """
        if self._path is None:
            return
        if make and not os.path.lexists(self._path):
            self._change(lambda keys: dict(keys) or _by_id([Key.new(KeyState.ACTIVE)]), make=True)
            log.info(
                "A keyring was made: back it up, apart from the database, for secrets cannot be read without it",
                file=str(self._path),
                key=self.active,
            )
        else:
            self._keys = _parsed(self._path, private_file.read(self._path, _MADE_BY, private_file.OWNER_ALONE).text)

    def add(self, key: Key | None = None) -> Key:
        """Add a key, a new one where none is given, which only unwraps until it is activated; raises StartupError."""
        made = key if key is not None else Key.new(KeyState.ENABLED)
        self._change(lambda keys: {**keys, made.id: made})
        return made

    def activate(self, key_id: str) -> None:
        """Have that key wrap from now on, in place of the one that does; raises LookupError, StartupError."""

        def activated(keys: Mapping[str, Key]) -> dict[str, Key]:
            if keys[key_id].state is KeyState.RETIRED:
                raise LookupError(key_id)
            return {one.id: replace(one, state=_state(one, key_id)) for one in keys.values()}

        self._change(activated)

    def retire(self, key_id: str) -> None:
        """Throw away a key that is not active; raises LookupError, StartupError. What it has wrapped is lost."""

        def retired(keys: Mapping[str, Key]) -> dict[str, Key]:
            if keys[key_id].state is KeyState.ACTIVE:
                raise LookupError(key_id)
            return {**keys, key_id: replace(keys[key_id], state=KeyState.RETIRED, secret=b"")}

        self._change(retired)

    async def wrap(self, key_id: str, data_key: bytes, associated: bytes) -> bytes:
        """The data key, wrapped by that key. Raises NotOpened where there is no such key."""
        return self._cipher(key_id).encrypt(data_key, associated)

    async def unwrap(self, key_id: str, wrapped: bytes, associated: bytes) -> bytes:
        """The data key. Raises NotOpened."""
        return self._cipher(key_id).decrypt(wrapped, associated)

    async def proof(self, key_id: str) -> bytes:  # noqa: ARG002 - the id is made from the key
        """Nothing: no other key has its id."""
        return b""

    async def proves(self, key_id: str, proof: bytes) -> bool:  # noqa: ARG002 - as above
        """Whether there is a key of that id that is not retired."""
        return key_id in self._keys and self._keys[key_id].state is not KeyState.RETIRED

    def _cipher(self, key_id: str) -> Cipher:
        if (known := self._ciphers.get(key_id)) is None:
            key = self._keys.get(key_id)
            if key is None or not key.secret:
                raise NotOpened
            known = self._ciphers[key_id] = Cipher(key.secret)
        return known

    def _change(self, change: Callable[[Mapping[str, Key]], dict[str, Key]], *, make: bool = False) -> None:
        """Change the keys in the file, where there is one, then here."""
        path, kept = self._path, self._keys
        if path is None:
            kept = change(kept)
        else:

            def changed(text: str) -> str:
                nonlocal kept
                found = _parsed(path, text) if text else {}
                if lost := kept.keys() - found.keys():
                    raise StartupError(f"{path}: lacks the key {min(lost)}, which is in use here; {_MADE_BY}")
                kept = change(found)
                return _text(kept.values())

            private_file.edit(path, changed, _MADE_BY, private_file.OWNER_ALONE, make=make)
        self._keys = kept
        self._ciphers.clear()


def _state(key: Key, active: str) -> KeyState:
    if key.state is KeyState.RETIRED:
        return key.state
    return KeyState.ACTIVE if key.id == active else KeyState.ENABLED


def _id_of(secret: bytes) -> str:
    return f"key-{hashlib.sha256(b'stigmer key id' + secret).hexdigest()[:_ID_CHARS]}"


def _by_id(keys: Iterable[Key]) -> dict[str, Key]:
    return {key.id: key for key in keys}


def _text(keys: Iterable[Key]) -> str:
    entries = [
        {
            "id": key.id,
            "created": key.created.isoformat().replace("+00:00", "Z"),
            "state": str(key.state),
            "key": base64.b64encode(key.secret).decode(),
        }
        for key in keys
    ]
    return json.dumps({"version": _VERSION, "keys": entries}, indent=2) + "\n"


def _parsed(path: Path, text: str) -> dict[str, Key]:
    """The keys of the file's text; StartupError says what is wrong with it, and repeats nothing of a key."""
    try:
        found: Any = json.loads(text)
        if found["version"] != _VERSION:
            raise StartupError(f"{path}: version {found['version']!r}, this stigmer knows {_VERSION}; use a newer one")
        keys = [_key(path, entry) for entry in cast("list[dict[str, str]]", found["keys"])]
    except (ValueError, KeyError, TypeError):
        raise StartupError(f"{path}: not a keyring, or a broken one; {_MADE_BY}") from None
    if [key.state for key in keys].count(KeyState.ACTIVE) != 1 or len({key.id for key in keys}) < len(keys):
        raise StartupError(f"{path}: one key must be active, and each be there once; {_MADE_BY}")
    return _by_id(keys)


def _key(path: Path, entry: Mapping[str, str]) -> Key:
    id_, state = entry["id"], KeyState(entry["state"])
    created = dt.datetime.fromisoformat(entry["created"])
    try:
        secret = base64.b64decode(entry["key"], validate=True)
    except binascii.Error:
        secret = b""
    if state is not KeyState.RETIRED and (len(secret) != KEY_BYTES or _id_of(secret) != id_):
        raise StartupError(f"{path}: the key of {id_} is not the one that was made with that id; {_MADE_BY}")
    return Key(id_, created, state, b"" if state is KeyState.RETIRED else secret)
